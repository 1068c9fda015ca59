//! Transactions between their first frame and their durability here, and those held back for their clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::transfer::Piece;
use crate::envelope::SyncKey;
use crate::message::Push;
use crate::payload::Payload;
use crate::types::bounds::{CHUNK_BYTES, CHUNKS_PUSHED_MAX};
use crate::types::{LinkId, PeerId, TxId, WallTime};
use crate::view::Size;

/// Transactions on their way in; beyond it new ones are dropped and come by reconciliation. 8,192 small
/// bodies are 32 MiB at most, and as much again where they came packed.
pub(crate) const PENDING_MAX: usize = 8192;
/// Transactions from the future that wait for their time; beyond it the latest goes.
const HELD_BACK_MAX: usize = 1024;
/// Peers remembered as holders of one transaction.
const HOLDERS_MAX: usize = 16;
/// Frames to be acknowledged for one transaction.
const ACKS_MAX: usize = 8;
/// Other signatures over the same header that are kept until the first is checked.
const ALTERNATES_MAX: usize = 2;
/// Transactions of which chunks are kept before the header is checked, which takes a millisecond: 16 MiB. Chunks of others are
/// dropped, and asked for.
const EARLY_MAX: usize = 256;

/// One transaction on its way in.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) push: Push,
    pub(crate) from: PeerId,
    /// Who has it, as far as is known: not to be sent it.
    pub(crate) holders: Vec<PeerId>,
    /// Frames to be acknowledged once it is durable.
    pub(crate) acks: Vec<(LinkId, u64)>,
    /// Some copy of it was pushed, not brought by repair.
    pub(crate) pushed: bool,
    /// What of it may be passed on.
    pub(crate) verified: Verified,
    alternates: Vec<(PeerId, Push)>,
    /// Chunks that came before the header was checked, as the push has said that they would.
    early: Vec<(u32, Piece)>,
}

impl Incoming {
    pub(crate) fn new(push: Push, from: PeerId, ack: Option<(LinkId, u64)>) -> Self {
        let mut holders = vec![from];
        if push.envelope.header().origin != from {
            holders.push(push.envelope.header().origin);
        }
        Self {
            pushed: push.hops > 0,
            push,
            from,
            holders,
            acks: ack.into_iter().collect(),
            verified: Verified::Nothing,
            alternates: Vec::new(),
            early: Vec::new(),
        }
    }

    pub(crate) fn key(&self) -> SyncKey {
        self.push.envelope.key()
    }
}

/// How far a transaction on its way in is verified.
#[derive(Debug, Clone)]
pub(crate) enum Verified {
    /// Not yet.
    Nothing,
    /// Its header, of a body that comes in chunks.
    Header,
    /// All of it; the chunks of a large body, for others to ask until it is on the disk.
    Whole(Payload, Vec<Piece>),
}

/// What became of a second copy of a transaction on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Its frame is acknowledged with the first.
    Joined,
    /// Its frame is not acknowledged.
    Dropped,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pending: BTreeMap<TxId, Incoming>,
    held_back: BTreeMap<(WallTime, TxId), Incoming>,
    /// Of those on their way, the ones with early chunks.
    early: BTreeSet<TxId>,
}

