//! Transactions that came with a reference to a certificate which is not known here: asked for whole (docs/design.md § 3.8).
//!
//! Keeps no transaction: how each was to go on, and whom to ask.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fetch::{Asks, Bounds, Fetches};
use crate::message::Push;
use crate::types::bounds::IDS_PER_FRAME_MAX;
use crate::types::{LinkId, Time, TxId};
use crate::view::Size;

/// Asked for at once; a further one is dropped, and comes whole when it is sent again, or by reconciliation. Guess: a link that was
/// answered "whole" once sends no more references for a while, so there is never more than a round trip's worth.
const BOUNDS: Bounds = Bounds {
    name: "transactions without their certificate",
    missing_max: 2048,
    per_frame_max: IDS_PER_FRAME_MAX,
};

/// How a transaction was on its way: the answer to a fetch does not say it again.
#[derive(Debug, Clone, Copy)]
struct Way {
    rows: u32,
    head: bool,
    hops: u32,
    /// The frame that it came in first, to be acknowledged once it is durable.
    ack: Option<(LinkId, u64)>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Unresolved {
    fetches: Fetches<TxId>,
    ways: BTreeMap<TxId, Way>,
}

impl Default for Unresolved {
    fn default() -> Self {
        Self { fetches: Fetches::new(BOUNDS), ways: BTreeMap::new() }
    }
}

impl Unresolved {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 1] {
        self.fetches.sizes()
    }

    /// A transaction came on these links, the last of them that it came on first. Returns when it is asked for.
    pub(crate) fn came<E>(
        &mut self,
        id: TxId,
        push: &Push<E>,
        ack: Option<(LinkId, u64)>,
        on: impl IntoIterator<Item = LinkId>,
        now: Time,
    ) -> Option<Time> {
        let mut due = None;
        for link in on {
            due = self.fetches.announced(id, link, now);
        }
        due?;
        let way = Way { rows: push.rows, head: push.head, hops: push.hops, ack };
        let known = self.ways.entry(id).or_insert(way);
        if way.head && !known.head || known.hops == 0 {
            *known = Way { ack: known.ack.or(ack), ..way };
        }
        due
    }

    /// It came whole, in answer to a fetch or otherwise: goes on as the first was to. Returns the first one's frame, to be
    /// acknowledged once it is durable.
    pub(crate) fn arrived<E>(&mut self, id: &TxId, push: &mut Push<E>) -> Option<(LinkId, u64)> {
        let way = self.remove(id)?;
        if push.hops == 0 || way.head && !push.head {
            (push.rows, push.head, push.hops) = (way.rows, way.head, way.hops);
        }
        way.ack
    }

    /// It is not wanted any more.
    pub(crate) fn forget(&mut self, id: &TxId) {
        self.remove(id);
    }

    fn remove(&mut self, id: &TxId) -> Option<Way> {
        let way = self.ways.remove(id)?;
        self.fetches.arrived(id);
        Some(way)
    }

    /// Whom to ask now, see [`Fetches::due`].
    pub(crate) fn due(&mut self, now: Time, wait: impl Fn(LinkId) -> Option<Duration>) -> Asks<TxId> {
        let asks = self.fetches.due(now, wait);
        for id in &asks.given_up {
            self.ways.remove(id);
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[expect(clippy::unnecessary_wraps, reason = "the shape that due() asks for")]
    fn wait(_: LinkId) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    #[test]
    fn what_comes_whole_goes_on_as_it_was_to() {
        let mut unresolved = Unresolved::default();
        let id = testing::envelope(1, 10).id();
        let push = |rows, head, hops| Push { rows, head, hops, ..testing::push(1, 10) };
        unresolved.came(id, &push(8, false, 2), Some((LinkId(1), 7)), [LinkId(1)], Time::ZERO);
        unresolved.came(id, &push(4, true, 1), Some((LinkId(2), 9)), [LinkId(2)], Time::ZERO);
        assert_eq!(unresolved.due(Time::ZERO, wait).requests.len(), 1);
        let mut whole = push(1, false, 0);
        assert_eq!(unresolved.arrived(&id, &mut whole), Some((LinkId(1), 7)));
        assert_eq!((whole.rows, whole.head, whole.hops), (4, true, 1));
        let mut again = push(1, false, 0);
        assert_eq!(unresolved.arrived(&id, &mut again), None);
        assert_eq!(again.hops, 0, "it is forgotten");
    }

    #[test]
    fn what_nobody_gives_is_given_up_and_there_is_never_too_much_of_it() {
        let mut unresolved = Unresolved::default();
        for number in 0..BOUNDS.missing_max as u64 + 9 {
            let id = TxId::of_header(&number.to_le_bytes());
            unresolved.came(id, &testing::push(1, 10), None, [LinkId(1)], Time::ZERO);
        }
        assert_eq!((unresolved.ways.len(), unresolved.sizes()[0].len), (2048, 2048));
        let mut asks = unresolved.due(Time::ZERO, wait);
        for second in 1..4 {
            assert_eq!(asks.given_up.len(), 0, "{second}");
            asks = unresolved.due(Time::from_micros(second * 1_000_000), wait);
        }
        assert_eq!((asks.given_up.len(), asks.in_vain.len()), (2048, 2048));
        assert_eq!((unresolved.ways.len(), unresolved.sizes()[0].len), (0, 0));
    }
}
