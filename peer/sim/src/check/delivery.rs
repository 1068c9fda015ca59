//! What one subscriber of a peer's got, and what it has acknowledged.

use std::collections::BTreeSet;

use sorcha_peer_core::types::TxId;

use super::Property;
use crate::disk::Store;

/// One subscriber under one cursor.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// In this life of the peer.
    in_life: BTreeSet<TxId>,
    /// At any time.
    ever: BTreeSet<TxId>,
    /// Below the durable cursor.
    settled: BTreeSet<TxId>,
    settled_up_to: usize,
    /// Position of the last one in this life.
    last: Option<usize>,
}

impl Delivery {
    /// A subscriber that goes on with what another disk says of it.
    pub(super) fn resumed(store: &Store) -> Self {
        let settled: BTreeSet<TxId> = store.log().iter().take(store.cursor()).copied().collect();
        Self {
            in_life: BTreeSet::new(),
            ever: settled.clone(),
            settled,
            settled_up_to: store.cursor(),
            last: None,
        }
    }

    /// The peer ended; what was not acknowledged may come again.
    pub(super) fn end_life(&mut self) {
        self.in_life.clear();
        self.last = None;
    }

    pub(super) fn deliver(&mut self, position: usize, id: TxId, store: &Store) -> Option<(Property, String)> {
        let (last, expected) = (self.last.replace(position), store.log().get(position));
        if let Some(last) = last.filter(|last| position != last + 1) {
            return Some((
                Property::DeliveredInOrder,
                format!("number {position} was delivered after number {last}"),
            ));
        }
        if expected != Some(&id) {
            let detail = format!("{id} was delivered as number {position}, where {expected:?} stands");
            return Some((Property::DeliveredInOrder, detail));
        }
        self.ever.insert(id);
        if self.settled.contains(&id) {
            return Some((Property::DeliveredOnce, format!("{id} was delivered though it was acknowledged")));
        }
        let again = !self.in_life.insert(id);
        again.then(|| (Property::DeliveredOnce, format!("{id} was delivered a second time")))
    }

    pub(super) fn settle(&mut self, store: &Store) -> Option<String> {
        let fresh = store.log().get(self.settled_up_to..store.cursor()).unwrap_or_default();
        let skipped = fresh.iter().find(|id| !self.ever.contains(id)).copied();
        self.settled.extend(fresh.iter().copied());
        self.settled_up_to = self.settled_up_to.max(store.cursor());
        skipped.map(|id| format!("the cursor has passed {id}, which was never delivered"))
    }

    /// What the store has and the subscriber never got.
    pub(super) fn left_out(&self, store: &Store) -> Option<TxId> {
        store.log().iter().find(|id| !self.ever.contains(id)).copied()
    }
}
