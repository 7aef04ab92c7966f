//! What one core saw since its last report.

use crate::offence::{Offence, Offences};
use crate::source::Source;
use crate::watch::Watch;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

/// Sources that compete for places, in each set.
const WAYS: usize = 4;
const SETS: usize = 256;

/// No key.
const KEYLESS: u32 = u32::MAX;

/// One core's counts. Bounded: a heavy-hitter table (space-saving, Metwally et al. 2005) in sets of [`WAYS`] places, where
/// a newcomer takes the place of the least refused and inherits its weight, not its refusals: what is reported of a source
/// is never more than what it did.
#[derive(Debug)]
pub struct Tally {
    core: usize,
    hash: RandomState,
    places: Box<[Place]>,
    has_refusals: bool,
    watch: Option<Arc<Watch>>,
    /// A bit for each place of the watch: admitted since the last report.
    seen: Vec<u64>,
    /// Admitted sources of watches that were replaced since the last report.
    admitted: Vec<Source>,
    in_flight: InFlight,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    source: Option<Source>,
    offences: Offences,
    /// Its refusals and those of whom it displaced.
    weight: u64,
    key: u32,
}

const FREE: Place = Place { source: None, offences: Offences::NONE, weight: 0, key: KEYLESS };

/// Clients of admitted exchanges that are not over yet.
#[derive(Debug, Default)]
struct InFlight {
    clients: Vec<Option<IpAddr>>,
    free: Vec<u32>,
}

/// What a core saw in the time up to `at_ns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which core.
    pub core: usize,
    /// When it was made.
    pub at_ns: u64,
    /// The watch it holds; 0 for none.
    pub watching: u64,
    /// Who was refused.
    pub refused: Vec<Suspect>,
    /// Watched sources that were admitted.
    pub admitted: Vec<Source>,
}

/// A source's refusals in one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Whose.
    pub source: Source,
    /// How many of each kind.
    pub offences: Offences,
    /// The API key it used last, as a slot of telemetry.
    pub key: Option<u32>,
}

impl Tally {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(core: usize) -> Self {
        Self {
            core,
            hash: RandomState::new(),
            places: vec![FREE; SETS * WAYS].into(),
            has_refusals: false,
            watch: None,
            seen: Vec::new(),
            admitted: Vec::new(),
            in_flight: InFlight::default(),
        }
    }

    /// A request, connection or handshake of this client was refused.
    pub fn refused(&mut self, client: IpAddr, offence: Offence, key: Option<u32>) {
        let source = Source::of(client);
        let set = self.hash.hash_one(source) as usize % SETS;
        let Some(set) = self.places.get_mut(set * WAYS..(set + 1) * WAYS) else { return };
        self.has_refusals = true;
        let place = match set.iter().position(|place| place.source == Some(source)) {
            Some(at) => set.get_mut(at),
            None => set.iter_mut().min_by_key(|place| place.weight),
        };
        let Some(place) = place else { return };
        if place.source != Some(source) {
            *place = Place { source: Some(source), weight: place.weight, ..FREE };
        }
        place.weight += 1;
        place.offences.count(offence);
        place.key = key.unwrap_or(place.key);
    }

    /// A request of this client was admitted.
    #[inline]
    pub fn admitted(&mut self, client: IpAddr) {
        if let Some(watch) = &self.watch {
            mark(&mut self.seen, watch, client);
        }
    }

