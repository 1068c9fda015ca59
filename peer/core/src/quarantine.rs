//! Transactions whose signer is not trusted here: unknown, expired or revoked. They are kept aside, not held: neither
//! acknowledged nor passed on. When trust changes, or from time to time, they are looked at again.
//!
//! Knows what came and from whom; what trust is, others know.

use std::collections::{BTreeMap, VecDeque};

use crate::message::Push;
use crate::payload::Payload;
use crate::types::{PeerId, TxId, WallTime};
use crate::view::QuarantineView;

/// Transactions kept aside; beyond it the oldest goes, reconciliation brings it again.
const KEPT_MAX: usize = 1024;
/// Bytes of them: bodies that travel in a push at most.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One of them.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) push: Push,
    /// Who brought it; not at fault.
    pub(crate) from: PeerId,
    reason: String,
    since: WallTime,
}

impl Kept {
    fn bytes(&self) -> usize {
        let envelope = &self.push.envelope;
        let body = self.push.body.as_ref().map_or(0, Payload::memory);
        512 + body + envelope.signed().len() + envelope.certificate().len() + self.reason.len()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    kept: BTreeMap<TxId, Kept>,
    order: VecDeque<TxId>,
    bytes: usize,
}

impl Quarantine {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Keeps a transaction aside. Answers whether it was not kept before.
    pub(crate) fn keep(&mut self, push: Push, from: PeerId, reason: String, since: WallTime) -> bool {
        let id = push.envelope.id();
        if self.kept.contains_key(&id) {
            return false;
        }
        let kept = Kept { push, from, reason, since };
        self.bytes += kept.bytes();
        self.order.push_back(id);
        self.kept.insert(id, kept);
        while self.kept.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX && self.kept.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(&oldest);
        }
        true
    }

    fn remove(&mut self, id: &TxId) {
        if let Some(kept) = self.kept.remove(id) {
            self.bytes -= kept.bytes();
        }
    }

    /// All of them, to be looked at again; none is kept any more.
    pub(crate) fn take(&mut self) -> Vec<Kept> {
        self.bytes = 0;
        let mut kept = std::mem::take(&mut self.kept);
        std::mem::take(&mut self.order).iter().filter_map(|id| kept.remove(id)).collect()
    }

    /// For people, the oldest first.
    pub(crate) fn views(&self) -> Vec<QuarantineView> {
        let view = |kept: &Kept| QuarantineView {
            envelope: kept.push.envelope.clone(),
            from: kept.from,
            reason: kept.reason.clone(),
            since: kept.since,
        };
        self.order.iter().filter_map(|id| self.kept.get(id)).map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn it_keeps_so_many_and_gives_all_of_them_back() {
        let mut quarantine = Quarantine::default();
        let peer = PeerId::of_uri("spiffe://test/test/relay");
        let keep = |quarantine: &mut Quarantine, number: u64| {
            quarantine.keep(testing::push(number, 10), peer, "unknown".into(), WallTime::default())
        };
        assert!(keep(&mut quarantine, 1));
        assert!(!keep(&mut quarantine, 1), "it is kept already");
        for number in 2..=KEPT_MAX as u64 + 10 {
            assert!(keep(&mut quarantine, number));
        }
        assert_eq!(quarantine.len(), KEPT_MAX);
        assert_eq!(quarantine.views()[0].envelope.id(), testing::envelope(11, 10).id(), "the oldest went");
        assert_eq!(quarantine.take().len(), KEPT_MAX);
        assert_eq!((quarantine.len(), quarantine.bytes), (0, 0));
        let large = || {
            let body = bytes::Bytes::from(vec![0; KEPT_BYTES_MAX / 2]);
            Push { body: Some(body.into()), ..testing::push(1, 10) }
        };
        assert!(quarantine.keep(large(), peer, String::new(), WallTime::default()));
        for number in 2..4 {
            let envelope = testing::envelope(number, 10);
            let push = Push { envelope, ..large() };
            assert!(quarantine.keep(push, peer, String::new(), WallTime::default()));
        }
        assert_eq!(quarantine.len(), 1, "bytes are bounded too");
    }
}
