//! Order within each origin: which transactions may be delivered now, which wait for one before them.
//!
//! Knows numbers of origins and positions of arrival, no store and no client. Transactions of one origin are let through
//! by (incarnation, sequence). One that comes before its predecessor waits for it: until it comes, until the deadline
//! where nothing is left to be read, until `AHEAD_MAX` more positions have been read, or until more than `HELD_MAX` wait.
//! Then the numbers missed are told as a gap, and what comes of them later is let through as late: nothing is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sorcha_peer_core::envelope::Header;
use sorcha_peer_core::types::PeerId;

/// How long after its arrival a transaction waits for its predecessors: a round of reconciliation, which brings what
/// pushes and announcements have lost, is opened every 10 s.
pub(super) const HELD_FOR: Duration = Duration::from_secs(10);
/// Positions read beyond one that waits: in what is held already, a predecessor lies near. Guess.
pub(super) const AHEAD_MAX: u64 = 4096;
/// Transactions that wait in one subscription: 100 KB. Guess.
pub(super) const HELD_MAX: usize = 1024;
/// Origins remembered in one subscription, 2 MB; beyond it one that nothing waits for is forgotten.
const ORIGINS_MAX: usize = 16_384;

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    /// Deliver what stands at this position.
    Deliver {
        /// Of arrival.
        position: u64,
        /// After later ones of its origin.
        late: bool,
    },
    /// These numbers did not come; both ends included.
    Gap {
        /// Whose.
        origin: PeerId,
        /// Of the origin.
        incarnation: u64,
        /// First missed.
        from: u64,
        /// Last missed.
        to: u64,
    },
}

#[derive(Debug)]
struct Waiting {
    position: u64,
    until: Instant,
}

/// One origin.
#[derive(Debug, Default)]
struct Chain {
    incarnation: u64,
    /// Sequence that comes next.
    next: u64,
    waiting: BTreeMap<(u64, u64), Waiting>,
}

/// All origins of one subscription.
#[derive(Debug, Default)]
pub(super) struct Order {
    chains: BTreeMap<PeerId, Chain>,
    held: usize,
}

impl Order {
    /// It was delivered before this subscription began, or is acknowledged; may let others through.
    pub(super) fn known(&mut self, header: &Header) -> Vec<Out> {
        let mut outs = Vec::new();
        let chain = self.chain(header.origin);
        if (header.incarnation, header.sequence + 1) > (chain.incarnation, chain.next) {
            (chain.incarnation, chain.next) = (header.incarnation, header.sequence + 1);
            self.held -= chain_drain(self.chains.get_mut(&header.origin), &mut outs);
        }
        outs
    }

    /// One that is read now. `certain`: had its predecessor been here before, it would have been read.
    pub(super) fn read(&mut self, header: &Header, position: u64, certain: bool, until: Instant) -> Vec<Out> {
        let mut outs = Vec::new();
        let (incarnation, sequence) = (header.incarnation, header.sequence);
        let first_seen = !self.chains.contains_key(&header.origin);
        let chain = self.chain(header.origin);
        if first_seen && !certain {
            (chain.incarnation, chain.next) = (incarnation, sequence);
        }
        if (incarnation, sequence) < (chain.incarnation, chain.next) {
            return vec![Out::Deliver { position, late: true }];
        }
        let taken = chain.waiting.insert((incarnation, sequence), Waiting { position, until });
        if let Some(other) = taken {
            // Two under one number: both are delivered, in the order of their arrival.
            outs.push(Out::Deliver { position: other.position, late: false });
        } else {
            self.held += 1;
        }
        self.held -= chain_drain(self.chains.get_mut(&header.origin), &mut outs);
        while self.held > HELD_MAX {
            self.give_up_oldest(&mut outs);
        }
        outs
    }

