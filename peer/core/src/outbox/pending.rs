//! Transactions that no other peer is known to hold durably.
//!
//! Knows ids and times, no links. An id goes when another peer has acknowledged its push or says that it holds it, or
//! when a round of reconciliation has covered it. What was held before this start counts until a round has covered
//! it: how far it had spread is not written down.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::types::bounds::IDS_PER_FRAME_MAX;
use crate::types::{PeerId, Time, TxId, WallTime};
use crate::view::{OutboxView, Size};

/// Ids followed one by one, 5 MB; further ones are counted and wait for a round of reconciliation.
const FOLLOWED_MAX: usize = 65_536;
/// An id is asked about when no acknowledgement has come for this long: longer than a push that was sent three times
/// over a LAN and the disks at its end take. Guess.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// Between two questions to which no answer has come. Guess: a few round trips and a read of a store.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Linked peers that have said so often that they do not hold it will not take it, where also `UNDELIVERABLE_AFTER` has
/// passed. Guess: a large body on a slow line is given minutes, since its questions are as rare as those of all others.
const DENIED_MIN: u32 = 10;
/// See `DENIED_MIN`.
const UNDELIVERABLE_AFTER: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Debug)]
struct Followed {
    at: Time,
    /// Where that is known.
    published: Option<WallTime>,
    denied: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    followed: BTreeMap<TxId, Followed>,
    by_age: BTreeSet<(Time, TxId)>,
    /// Counted only: from earlier starts, or beyond the bound.
    uncounted: u64,
    /// The last of those came here.
    uncounted_at: Time,
    asked: Option<Time>,
    /// The last question, until it is answered.
    question: Option<(PeerId, Vec<TxId>)>,
}