    /// An admitted exchange that may last: until [`leave`](Self::leave) its client counts as admitted. Gives its ticket.
    #[inline]
    pub fn enter(&mut self, client: IpAddr) -> u32 {
        let InFlight { clients, free } = &mut self.in_flight;
        let ticket = free.pop().unwrap_or_else(|| {
            clients.push(None);
            u32::try_from(clients.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = clients.get_mut(ticket as usize) {
            *place = Some(client);
        }
        ticket
    }

    /// It is over.
    #[inline]
    pub fn leave(&mut self, ticket: u32) {
        if let Some(place) = self.in_flight.clients.get_mut(ticket as usize)
            && place.take().is_some()
        {
            self.in_flight.free.push(ticket);
        }
    }

    /// From now on these sources are watched.
    pub fn set_watch(&mut self, watch: Arc<Watch>) {
        self.collect_seen();
        self.seen = vec![0; watch.len().div_ceil(64)];
        self.watch = (!watch.is_empty()).then_some(watch);
    }

    /// What there is to tell; `None` if nothing happened and nobody is watched. The counts begin anew.
    pub fn report(&mut self, now_ns: u64) -> Option<Report> {
        if !self.has_refusals && self.watch.is_none() && self.admitted.is_empty() {
            return None;
        }
        if let Some(watch) = &self.watch {
            for client in self.in_flight.clients.iter().flatten() {
                mark(&mut self.seen, watch, *client);
            }
        }
        self.collect_seen();
        let mut refused = Vec::new();
        if std::mem::take(&mut self.has_refusals) {
            for place in &mut self.places {
                if let Place { source: Some(source), offences, key, .. } = std::mem::replace(place, FREE) {
                    refused.push(Suspect { source, offences, key: (key != KEYLESS).then_some(key) });
                }
            }
        }
        Some(Report {
            core: self.core,
            at_ns: now_ns,
            watching: self.watch.as_ref().map_or(0, |watch| watch.version()),
            refused,
            admitted: std::mem::take(&mut self.admitted),
        })
    }

    fn collect_seen(&mut self) {
        let Some(watch) = &self.watch else { return };
        for (at, word) in self.seen.iter_mut().enumerate() {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                self.admitted.extend(watch.source(at * 64 + bits.trailing_zeros() as usize));
                bits &= bits - 1;
            }
        }
    }
}

#[inline]
fn mark(seen: &mut [u64], watch: &Watch, client: IpAddr) {
    watch.find(client, |place| {
        if let Some(word) = seen.get_mut(place as usize / 64) {
            *word |= 1 << (place % 64);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn an_idle_core_reports_nothing_and_a_watching_one_always() {
        let mut tally = Tally::new(1);
        assert_eq!(tally.report(5), None);
        tally.set_watch(Arc::new(Watch::new(7, [Source::of(ip(1))].into_iter())));
        let report = tally.report(6).unwrap();
        assert_eq!((report.core, report.at_ns, report.watching), (1, 6, 7));
        assert!(report.refused.is_empty() && report.admitted.is_empty());
        tally.set_watch(Arc::new(Watch::new(8, std::iter::empty())));
        assert_eq!(tally.report(7), None);
    }

    #[test]
    fn only_the_watched_are_told_when_admitted_and_once() {
        let mut tally = Tally::new(0);
        tally.admitted(ip(1));
        tally.set_watch(Arc::new(Watch::new(1, [ip(1), ip(2)].map(Source::of).into_iter())));
        for client in [2, 2, 3] {
            tally.admitted(ip(client));
        }
        // A new watch must not lose what was seen under the old one.
        tally.set_watch(Arc::new(Watch::new(2, [ip(3)].map(Source::of).into_iter())));
        assert_eq!(tally.report(1).unwrap().admitted, [Source::of(ip(2))]);
        assert!(tally.report(2).unwrap().admitted.is_empty());
    }

    #[test]
    fn an_exchange_under_way_counts_as_admitted_until_it_is_over() {
        let mut tally = Tally::new(0);
        let (long, other) = (tally.enter(ip(1)), tally.enter(ip(2)));
        tally.set_watch(Arc::new(Watch::new(1, [ip(1)].map(Source::of).into_iter())));
        for now_ns in 1..4 {
            assert_eq!(tally.report(now_ns).unwrap().admitted, [Source::of(ip(1))]);
        }
        tally.leave(long);
        tally.leave(long);
        assert!(tally.report(5).unwrap().admitted.is_empty());
        assert_eq!(tally.enter(ip(3)), long, "tickets are used again");
        tally.leave(other);
    }

    #[test]
    fn refusals_are_told_by_kind_with_the_key() {
        let mut tally = Tally::new(0);
        tally.refused(ip(1), Offence::Throttled, Some(4));
        tally.refused(ip(1), Offence::Malformed, None);
        let report = tally.report(1).unwrap();
        let [suspect] = report.refused[..] else { panic!("one suspect, not {:?}", report.refused) };
        assert_eq!((suspect.source, suspect.key), (Source::of(ip(1)), Some(4)));
        assert_eq!(suspect.offences.to_string(), "throttled 1, malformed 1");
        assert_eq!(tally.report(2), None, "the counts begin anew");
    }

    proptest! {
        /// Whatever the stream: nobody is reported with more than it did, and who did more than a set's share is there.
        #[test]
        fn reports_never_exaggerate_and_never_miss_a_heavy_one(
            stream in proptest::collection::vec(0_u32..3000, 1..4000),
            heavy in 0_u32..3000,
        ) {
            let mut tally = Tally::new(0);
            let mut exact: HashMap<Source, u64> = HashMap::new();
            for (at, client) in stream.iter().enumerate() {
                let client = if at % 3 == 0 { heavy } else { *client };
                tally.refused(ip(client), Offence::Throttled, None);
                *exact.entry(Source::of(ip(client))).or_default() += 1;
            }
            let report = tally.report(1).unwrap();
            prop_assert!(report.refused.len() <= SETS * WAYS);
            for suspect in &report.refused {
                prop_assert!(suspect.offences.total() <= exact[&suspect.source]);
            }
            if stream.len() > 100 {
                prop_assert!(report.refused.iter().any(|suspect| suspect.source == Source::of(ip(heavy))));
            }
        }
    }
}
