//! The most refused clients since start, in bounded memory.

use crate::offence::Offences;
use crate::source::Source;
use std::collections::HashMap;

/// Clients that are followed; as many are shown at most.
const FOLLOWED_MAX: usize = 128;

/// Heavy hitters (space-saving, as in [`Tally`](crate::Tally)) over all reports.
#[derive(Debug, Default)]
pub struct TopClients {
    followed: HashMap<Source, Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    offences: Offences,
    weight: u64,
    key: Option<u32>,
}

/// One of the most refused clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopClient {
    /// Who.
    pub source: Source,
    /// Its refusals since it is followed: never more than it had.
    pub offences: Offences,
    /// The API key it used last.
    pub key: Option<u32>,
}

impl TopClients {
    /// Counts refusals of a client.
    pub fn add(&mut self, source: Source, offences: &Offences, key: Option<u32>) {
        let mut inherited = 0;
        if !self.followed.contains_key(&source) && self.followed.len() >= FOLLOWED_MAX {
            let least = self.followed.iter().min_by_key(|(_, followed)| followed.weight);
            if let Some((out, weight)) = least.map(|(source, followed)| (*source, followed.weight)) {
                self.followed.remove(&out);
                inherited = weight;
            }
        }
        let followed = self
            .followed
            .entry(source)
            .or_insert_with(|| Followed { weight: inherited, ..Followed::default() });
        followed.offences.add(offences);
        followed.weight += offences.total();
        followed.key = key.or(followed.key);
    }

    /// The `count` most refused, the worst first.
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<TopClient> {
        let client = |(source, followed): (&Source, &Followed)| TopClient {
            source: *source,
            offences: followed.offences,
            key: followed.key,
        };
        let mut all: Vec<_> = self.followed.iter().map(client).collect();
        all.sort_by_key(|client| (std::cmp::Reverse(client.offences.total()), client.source));
        all.truncate(count);
        all
    }

    /// The API key that a client used last, if it is among those followed.
    #[must_use]
    pub fn key_of(&self, source: Source) -> Option<u32> {
        self.followed.get(&source)?.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Offence;
    use std::net::IpAddr;

    #[test]
    fn heavy_ones_stay_while_thousands_pass() {
        let mut top = TopClients::default();
        let source = |n: u32| Source::of(IpAddr::from(n.to_be_bytes()));
        let mut one = Offences::default();
        one.count(Offence::Credentials);
        for n in 0..5_000 {
            top.add(source(1_000 + n), &one, None);
            top.add(source(n % 3), &one, Some(n % 3));
        }
        let worst: Vec<_> = top.top(3).iter().map(|client| (client.source, client.key)).collect();
        assert_eq!(worst, [0, 1, 2].map(|n| (source(n), Some(n))));
        assert!(top.top(3)[0].offences.total() <= 1667);
        assert_eq!(top.top(1000).len(), FOLLOWED_MAX);
        assert_eq!((top.key_of(source(1)), top.key_of(source(9))), (Some(1), None));
    }
}