impl Outbox {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 2] {
        [
            Size { name: "ids followed in the outbox", len: self.followed.len(), max: FOLLOWED_MAX },
            Size { name: "ids of the outbox by age", len: self.by_age.len(), max: FOLLOWED_MAX },
        ]
    }

    /// After a start with this many transactions in the store.
    pub(crate) fn new(held: u64) -> Self {
        Self { uncounted: held, ..Self::default() }
    }

    /// How many there are; after a start this may be more than there are.
    pub(crate) fn len(&self) -> u64 {
        self.followed.len() as u64 + self.uncounted
    }

    /// A transaction of this peer's is durable here.
    pub(crate) fn accepted(&mut self, id: TxId, published: WallTime, now: Time) {
        self.follow(id, Some(published), now);
    }

    fn follow(&mut self, id: TxId, published: Option<WallTime>, now: Time) {
        if self.followed.len() >= FOLLOWED_MAX {
            self.uncounted += 1;
            self.uncounted_at = now;
        } else if let Entry::Vacant(entry) = self.followed.entry(id) {
            entry.insert(Followed { at: now, published, denied: 0 });
            self.by_age.insert((now, id));
        }
    }

    /// When the oldest of them was published, but for those before `lowest`, which no peer in reach takes any more;
    /// none where there are none. As early as can be while some are not known one by one.
    pub(crate) fn oldest(&self, lowest: WallTime) -> Option<WallTime> {
        if self.uncounted > 0 {
            return Some(WallTime::default());
        }
        let published = self.followed.values().map(|followed| followed.published.unwrap_or_default());
        published.filter(|published| *published >= lowest || *published == WallTime::default()).min()
    }

    /// Retention has removed everything published before `floor`.
    pub(crate) fn expired(&mut self, floor: WallTime) {
        let gone = |followed: &Followed| followed.published.is_some_and(|at| at < floor);
        let ids: Vec<TxId> =
            self.followed.iter().filter(|(_, followed)| gone(followed)).map(|(id, _)| *id).collect();
        for id in ids {
            self.confirmed(&id);
        }
    }

    /// Another peer holds it.
    pub(crate) fn confirmed(&mut self, id: &TxId) {
        if let Some(followed) = self.followed.remove(id) {
            self.by_age.remove(&(followed.at, *id));
        }
    }

    /// Another peer holds everything that was held here when a round began, but for these, and for what was published
    /// before its floor.
    pub(crate) fn covered(&mut self, began: Time, floor: WallTime, uncovered: &[TxId]) {
        let kept: BTreeSet<&TxId> = uncovered.iter().collect();
        let old: Vec<TxId> =
            self.by_age.iter().take_while(|(at, _)| *at < began).map(|(_, id)| *id).collect();
        let compared = |id: &TxId| {
            self.followed.get(id).is_some_and(|followed| followed.published.is_none_or(|at| at >= floor))
        };
        let held: Vec<TxId> = old.into_iter().filter(|id| !kept.contains(id) && compared(id)).collect();
        for id in held {
            self.confirmed(&id);
        }
        if self.uncounted > 0 && self.uncounted_at <= began {
            // Whose they are is not known here; they are followed until somebody confirms them.
            self.uncounted = 0;
            for id in uncovered {
                if !self.followed.contains_key(id) {
                    self.follow(*id, None, began);
                }
            }
        }
    }

    /// Ids to ask another peer about now, oldest first.
    pub(crate) fn due(&self, now: Time) -> Vec<TxId> {
        if self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        let old = self.by_age.iter().take_while(|(at, _)| *at + ASK_AFTER <= now);
        old.take(IDS_PER_FRAME_MAX).map(|(_, id)| *id).collect()
    }

    /// Somebody was asked about these.
    pub(crate) fn asked(&mut self, peer: Option<PeerId>, ids: &[TxId], now: Time) {
        self.asked = Some(now);
        self.question = peer.map(|peer| (peer, ids.to_vec()));
    }

    /// A peer has said which it holds: of what it was asked about it does not hold the rest.
    pub(crate) fn denied(&mut self, peer: &PeerId, held: &[TxId]) {
        let Some((_, ids)) = self.question.take_if(|(asked, _)| asked == peer) else { return };
        for id in ids.iter().filter(|id| !held.contains(id)) {
            if let Some(followed) = self.followed.get_mut(id) {
                followed.denied = followed.denied.saturating_add(1);
            }
        }
    }

    /// It is to be brought to others once more. Answers whether it is followed.
    pub(crate) fn retry(&mut self, id: &TxId) -> bool {
        let Some(followed) = self.followed.get_mut(id) else { return false };
        followed.denied = 0;
        true
    }

    /// The oldest of them, for people.
    pub(crate) fn views(&self, limit: usize, now: Time) -> Vec<OutboxView> {
        let view = |(at, id): &(Time, TxId)| {
            let (age, denied) = (now.since(*at), self.followed.get(id).map_or(0, |followed| followed.denied));
            let stuck = denied >= DENIED_MIN && age >= UNDELIVERABLE_AFTER;
            let undeliverable = if stuck {
                format!(
                    "linked peers have said {denied} times that they do not hold it: look there for quarantine, a full store, \
                     or a clock that is behind"
                )
            } else {
                String::new()
            };
            OutboxView { id: *id, age, denied, undeliverable }
        };
        self.by_age.iter().take(limit).map(view).collect()
    }

    /// An answer came: the next question need not wait for it.
    pub(crate) fn answered(&mut self) {
        self.asked = None;
    }

    /// When somebody is to be asked next.
    pub(crate) fn next(&self) -> Option<Time> {
        let (oldest, _) = self.by_age.first()?;
        let again = self.asked.map_or(Time::ZERO, |asked| asked + ASK_AGAIN_AFTER);
        Some((*oldest + ASK_AFTER).max(again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TxId {
        TxId::of_header(&number.to_le_bytes())
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn wall(ms: u64) -> WallTime {
        WallTime::from_unix_ms(ms)
    }

    #[test]
    fn what_nobody_in_reach_takes_any_more_holds_retention_up_no_longer_but_stays_listed() {
        let mut outbox = Outbox::new(0);
        assert_eq!(outbox.oldest(wall(0)), None);
        for number in 1..=3 {
            outbox.accepted(id(number), wall(number * 10), at(number));
        }
        assert_eq!(outbox.oldest(wall(0)), Some(wall(10)));
        assert_eq!(outbox.oldest(wall(20)), Some(wall(20)));
        outbox.covered(at(9), wall(20), &[id(3)]);
        assert_eq!(outbox.len(), 2, "10 lies below the other's floor, 30 is not held there");
        assert_eq!(outbox.oldest(wall(20)), Some(wall(30)));
        outbox.expired(wall(11));
        assert_eq!(outbox.len(), 1);
        assert_eq!(Outbox::new(7).oldest(wall(99)), Some(wall(0)), "whose they are is not known yet");
    }

    #[test]
    fn what_is_confirmed_or_covered_goes_and_the_rest_is_asked_about() {
        let mut outbox = Outbox::new(0);
        for number in 0..5 {
            outbox.accepted(id(number), wall(number), at(number * 100));
        }
        outbox.confirmed(&id(0));
        outbox.covered(at(300), wall(0), &[id(2)]);
        assert_eq!(outbox.len(), 3, "1 is covered; 3 and 4 are younger than the round");
        assert_eq!(outbox.due(at(1_199)), []);
        assert_eq!(outbox.due(at(1_300)), [id(2), id(3)]);
        outbox.asked(None, &[], at(1_300));
        assert_eq!(outbox.due(at(3_299)), []);
        assert_eq!(outbox.due(at(3_300)).len(), 3);
        outbox.answered();
        assert_eq!(outbox.due(at(1_400)).len(), 3);
    }

    #[test]
    fn what_was_held_before_the_start_counts_until_a_round_has_covered_it() {
        let mut outbox = Outbox::new(1_000);
        outbox.accepted(id(1), wall(1), at(1));
        assert_eq!(outbox.len(), 1_001);
        outbox.covered(at(2), wall(0), &[id(7), id(8)]);
        assert_eq!(outbox.len(), 2, "two of a thousand are not held there");
        outbox.confirmed(&id(7));
        outbox.covered(at(3), wall(0), &[]);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn what_linked_peers_keep_denying_is_called_undeliverable_until_it_is_retried() {
        let (mut outbox, peer) = (Outbox::new(0), PeerId::of_uri("spiffe://test/test/other"));
        outbox.accepted(id(1), wall(1), at(0));
        outbox.accepted(id(2), wall(2), at(0));
        for round in 1..=u64::from(DENIED_MIN) {
            outbox.asked(Some(peer), &[id(1)], at(round * 2_000));
            outbox.denied(&PeerId::of_uri("spiffe://test/test/another"), &[]);
            outbox.denied(&peer, &[]);
            outbox.denied(&peer, &[]);
        }
        let stuck = |outbox: &Outbox, ms: u64| -> Vec<bool> {
            let mut views = outbox.views(9, at(ms));
            views.sort_by_key(|view| view.id != id(1));
            views.iter().map(|view| !view.undeliverable.is_empty()).collect()
        };
        assert_eq!(stuck(&outbox, 59_999), [false, false], "it is given a minute");
        assert_eq!(stuck(&outbox, 60_000), [true, false], "nobody was asked about the other one");
        assert!(outbox.retry(&id(1)) && !outbox.retry(&id(3)));
        assert_eq!(stuck(&outbox, 60_000), [false, false]);
    }

    #[test]
    fn beyond_the_bound_it_counts_and_waits_for_a_round() {
        let mut outbox = Outbox::new(0);
        for number in 0..FOLLOWED_MAX as u64 + 10 {
            outbox.accepted(id(number), wall(number), at(number));
        }
        assert_eq!((outbox.followed.len(), outbox.len()), (FOLLOWED_MAX, FOLLOWED_MAX as u64 + 10));
        outbox.covered(at(5), wall(0), &[]);
        assert_eq!(outbox.uncounted, 10, "a round that began before them says nothing of them");
        outbox.covered(at(FOLLOWED_MAX as u64 + 20), wall(0), &[]);
        assert_eq!(outbox.len(), 0);
        assert!(outbox.by_age.is_empty());
    }
}
