//! What handles and the writer share: the door to the database, the queue, the head, the figures.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::ReadTransaction;
use sorcha_peer_core::event::StoreFault;
use sorcha_peer_core::types::WallTime;
use tokio::sync::watch;

use super::StoreStats;
use super::door::Door;
use super::fault::{Broken, guarded};
use super::group::Applied;
use super::open::Backing;
use super::queue::Queue;

/// How long a read waits for a database that is being opened anew (guess: several repairs of a small one).
const READ_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a read waits while the file is made smaller (guess: many times what that takes).
const AWAY_WAIT_MAX: Duration = Duration::from_secs(30);

/// One for each open store.
pub(super) struct Shared {
    /// For messages.
    pub(super) file: PathBuf,
    pub(super) backing: Box<dyn Backing>,
    pub(super) cache_bytes_max: u64,
    /// `COMPACT_FROM_BYTES`; tests have less patience.
    pub(super) compact_from_bytes: AtomicU64,
    /// Civil time, for the age of idempotency keys.
    pub(super) clock: Box<dyn Fn() -> WallTime + Send + Sync>,
    pub(super) door: Door,
    pub(super) queue: Queue,
    pub(super) head: watch::Sender<u64>,
    pub(super) figures: Mutex<StoreStats>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
    /// Held while the store is open.
    pub(super) lock: Mutex<Option<File>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Shared {
    /// A copy of the figures.
    pub(super) fn stats(&self) -> StoreStats {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a read on a snapshot; where the database is being opened anew, waits for it a while.
    pub(super) fn read<T>(
        &self,
        work: impl Fn(&ReadTransaction) -> Result<T, Broken>,
    ) -> Result<T, StoreFault> {
        let deadline = Instant::now() + READ_WAIT_MAX;
        loop {
            let generation = self.door.generation();
            let broken = match guarded(|| work(&self.door.snapshot()?)) {
                Ok(found) => return Ok(found),
                Err(broken) => broken,
            };
            let mut left = deadline.saturating_duration_since(Instant::now());
            if self.door.is_away() {
                left = left.max(AWAY_WAIT_MAX);
            }
            if !broken.wants_reopening() || self.queue.is_closed() || left.is_zero() {
                return Err(broken.fault(&self.file));
            }
            if !self.door.is_away() {
                self.queue.ask_reopen(generation);
            }
            if !self.door.wait_after(generation, left) {
                return Err(broken.fault(&self.file));
            }
        }
    }

    /// A group is durable: tells everyone who watches.
    pub(super) fn committed(&self, applied: &Applied, took: Duration) {
        let bytes = self.backing.bytes();
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.transactions = applied.transactions;
        figures.bytes = bytes;
        figures.live_bytes = applied.account.bytes;
        figures.floor = WallTime::from_unix_ms(applied.account.floor);
        figures.oldest = applied.oldest;
        figures.removed += applied.removed;
        // A group of known transactions wrote nothing.
        if applied.changed {
            figures.commits += 1;
            figures.last_commit_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        }
        drop(figures);
        self.head
            .send_if_modified(|head| std::mem::replace(head, applied.account.head) != applied.account.head);
    }

    /// The file has another size; which.
    pub(super) fn resized(&self) -> u64 {
        let bytes = self.backing.bytes();
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).bytes = bytes;
        bytes
    }

    /// Closes the database and lets go of the directory.
    pub(super) fn shut(&self) {
        if let Some(database) = self.door.take()
            && let Err(broken) = guarded(|| Ok(database.close()?))
        {
            let fault = broken.fault(&self.file);
            tracing::warn!(%fault, "the database was not closed cleanly; the next open repairs it");
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
