//! What one link may have under way in bulk: chunks and what reconciliation sends, paced by acknowledgements.

use std::collections::VecDeque;

use crate::types::TxId;

/// Bytes sent in bulk and not yet acknowledged on one link; more waits in the queue. A window of 1 MiB
/// fills 100 Mbit/s at 80 ms of round trip.
const WINDOW_BYTES_MAX: u32 = 1024 * 1024;
/// Loads under way for one link: enough to keep a disk busy, few enough to be fair.
pub(crate) const LOADS_MAX: u16 = 64;
/// What one load is assumed to bring until it is there: a chunk with its proof.
const LOAD_BYTES: u32 = 17 * 1024;
/// Items waiting for one link; what does not fit is dropped and asked for again by the other side.
pub(super) const QUEUE_ITEMS_MAX: usize = 4096;

/// One thing to be sent in bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    /// An envelope, with its body where that is small.
    Envelope(TxId),
    /// The same, asked for after an announcement: urgent.
    Fetched(TxId),
    /// The same with its certificate, which a reference did not lead to.
    Whole(TxId),
    /// A chunk.
    Chunk(TxId, u32),
}

/// The bulk queue of one link.
#[derive(Debug, Default)]
pub(crate) struct Bulk {
    queue: VecDeque<Item>,
    loading: u16,
    flying: u32,
}

impl Bulk {
    /// Items that wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Queues an item; `false` where the queue is full.
    pub(crate) fn push(&mut self, item: Item) -> bool {
        if self.queue.len() >= QUEUE_ITEMS_MAX {
            return false;
        }
        self.queue.push_back(item);
        true
    }

    /// The next item to be loaded, while the window has room.
    pub(crate) fn next(&mut self) -> Option<Item> {
        let expected = self.flying.saturating_add(u32::from(self.loading) * LOAD_BYTES);
        if self.loading >= LOADS_MAX || expected >= WINDOW_BYTES_MAX {
            return None;
        }
        let item = self.queue.pop_front()?;
        self.loading += 1;
        Some(item)
    }

    /// A load was answered.
    pub(crate) fn loaded(&mut self) {
        self.loading = self.loading.saturating_sub(1);
    }

    /// A frame of this many bytes went out.
    pub(crate) fn sent(&mut self, bytes: u32) {
        self.flying = self.flying.saturating_add(bytes);
    }

    /// A frame of this many bytes was acknowledged, or is given up.
    pub(crate) fn landed(&mut self, bytes: u32) {
        self.flying = self.flying.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_back_and_opens_again() {
        let mut bulk = Bulk::default();
        for index in 0..200 {
            assert!(bulk.push(Item::Chunk(TxId::from_bytes([1; 32]), index)));
        }
        let mut started = 0;
        while bulk.next().is_some() {
            bulk.loaded();
            bulk.sent(LOAD_BYTES);
            started += 1;
        }
        assert_eq!(started, WINDOW_BYTES_MAX.div_ceil(LOAD_BYTES));
        bulk.landed(LOAD_BYTES);
        assert!(bulk.next().is_some());
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut bulk = Bulk::default();
        let item = Item::Envelope(TxId::from_bytes([1; 32]));
        assert!((0..QUEUE_ITEMS_MAX).all(|_| bulk.push(item)));
        assert!(!bulk.push(item));
    }
}
