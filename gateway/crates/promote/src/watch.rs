//! The sources whose admissions the judge wants to hear of, as every core holds them.

use crate::source::{IPV6_PREFIXES, Source};
use std::collections::HashMap;
use std::net::IpAddr;

/// Bits of the filter: 4 KiB of a core's cache, and with a thousand sources one client in thirty is looked up in vain.
const FILTER_BITS: u32 = 15;

/// A published list of sources. Immutable: a new one replaces it.
#[derive(Debug)]
pub struct Watch {
    version: u64,
    /// A bit for each source, by [`slot`]: says at once of nearly everybody that they are not watched.
    filter: Box<[u64]>,
    places: HashMap<Source, u32>,
    sources: Vec<Source>,
    /// Whether there are IPv6 sources of the widths of [`IPV6_PREFIXES`].
    widths: [bool; IPV6_PREFIXES.len()],
}

impl Watch {
    /// A list of these, numbered in the order of publication.
    #[must_use]
    pub fn new(version: u64, sources: impl Iterator<Item = Source>) -> Self {
        let sources: Vec<Source> = sources.collect();
        let mut filter = vec![0_u64; 1 << (FILTER_BITS - 6)];
        let mut widths = [false; IPV6_PREFIXES.len()];
        for source in &sources {
            let (word, bit) = slot(*source);
            if let Some(word) = filter.get_mut(word) {
                *word |= bit;
            }
            for (wanted, width) in widths.iter_mut().zip(IPV6_PREFIXES) {
                *wanted |= source.prefix() == width;
            }
        }
        let places = sources.iter().copied().zip(0..).collect();
        Self { version, filter: filter.into(), places, sources, widths }
    }

    /// Which publication it is.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many sources it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub(crate) fn source(&self, place: usize) -> Option<Source> {
        self.sources.get(place).copied()
    }

    /// Calls `found` with the place of each watched source that the address belongs to.
    #[inline]
    pub(crate) fn find(&self, address: IpAddr, mut found: impl FnMut(u32)) {
        let source = Source::of(address);
        if source.prefix() == 128 {
            return self.find_one(source, &mut found);
        }
        for (wanted, width) in self.widths.iter().zip(IPV6_PREFIXES) {
            if *wanted {
                self.find_one(source.at(width), &mut found);
            }
        }
    }

    #[inline]
    fn find_one(&self, source: Source, found: &mut impl FnMut(u32)) {
        let (word, bit) = slot(source);
        if self.filter.get(word).is_some_and(|word| word & bit != 0)
            && let Some(place) = self.places.get(&source)
        {
            found(*place);
        }
    }
}

/// A source's word and bit of the filter. Not keyed: who aims at a bit gains a look-up in the (keyed) map for each request.
#[inline]
fn slot(source: Source) -> (usize, u64) {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = source.bits();
    let folded = (bits as u64) ^ ((bits >> 64) as u64).rotate_left(32) ^ u64::from(source.prefix());
    let hash = folded.wrapping_mul(MULTIPLIER) >> (64 - FILTER_BITS);
    ((hash >> 6) as usize, 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(watch: &Watch, address: &str) -> Vec<u32> {
        let mut places = Vec::new();
        watch.find(address.parse().unwrap(), |place| places.push(place));
        places
    }

    #[test]
    fn addresses_are_found_at_every_width() {
        let v6 = Source::of("2001:db8:1:aabb::1".parse().unwrap());
        let list = [Source::of("192.0.2.7".parse().unwrap()), v6, v6.parent().unwrap().parent().unwrap()];
        let watch = Watch::new(3, list.into_iter());
        assert_eq!((watch.version(), watch.len(), watch.is_empty()), (3, 3, false));
        assert_eq!(places(&watch, "192.0.2.7"), [0]);
        assert_eq!(places(&watch, "::ffff:192.0.2.7"), [0]);
        assert_eq!(places(&watch, "192.0.2.8"), [0; 0]);
        assert_eq!(places(&watch, "2001:db8:1:aabb::9"), [1, 2]);
        assert_eq!(places(&watch, "2001:db8:1:ccdd::9"), [2]);
        assert_eq!(places(&watch, "2001:db8:2::9"), [0; 0]);
    }

    #[test]
    fn the_filter_spreads_neighbours() {
        let all = (0..1000_u32).map(|n| Source::of(IpAddr::from((0x0a00_0000 + n).to_be_bytes())));
        let watch = Watch::new(1, all);
        let bits: u32 = watch.filter.iter().map(|word| word.count_ones()).sum();
        assert!(bits > 900, "{bits} bits for 1000 neighbours");
    }
}