    /// What has waited long enough: for `read_to`, or for its time where everything `is_read`.
    pub(super) fn overdue(&mut self, read_to: u64, is_read: bool, now: Instant) -> Vec<Out> {
        let mut outs = Vec::new();
        while self.held > 0 {
            let due = |waiting: &Waiting| {
                waiting.position + AHEAD_MAX <= read_to || is_read && waiting.until <= now
            };
            let found = self.chains.iter().find(|(_, chain)| chain.waiting.values().any(due));
            let Some(origin) = found.map(|(origin, _)| *origin) else { break };
            self.give_up(origin, &mut outs);
        }
        outs
    }

    /// When the first of those that wait has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.held == 0 {
            return None;
        }
        self.chains.values().flat_map(|chain| chain.waiting.values()).map(|waiting| waiting.until).min()
    }

    /// The lowest position that waits.
    pub(super) fn lowest(&self) -> Option<u64> {
        if self.held == 0 {
            return None;
        }
        self.chains.values().flat_map(|chain| chain.waiting.values()).map(|waiting| waiting.position).min()
    }

    fn chain(&mut self, origin: PeerId) -> &mut Chain {
        if self.chains.len() >= ORIGINS_MAX && !self.chains.contains_key(&origin) {
            let idle = self.chains.iter().find(|(_, chain)| chain.waiting.is_empty());
            if let Some(idle) = idle.map(|(origin, _)| *origin) {
                self.chains.remove(&idle);
            }
        }
        self.chains.entry(origin).or_insert_with(|| Chain { next: 1, ..Chain::default() })
    }

    fn give_up_oldest(&mut self, outs: &mut Vec<Out>) {
        let oldest = self
            .chains
            .iter()
            .filter_map(|(origin, chain)| {
                Some((chain.waiting.values().map(|it| it.position).min()?, *origin))
            })
            .min();
        if let Some((_, origin)) = oldest {
            self.give_up(origin, outs);
        }
    }

    /// Goes on with an origin without what it misses.
    fn give_up(&mut self, origin: PeerId, outs: &mut Vec<Out>) {
        let Some(chain) = self.chains.get_mut(&origin) else { return };
        let Some((incarnation, sequence)) = chain.waiting.keys().next().copied() else { return };
        let from = if incarnation == chain.incarnation { chain.next } else { 1 };
        if from < sequence {
            outs.push(Out::Gap { origin, incarnation, from, to: sequence - 1 });
        }
        (chain.incarnation, chain.next) = (incarnation, sequence);
        self.held -= chain_drain(Some(chain), outs);
    }
}

