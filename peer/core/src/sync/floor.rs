//! How far back this peer and its neighbours keep transactions: floors, as publication times.
//!
//! Below its floor a peer holds nothing and takes nothing, so a floor stands for a tombstone of everything that was
//! ever published before it: what retention has removed on one side cannot come back from another. Two peers
//! compare only what lies above both floors. Knows times and links; when something is removed others decide.

use std::collections::BTreeMap;

use crate::message::{Fingerprint, SyncBound, SyncContent, SyncRange};
use crate::types::{LinkId, WallTime};

/// What no set has: it differs from every fingerprint, so that the other side lists or splits.
const UNEQUAL: Fingerprint = Fingerprint { count: u64::MAX, sum: [0xff; 32] };

/// The own floor and those that were heard on links.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    own: WallTime,
    /// One for each link that has said one; links are bounded by the configuration.
    heard: BTreeMap<LinkId, WallTime>,
}

impl Floors {
    /// After a start with this floor in the store.
    pub(crate) fn new(own: WallTime) -> Self {
        Self { own, heard: BTreeMap::new() }
    }

    /// Nothing published before this is held or taken here.
    pub(crate) fn own(&self) -> WallTime {
        self.own
    }

    /// The store's floor is there; it never moves back.
    pub(crate) fn rise(&mut self, floor: WallTime) {
        self.own = self.own.max(floor);
    }

    /// The other end of a link says its floor.
    pub(crate) fn hear(&mut self, link: LinkId, floor: WallTime) {
        self.heard.insert(link, floor);
    }

    /// The link is gone.
    pub(crate) fn unlinked(&mut self, link: LinkId) {
        self.heard.remove(&link);
    }

    /// What was published before this none of the links takes any more; nothing where one has not said.
    pub(crate) fn lowest(&self, links: impl Iterator<Item = LinkId>) -> WallTime {
        links.map(|link| self.heard.get(&link).copied().unwrap_or_default()).min().unwrap_or_default()
    }
}

/// The point below which nothing is published at or after `floor`.
pub(crate) fn bound(floor: WallTime) -> SyncBound {
    SyncBound { published: floor, id: [0; 32] }
}

/// Lifts what the other side said of its ranges above `floor`: what lies below it is left out, and a range that
/// reaches below is taken as different in what remains of it.
pub(crate) fn lift(ranges: Vec<SyncRange>, floor: WallTime) -> Vec<SyncRange> {
    let floor = bound(floor);
    let above = ranges.into_iter().filter(|range| range.upper > floor);
    above
        .map(|range| {
            if range.lower >= floor {
                return range;
            }
            SyncRange { lower: floor, content: SyncContent::Fingerprint(UNEQUAL), ..range }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> WallTime {
        WallTime::from_unix_ms(ms)
    }

    #[test]
    fn ranges_are_cut_at_the_floor_and_what_is_cut_counts_as_different() {
        let print = Fingerprint { count: 3, sum: [1; 32] };
        let range = |lower, upper| SyncRange {
            lower: bound(at(lower)),
            upper: bound(at(upper)),
            content: SyncContent::Fingerprint(print),
        };
        let lifted = lift(vec![range(0, 5), range(5, 10), range(10, 20), range(20, 30)], at(10));
        assert_eq!(lifted, [range(10, 20), range(20, 30)], "a bound is exclusive above");
        let lifted = lift(vec![range(0, 20)], at(10));
        assert_eq!((lifted[0].lower, lifted[0].upper), (bound(at(10)), bound(at(20))));
        assert_eq!(lifted[0].content, SyncContent::Fingerprint(UNEQUAL));
    }

    #[test]
    fn the_own_floor_never_falls_and_the_lowest_one_needs_a_word_from_every_link() {
        let mut floors = Floors::new(at(5));
        floors.rise(at(3));
        assert_eq!(floors.own(), at(5));
        floors.hear(LinkId(1), at(7));
        assert_eq!(floors.lowest([LinkId(1)].into_iter()), at(7));
        assert_eq!(floors.lowest([LinkId(1), LinkId(2)].into_iter()), at(0));
        assert_eq!(floors.lowest(std::iter::empty()), at(0));
        floors.unlinked(LinkId(1));
        assert_eq!(floors.lowest([LinkId(1)].into_iter()), at(0));
    }
}
