//! The durable store: transactions, cursors, known peers, the peer's own incarnation.
//!
//! One writer thread commits in groups and syncs before it answers; reads run beside it on snapshots.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sorcha_peer_core::envelope::{Envelope, SignedRecord};
use sorcha_peer_core::event::{RangeQuery, RangeView, StoreFault};
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{Hash, PeerId, TxId, WallTime};
use tokio::sync::watch;

/// Where and how.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// State directory; made where it is missing, locked while open.
    pub directory: PathBuf,
    /// Page cache of the database at most.
    pub cache_bytes_max: u64,
}

/// What a freshly opened store knew.
#[derive(Debug)]
pub struct Recovered {
    /// Of this start: one more than the last, already durable.
    pub incarnation: u64,
    /// Records of peers known in the last run.
    pub records: Vec<Arc<SignedRecord>>,
    /// Transactions held.
    pub transactions: u64,
}

/// One transaction as held.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Place in the order of arrival here, from 1.
    pub position: u64,
    /// Header and proof.
    pub envelope: Arc<Envelope>,
    /// When it became durable here.
    pub received: WallTime,
}

/// Figures for status and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Transactions held.
    pub transactions: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Groups committed since the start.
    pub commits: u64,
    /// Microseconds that the last commit took, fsync included.
    pub last_commit_us: u64,
}

/// Cheap to clone; the last clone's drop does not close it, [`Store::close`] does.
#[derive(Debug, Clone)]
pub struct Store {}

#[expect(clippy::todo, unused_variables, clippy::unused_self, reason = "being built")]
impl Store {
    /// Makes it durable in the next group; `done` runs on the writer thread with the arrival position.
    /// A transaction that is held already answers with its first position.
    pub fn persist(
        &self,
        envelope: Arc<Envelope>,
        body: Arc<Body>,
        idempotency_key: String,
        received: WallTime,
        done: Box<dyn FnOnce(Result<u64, StoreFault>) + Send>,
    ) {
        todo!()
    }

    /// Keeps a peer's record; not awaited, lost records are learned again.
    pub fn remember(&self, record: Arc<SignedRecord>) {
        todo!()
    }

    /// Drops a peer's record.
    pub fn forget(&self, peer: PeerId) {
        todo!()
    }

    /// One transaction, without its body. Blocks; so do all reads below.
    pub fn transaction(&self, id: &TxId) -> Result<Option<Stored>, StoreFault> {
        todo!()
    }

    /// A whole body.
    pub fn body(&self, id: &TxId) -> Result<Option<Bytes>, StoreFault> {
        todo!()
    }

    /// One chunk with its proof.
    pub fn chunk(&self, id: &TxId, index: u32) -> Result<Option<(Bytes, Vec<Hash>)>, StoreFault> {
        todo!()
    }

    /// Which of the ids are held.
    pub fn contains(&self, ids: &[TxId]) -> Result<Vec<bool>, StoreFault> {
        todo!()
    }

    /// The transaction accepted under this key in the last 24 h.
    pub fn recall(&self, idempotency_key: &str) -> Result<Option<TxId>, StoreFault> {
        todo!()
    }

    /// Ranges in the order of (publication time, id).
    pub fn inspect(&self, queries: &[RangeQuery]) -> Result<Vec<RangeView>, StoreFault> {
        todo!()
    }

    /// Transactions after `position` in the order of arrival, at most `limit`.
    pub fn after(&self, position: u64, limit: usize) -> Result<Vec<Stored>, StoreFault> {
        todo!()
    }

    /// The last durable position; changes when a group has been committed.
    pub fn head(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// Last acknowledged position of a named cursor.
    pub fn cursor(&self, name: &str) -> Result<Option<u64>, StoreFault> {
        todo!()
    }

    /// Moves a cursor (never back) and answers when that is durable.
    pub async fn acknowledge(&self, name: &str, position: u64) -> Result<(), StoreFault> {
        todo!()
    }

    /// Figures.
    pub fn stats(&self) -> StoreStats {
        todo!()
    }

    /// Commits what is queued and closes the database; later calls fail.
    pub fn close(&self) {
        todo!()
    }
}