impl Intake {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 3] {
        [
            Size { name: "transactions with early chunks", len: self.early.len(), max: EARLY_MAX },
            Size { name: "transactions on their way in", len: self.pending.len(), max: PENDING_MAX },
            Size { name: "transactions held back", len: self.held_back.len(), max: HELD_BACK_MAX },
        ]
    }

    /// Takes a transaction in; gives it back where too many are on their way.
    pub(crate) fn add(&mut self, incoming: Incoming) -> Result<(), Box<Incoming>> {
        if self.pending.len() >= PENDING_MAX {
            return Err(Box::new(incoming));
        }
        self.pending.insert(incoming.push.envelope.id(), incoming);
        Ok(())
    }

    pub(crate) fn get(&self, id: &TxId) -> Option<&Incoming> {
        self.pending.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &TxId) -> Option<&mut Incoming> {
        self.pending.get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: &TxId) -> Option<Incoming> {
        self.early.remove(id);
        self.pending.remove(id)
    }

    /// Keeps a chunk of a transaction whose header is not checked yet, where its sender has said that it would follow.
    pub(crate) fn keep_early(&mut self, id: &TxId, from: &PeerId, index: u32, piece: &Piece) -> bool {
        let Some(incoming) = self.pending.get_mut(id) else { return false };
        let is_expected = matches!(incoming.verified, Verified::Nothing)
            && incoming.push.chunks_follow
            && incoming.from == *from
            && index < CHUNKS_PUSHED_MAX
            && piece.data.len() <= CHUNK_BYTES
            && incoming.early.iter().all(|(known, _)| *known != index);
        if !is_expected || self.early.len() >= EARLY_MAX && !self.early.contains(id) {
            return false;
        }
        self.early.insert(*id);
        incoming.early.push((index, piece.clone()));
        true
    }

    /// What has come before the header was checked.
    pub(crate) fn take_early(&mut self, id: &TxId) -> Vec<(u32, Piece)> {
        self.early.remove(id);
        self.pending.get_mut(id).map(|incoming| std::mem::take(&mut incoming.early)).unwrap_or_default()
    }

    /// The same id once more: its sender is a holder, its frame is acknowledged with the first. Another
    /// signature is kept, so that a forged copy cannot keep the true one out.
    pub(crate) fn again(&mut self, push: &Push, from: PeerId, ack: Option<(LinkId, u64)>) -> Again {
        let id = push.envelope.id();
        if let Some(incoming) = self.pending.get_mut(&id)
            && *push.envelope != *incoming.push.envelope
            && incoming.alternates.len() < ALTERNATES_MAX
        {
            incoming.alternates.push((from, push.clone()));
        }
        self.again_by(&id, push, from, ack)
    }

    /// The same where only the way matters, whatever the envelope is.
    pub(crate) fn again_by<E>(
        &mut self,
        id: &TxId,
        push: &Push<E>,
        from: PeerId,
        ack: Option<(LinkId, u64)>,
    ) -> Again {
        let Some(incoming) = self.pending.get_mut(id) else { return Again::Dropped };
        if incoming.holders.len() < HOLDERS_MAX && !incoming.holders.contains(&from) {
            incoming.holders.push(from);
        }
        incoming.pushed |= push.hops > 0;
        if push.head && !incoming.push.head {
            // The first copy came another way; the row is served all the same.
            (incoming.push.head, incoming.push.rows) = (true, push.rows);
            incoming.push.hops = push.hops;
        }
        match ack {
            Some(ack) if incoming.acks.len() < ACKS_MAX => {
                incoming.acks.push(ack);
                Again::Joined
            }
            _ => Again::Dropped,
        }
    }

    /// The first copy was forged: goes on with the next, if there is one.
    pub(crate) fn next_copy(&mut self, id: &TxId) -> Option<&Incoming> {
        self.take_early(id);
        let Some((from, push)) = self.pending.get_mut(id)?.alternates.pop() else {
            self.pending.remove(id);
            return None;
        };
        let incoming = self.pending.get_mut(id)?;
        incoming.from = from;
        incoming.push = push;
        Some(incoming)
    }

    /// Keeps a transaction from the future until its time; chunks that follow it now are not kept.
    pub(crate) fn hold_back(&mut self, mut incoming: Incoming) {
        incoming.push.chunks_follow = false;
        let key = incoming.key();
        self.held_back.insert((key.published, key.id), incoming);
        if self.held_back.len() > HELD_BACK_MAX {
            self.held_back.pop_last();
        }
    }

    /// Ids of those that are held back.
    pub(crate) fn held_back(&self) -> BTreeSet<TxId> {
        self.held_back.keys().map(|(_, id)| *id).collect()
    }

    /// Those whose time has come.
    pub(crate) fn release(&mut self, until: WallTime) -> Vec<Incoming> {
        let later = self.held_back.split_off(&(until, TxId::from_bytes([0xff; 32])));
        std::mem::replace(&mut self.held_back, later).into_values().collect()
    }

    /// Publication time of the next one that is held back.
    pub(crate) fn next_release(&self) -> Option<WallTime> {
        self.held_back.first_key_value().map(|((published, _), _)| *published)
    }

    /// A shared copy of the envelope of a transaction on its way in.
    pub(crate) fn envelope(&self, id: &TxId) -> Option<Arc<crate::envelope::Envelope>> {
        self.get(id).map(|incoming| incoming.push.envelope.clone())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::envelope::Envelope;
    use crate::testing::push;

    #[test]
    fn a_forged_copy_does_not_keep_the_true_one_out() {
        let (liar, honest) = (PeerId::of_uri("liar"), PeerId::of_uri("honest"));
        let truth = push(1, 10);
        let id = truth.envelope.id();
        let mut forged = truth.clone();
        let envelope = &truth.envelope;
        forged.envelope = Arc::new(Envelope::new(
            envelope.header().clone(),
            envelope.signed().clone(),
            Bytes::from_static(b"forged"),
            envelope.certificate().clone(),
        ));
        let mut intake = Intake::default();
        intake.add(Incoming::new(forged, liar, None)).expect("there is room");
        assert_eq!(intake.again(&truth, honest, Some((LinkId(1), 5))), Again::Joined);
        let next = intake.next_copy(&id).expect("the other copy");
        assert_eq!((&next.push, next.from), (&truth, honest));
        assert!(intake.next_copy(&id).is_none());
        assert!(intake.get(&id).is_none());
    }

    #[test]
    fn chunks_before_their_header_is_checked_are_kept_from_who_announced_them_and_within_bounds() {
        let (from, other) = (PeerId::of_uri("from"), PeerId::of_uri("other"));
        let mut intake = Intake::default();
        let piece = Piece { data: Bytes::from(vec![1; CHUNK_BYTES]).into(), proof: Vec::new() };
        let take = |intake: &mut Intake, number, chunks_follow| {
            let push = Push { body: None, chunks_follow, ..push(number, 10) };
            let id = push.envelope.id();
            intake.add(Incoming::new(push, from, None)).expect("there is room");
            id
        };
        let (id, silent) = (take(&mut intake, 1, true), take(&mut intake, 2, false));
        assert!(intake.keep_early(&id, &from, 3, &piece));
        assert!(!intake.keep_early(&id, &from, 3, &piece), "it is there");
        assert!(!intake.keep_early(&id, &from, CHUNKS_PUSHED_MAX, &piece), "too many");
        assert!(!intake.keep_early(&id, &other, 0, &piece), "it has announced nothing");
        assert!(!intake.keep_early(&silent, &from, 0, &piece), "nothing was announced");
        assert_eq!(intake.take_early(&id).len(), 1);

        let kept = (3..1000).filter(|number| {
            let id = take(&mut intake, *number, true);
            intake.keep_early(&id, &from, 0, &piece)
        });
        assert_eq!(kept.count(), EARLY_MAX);
        assert!(intake.sizes().iter().all(|size| size.len <= size.max));
    }

    #[test]
    fn both_stocks_keep_under_their_bounds() {
        let mut intake = Intake::default();
        let from = PeerId::of_uri("a");
        let mut refused = 0;
        for number in 0..PENDING_MAX as u64 + 7 {
            refused += u32::from(intake.add(Incoming::new(push(number, 0), from, None)).is_err());
            let push = Push { chunks_follow: true, ..push(number, 0) };
            intake.hold_back(Incoming::new(push, from, None));
        }
        assert_eq!((refused, intake.held_back.len()), (7, HELD_BACK_MAX));
        let first = intake.next_release().expect("some are held back");
        let released = intake.release(first);
        assert_eq!(released.len(), 1);
        assert!(!released[0].push.chunks_follow, "they came while nobody kept them");
    }
}
