//! Lazy repair, asking side: announced, not yet come, or come with a certificate that is not known here. Waits, asks the nearest announcer, then two at a time (docs/design.md § 3.4).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::bounds::SHORT_IDS_PER_FRAME_MAX;
use crate::types::{LinkId, Time};
use crate::view::Size;

/// Of announced ids.
pub(crate) const ANNOUNCED: Bounds = Bounds {
    name: "announced ids that are missing",
    missing_max: 8192,
    per_frame_max: SHORT_IDS_PER_FRAME_MAX,
};
/// Announcers remembered for one id.
const ANNOUNCERS_MAX: usize = 8;
/// Asked at a time, after the first.
const ASKED_AT_ONCE: usize = 2;
/// All announcers are asked so often: a request or its answer may be lost. Where a fifth of all frames is, a third of such
/// exchanges fail, and of three in a row one in twenty (simulated, 1,000 peers, half of them behind NAT: 99.995 instead of 99.93 %
/// within 3 s).
const ROUNDS_MAX: u8 = 3;

/// A short id with its salt.
pub(crate) type Short = (u64, [u8; 8]);

#[derive(Debug)]
struct Missing {
    /// When the next announcers are asked.
    due: Time,
    /// When all are asked once more, if there is no other.
    again: Time,
    announcers: Vec<LinkId>,
    /// The first so many announcers were asked.
    asked: usize,
    /// How often all of them were asked before.
    rounds: u8,
}

/// What is missing, by short id or by id.
#[derive(Debug)]
pub(crate) struct Fetches<K> {
    missing: BTreeMap<K, Missing>,
    bounds: Bounds,
}

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// What is bounded.
    pub(crate) name: &'static str,
    /// Missing at once; beyond it reconciliation has to do.
    pub(crate) missing_max: usize,
    /// Asked for in one frame.
    pub(crate) per_frame_max: usize,
}

/// What is to be asked now.
#[derive(Debug)]
pub(crate) struct Asks<K> {
    /// What is missing, in order, by whom to ask for it.
    pub(crate) requests: BTreeMap<LinkId, Vec<K>>,
    /// Announcers that were all asked in vain.
    pub(crate) in_vain: Vec<LinkId>,
    /// What is not asked for any more.
    pub(crate) given_up: Vec<K>,
    /// When to look again.
    pub(crate) next: Option<Time>,
}

