//! The open database behind one lock, so that it can be closed and opened anew while readers wait. Knows
//! generations; decides nothing about when.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::fault::Broken;

#[derive(Default)]
struct State {
    database: Option<Database>,
    generation: u64,
    /// It was taken out whole, for work that needs it alone.
    away: bool,
}

/// Holds the database while it is usable.
#[derive(Default)]
pub(super) struct Door {
    state: Mutex<State>,
    opened: Condvar,
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of the database's code leaves the option whole; what is inside reports its own state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts how often a database was put in.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Whether a database is there.
    pub(super) fn is_open(&self) -> bool {
        self.lock().database.is_some()
    }

    /// Puts a database in and wakes those who wait for one.
    pub(super) fn put(&self, database: Database) {
        let mut state = self.lock();
        state.generation += 1;
        state.away = false;
        state.database = Some(database);
        self.opened.notify_all();
    }

    /// Takes the database out; snapshots of it end with its drop.
    pub(super) fn take(&self) -> Option<Database> {
        self.lock().database.take()
    }

    /// Takes the database out for work that needs it alone and ends with [`Self::put`]: whoever reads waits that long.
    pub(super) fn borrow(&self) -> Option<Database> {
        let mut state = self.lock();
        state.away = state.database.is_some();
        state.database.take()
    }

    /// Whether it is taken out for such work.
    pub(super) fn is_away(&self) -> bool {
        self.lock().away
    }

    /// A snapshot of what is committed.
    pub(super) fn snapshot(&self) -> Result<ReadTransaction, Broken> {
        Ok(self.lock().database.as_ref().ok_or(Broken::Closed)?.begin_read()?)
    }

    /// The one transaction that writes.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, Broken> {
        Ok(self.lock().database.as_ref().ok_or(Broken::Closed)?.begin_write()?)
    }

    /// Waits for a database after `generation`. Answers whether it came in time.
    pub(super) fn wait_after(&self, generation: u64, wait_max: Duration) -> bool {
        let deadline = Instant::now() + wait_max;
        let mut state = self.lock();
        while state.generation <= generation || state.database.is_none() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let waited = self.opened.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