/// Lets through what follows without a gap; answers how many.
fn chain_drain(chain: Option<&mut Chain>, outs: &mut Vec<Out>) -> usize {
    let Some(chain) = chain else { return 0 };
    let mut count = 0;
    while let Some(first) = chain.waiting.first_entry() {
        let (incarnation, sequence) = *first.key();
        let fits = (incarnation, sequence) <= (chain.incarnation, chain.next)
            || incarnation > chain.incarnation && sequence == 1;
        if !fits {
            break;
        }
        let late = (incarnation, sequence) < (chain.incarnation, chain.next);
        outs.push(Out::Deliver { position: first.remove().position, late });
        if !late {
            (chain.incarnation, chain.next) = (incarnation, sequence + 1);
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use sorcha_peer_core::types::{Hash, WallTime};

    use super::*;

    fn header(origin: &str, incarnation: u64, sequence: u64) -> Header {
        Header {
            network: String::new(),
            origin: PeerId::of_uri(origin),
            incarnation,
            sequence,
            register: String::new(),
            published: WallTime::default(),
            body_bytes: 0,
            body_root: Hash::from_bytes([0; 32]),
        }
    }

    /// Reads numbers of one origin at positions 1, 2, ...; the positions delivered, negative where late, and gaps.
    fn deliver(order: &mut Order, numbers: &[(u64, u64)], certain: bool) -> Vec<String> {
        let until = Instant::now() + HELD_FOR;
        let read = |(position, (incarnation, sequence)): (u64, &(u64, u64))| {
            order.read(&header("a", *incarnation, *sequence), position, certain, until)
        };
        (1..).zip(numbers).flat_map(read).map(text).collect()
    }

    fn text(out: Out) -> String {
        match out {
            Out::Deliver { position, late } => format!("{position}{}", if late { " late" } else { "" }),
            Out::Gap { incarnation, from, to, .. } => format!("gap {incarnation}: {from}-{to}"),
        }
    }

    #[test]
    fn numbers_of_an_origin_come_in_order() {
        let check = |numbers: &[(u64, u64)], expected: &[&str]| {
            let mut order = Order::default();
            assert_eq!(deliver(&mut order, numbers, true), expected, "{numbers:?}");
            assert_eq!(order.held, order.chains.values().map(|chain| chain.waiting.len()).sum::<usize>());
        };
        check(&[(1, 1), (1, 2), (1, 3)], &["1", "2", "3"]);
        check(&[(1, 2), (1, 3), (1, 1)], &["3", "1", "2"]);
        check(&[(1, 1), (1, 3), (1, 2), (1, 4)], &["1", "3", "2", "4"]);
        check(&[(1, 1), (2, 1), (2, 2)], &["1", "2", "3"]);
        check(&[(1, 1), (2, 2), (2, 1)], &["1", "3", "2"]);
        check(&[(1, 1), (1, 3), (2, 1), (1, 2)], &["1", "4", "2", "3"]);
        check(&[(1, 1), (2, 1), (1, 2)], &["1", "2", "3 late"]);
        check(&[(1, 1), (1, 1)], &["1", "2 late"]);
    }

    #[test]
    fn where_a_subscription_begins_in_the_midst_the_first_number_is_the_beginning() {
        assert_eq!(
            deliver(&mut Order::default(), &[(3, 7), (3, 9), (3, 8), (3, 6)], false),
            ["1", "3", "2", "4 late"]
        );
        let mut order = Order::default();
        assert!(order.known(&header("a", 3, 7)).is_empty());
        assert_eq!(deliver(&mut order, &[(3, 9), (3, 8)], true), ["2", "1"]);
    }

    #[test]
    fn what_does_not_come_in_time_is_a_gap_and_late_afterwards() {
        let mut order = Order::default();
        let begin = Instant::now();
        assert_eq!(order.read(&header("a", 1, 3), 1, true, begin + HELD_FOR), []);
        assert_eq!(order.read(&header("b", 1, 1), 2, true, begin + HELD_FOR).len(), 1, "others go on");
        assert_eq!((order.lowest(), order.deadline()), (Some(1), Some(begin + HELD_FOR)));
        assert_eq!(order.overdue(2, false, begin + 2 * HELD_FOR), [], "there is more to read");
        assert_eq!(order.overdue(2, true, begin + HELD_FOR / 2), []);
        let outs = order.overdue(2, true, begin + HELD_FOR);
        assert_eq!(outs.into_iter().map(text).collect::<Vec<_>>(), ["gap 1: 1-2", "1"]);
        let late = order.read(&header("a", 1, 2), 3, true, begin);
        assert_eq!(late, [Out::Deliver { position: 3, late: true }]);
        assert_eq!((order.held, order.lowest()), (0, None));
    }

    #[test]
    fn only_so_many_wait_and_only_so_far_ahead() {
        let (mut order, until) = (Order::default(), Instant::now() + HELD_FOR);
        let mut outs = Vec::new();
        for number in 0..=HELD_MAX as u64 {
            outs.extend(order.read(&header(&format!("{number}"), 1, 2), number + 1, true, until));
        }
        assert_eq!(outs.into_iter().map(text).collect::<Vec<_>>(), ["gap 1: 1-1", "1"], "the oldest goes on");
        assert_eq!(order.held, HELD_MAX);
        assert_eq!(order.overdue(AHEAD_MAX + 1, false, Instant::now()), []);
        assert_eq!(order.overdue(AHEAD_MAX + 2, false, Instant::now()).len(), 2);
    }
}