impl<K: Ord + Copy> Fetches<K> {
    /// Nothing is missing.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { missing: BTreeMap::new(), bounds }
    }

    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 1] {
        [Size { name: self.bounds.name, len: self.missing.len(), max: self.bounds.missing_max }]
    }

    /// Somebody holds an id that is not known here. Returns when it is asked for.
    pub(crate) fn announced(&mut self, key: K, by: LinkId, due: Time) -> Option<Time> {
        if let Some(missing) = self.missing.get_mut(&key) {
            if missing.announcers.len() < ANNOUNCERS_MAX && !missing.announcers.contains(&by) {
                missing.announcers.push(by);
            }
            return Some(missing.due);
        }
        if self.missing.len() >= self.bounds.missing_max {
            return None;
        }
        self.missing.insert(key, Missing { due, again: due, announcers: vec![by], asked: 0, rounds: 0 });
        Some(due)
    }

    /// It came. Returns who has announced it.
    pub(crate) fn arrived(&mut self, key: &K) -> Vec<LinkId> {
        self.missing.remove(key).map(|missing| missing.announcers).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whom to ask now. `wait` says how long a link's answer may take; `None`: the link is gone.
    pub(crate) fn due(&mut self, now: Time, wait: impl Fn(LinkId) -> Option<Duration>) -> Asks<K> {
        let mut asks = Asks {
            requests: BTreeMap::<LinkId, Vec<K>>::new(),
            in_vain: Vec::new(),
            given_up: Vec::new(),
            next: None,
        };
        let per_frame_max = self.bounds.per_frame_max;
        self.missing.retain(|key, missing| {
            let is_open = missing.due <= now
                && missing.announcers[missing.asked..].iter().any(|link| wait(*link).is_some());
            let due = if missing.due > now || is_open { missing.due } else { missing.again };
            if due > now {
                asks.next = Some(asks.next.map_or(due, |next: Time| next.min(due)));
                return true;
            }
            if !is_open && missing.rounds + 1 < ROUNDS_MAX {
                (missing.asked, missing.rounds) = (0, missing.rounds + 1);
            }
            let (asked, open) = missing.announcers.split_at_mut(missing.asked);
            open.sort_by_key(|link| (wait(*link).unwrap_or(Duration::MAX), *link));
            let is_first = asked.is_empty() && missing.rounds == 0;
            let count = if is_first { 1 } else { ASKED_AT_ONCE };
            let mut longest = None;
            for link in open.iter().take(count) {
                missing.asked += 1;
                let Some(wait) = wait(*link) else { continue };
                let list = asks.requests.entry(*link).or_default();
                if list.len() < per_frame_max {
                    list.push(*key);
                }
                longest = longest.max(Some(wait));
            }
            let Some(longest) = longest else {
                asks.in_vain.extend(asked.iter().copied());
                asks.given_up.push(*key);
                return false;
            };
            // It may be load that is waited for.
            let longest = longest * 2_u32.pow(missing.rounds.into());
            (missing.due, missing.again) = (now + longest, now + longest * 2);
            asks.next = Some(asks.next.map_or(missing.due, |next: Time| next.min(missing.due)));
            true
        });
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Short = (7, [1; 8]);
    const BOUNDS: Bounds = Bounds { name: "test", missing_max: 100, per_frame_max: 10 };

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn wait(link: LinkId) -> Option<Duration> {
        (link.0 < 100).then(|| Duration::from_millis(10 * link.0))
    }

    fn asked(asks: &Asks<Short>) -> Vec<u64> {
        asks.requests.keys().map(|link| link.0).collect()
    }

    #[test]
    fn the_nearest_is_asked_first_then_two_at_a_time_and_all_again() {
        let mut fetches = Fetches::new(BOUNDS);
        for link in [5, 3, 4, 6, 100] {
            fetches.announced(SHORT, LinkId(link), at(50));
        }
        assert!(fetches.due(at(49), wait).requests.is_empty());
        let first = fetches.due(at(50), wait);
        assert_eq!((asked(&first), first.next), (vec![3], Some(at(80))));
        assert_eq!(asked(&fetches.due(at(80), wait)), [4, 5]);
        assert_eq!(asked(&fetches.due(at(130), wait)), [6]);
        let none = fetches.due(at(190), wait);
        assert_eq!((asked(&none), none.next), (vec![], Some(at(250))));
        let again = fetches.due(at(250), wait);
        assert_eq!((asked(&again), again.next), (vec![3, 4], Some(at(250 + 2 * 40))));
        assert_eq!(asked(&fetches.due(at(1000), wait)), [5, 6]);
        let again = fetches.due(at(2000), wait);
        assert_eq!((asked(&again), again.next), (vec![3, 4], Some(at(2000 + 4 * 40))));
        assert_eq!(asked(&fetches.due(at(3000), wait)), [5, 6]);
        let last = fetches.due(at(4000), wait);
        assert_eq!((last.in_vain.len(), last.given_up), (4, vec![SHORT]), "one link is gone");
        assert!(fetches.is_empty());
    }

    #[test]
    fn what_came_is_not_asked_for() {
        let mut fetches = Fetches::new(BOUNDS);
        fetches.announced(SHORT, LinkId(1), at(50));
        assert_eq!(fetches.arrived(&SHORT), [LinkId(1)]);
        assert!(fetches.due(at(99), wait).requests.is_empty());
    }

    #[test]
    fn what_is_missing_keeps_under_its_bound() {
        let mut fetches = Fetches::new(BOUNDS);
        for number in 0..BOUNDS.missing_max as u64 + 9 {
            fetches.announced((number, [0; 8]), LinkId(1), at(1));
        }
        assert_eq!(fetches.missing.len(), BOUNDS.missing_max);
        let asks = fetches.due(at(1), wait);
        assert_eq!(asks.requests[&LinkId(1)].len(), BOUNDS.per_frame_max);
    }
}
