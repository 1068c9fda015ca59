//! Leaving nothing behind: what no staying peer is known to hold, while this peer accepts nothing any more.
//!
//! Knows ids, peers and times, no links. The first complete round with a staying peer since the drain began says what
//! is not held there; those ids are asked about one by one. What comes in later came from a peer that holds it.

use std::collections::BTreeSet;

use crate::types::bounds::IDS_PER_FRAME_MAX;
use crate::types::{PeerId, Time, TxId};

/// Peers that leave too at most; the rest is ignored, and so may be counted on.
pub(crate) const LEAVING_MAX: usize = 10_000;

/// A drain under way or done.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    leaving: BTreeSet<PeerId>,
    /// The others are told to forget this peer when it is done.
    pub(crate) leave: bool,
    /// They were told.
    pub(crate) left: bool,
    /// Since when nothing is under way any more that was accepted before.
    began: Option<Time>,
    /// When the last round for it was opened.
    pub(crate) opened: Option<Time>,
    /// None until a round has said.
    unproven: Option<BTreeSet<TxId>>,
}

impl Drain {
    /// It is asked for, for the first time or again: what is proven stays proven unless a peer that was counted on
    /// leaves now.
    pub(crate) fn ask(&mut self, leaving: impl IntoIterator<Item = PeerId>, leave: bool) {
        let leaving: BTreeSet<PeerId> = leaving.into_iter().take(LEAVING_MAX).collect();
        if !leaving.is_subset(&self.leaving) {
            self.unproven = None;
            self.opened = None;
        }
        self.leaving = leaving;
        self.leave |= leave;
    }

    /// Nothing that was accepted is under way any more.
    pub(crate) fn begin(&mut self, now: Time) {
        self.began.get_or_insert(now);
    }

    /// Whether it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// Whether what this peer holds counts.
    pub(crate) fn counts(&self, peer: &PeerId) -> bool {
        !self.leaving.contains(peer)
    }

    /// A peer holds everything that was held here when a round began, but for these.
    pub(crate) fn covered(&mut self, peer: &PeerId, began: Time, uncovered: &[TxId]) {
        if !self.counts(peer) || self.began.is_none_or(|since| began < since) {
            return;
        }
        let uncovered: BTreeSet<TxId> = uncovered.iter().copied().collect();
        match &mut self.unproven {
            None => self.unproven = Some(uncovered),
            Some(unproven) => unproven.retain(|id| uncovered.contains(id)),
        }
    }

    /// A peer holds this.
    pub(crate) fn confirmed(&mut self, peer: &PeerId, id: &TxId) {
        if self.counts(peer)
            && let Some(unproven) = &mut self.unproven
        {
            unproven.remove(id);
        }
    }

    /// Everything is held by a staying peer.
    pub(crate) fn is_done(&self) -> bool {
        self.unproven.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// How much is not known to be held by a staying peer; none while no round has said.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.unproven.as_ref().map(|unproven| unproven.len() as u64)
    }

    /// Ids to ask a staying peer about.
    pub(crate) fn questions(&self) -> Vec<TxId> {
        self.unproven.iter().flatten().take(IDS_PER_FRAME_MAX).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn only_staying_peers_and_rounds_of_its_own_time_count() {
        let (stays, leaves) = (PeerId::of_uri("stays"), PeerId::of_uri("leaves"));
        let ids = [1, 2].map(|byte| TxId::from_bytes([byte; 32]));
        let mut drain = Drain::default();
        drain.ask([leaves], false);
        drain.covered(&stays, at(9), &[]);
        assert_eq!(drain.remaining(), None, "it has not begun");
        drain.begin(at(10));
        drain.covered(&stays, at(9), &[]);
        drain.covered(&leaves, at(11), &[]);
        assert_eq!(drain.remaining(), None);
        drain.covered(&stays, at(11), &ids);
        assert_eq!((drain.remaining(), drain.questions()), (Some(2), ids.to_vec()));
        drain.confirmed(&leaves, &ids[0]);
        drain.confirmed(&stays, &ids[0]);
        assert_eq!(drain.remaining(), Some(1));
        let later = TxId::from_bytes([3; 32]);
        drain.covered(&stays, at(12), &[later]);
        assert!(drain.is_done(), "what came in later came from a peer that holds it");

        drain.ask([leaves], true);
        assert!(drain.is_done() && drain.leave);
        drain.ask([leaves, stays], false);
        assert!(!drain.is_done(), "who was counted on leaves too");
    }
}
