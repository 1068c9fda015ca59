//! The bounded queue before the writer. Knows what waits and for how long; nothing of what it means.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sorcha_peer_core::event::StoreFault;

use super::group::Operation;
use super::schema::{GROUP_BYTES_MAX, GROUP_OPS_MAX, QUEUE_BYTES_MAX, QUEUE_OPS_MAX};

/// How long an operation that nobody waits for may wait for company (guess).
const QUIET_WAIT: Duration = Duration::from_secs(1);

/// What the writer is woken with.
pub(super) struct Group {
    /// In the order of their arrival.
    pub(super) operations: Vec<Operation>,
    /// A reader found the database of this generation unusable.
    pub(super) reopen: Option<u64>,
    /// Nothing will come after this.
    pub(super) last: bool,
}

#[derive(Default)]
struct State {
    operations: VecDeque<Operation>,
    bytes: usize,
    awaited: usize,
    quiet_since: Option<Instant>,
    reopen: Option<u64>,
    closed: bool,
}

/// Filled by everyone, emptied by the writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that may panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an operation, or refuses it at once where the queue is full or closed.
    pub(super) fn push(&self, operation: Operation) {
        let bytes = operation.bytes();
        let mut state = self.lock();
        let waiting = state.operations.len();
        let fault = if state.closed {
            "the store is closed: the peer is shutting down".to_owned()
        } else if waiting >= QUEUE_OPS_MAX || (waiting > 0 && state.bytes + bytes > QUEUE_BYTES_MAX) {
            let waiting_bytes = state.bytes;
            format!(
                "{waiting} operations of {waiting_bytes} bytes wait for the disk already: try again later"
            )
        } else {
            state.bytes += bytes;
            if operation.is_awaited() {
                state.awaited += 1;
            } else {
                state.quiet_since.get_or_insert_with(Instant::now);
            }
            state.operations.push_back(operation);
            self.filled.notify_one();
            return;
        };
        drop(state);
        operation.refuse(&StoreFault::Failed(fault));
    }

    /// Asks for the database of this generation to be opened anew.
    pub(super) fn ask_reopen(&self, generation: u64) {
        self.lock().reopen = Some(generation);
        self.filled.notify_one();
    }

    /// Takes nothing more; what waits is still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Whether somebody waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.lock().awaited > 0
    }

    /// Whether [`Self::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for work, at most until `deadline`, and takes a group of it.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Group {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let quiet_until = state.quiet_since.map(|since| since + QUIET_WAIT);
            let until = deadline.into_iter().chain(quiet_until).min();
            let due = state.awaited > 0 || state.closed || state.reopen.is_some();
            if due || until.is_some_and(|until| until <= now) {
                return state.take();
            }
            state = match until {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let waited = self.filled.wait_timeout(state, until - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl State {
    fn take(&mut self) -> Group {
        let (mut operations, mut taken) = (Vec::new(), 0);
        while let Some(operation) = self.operations.front() {
            let bytes = operation.bytes();
            let full = operations.len() >= GROUP_OPS_MAX || taken + bytes > GROUP_BYTES_MAX;
            if full && !operations.is_empty() {
                break;
            }
            taken += bytes;
            operations.extend(self.operations.pop_front());
        }
        self.bytes -= taken;
        self.awaited -= operations.iter().filter(|operation| operation.is_awaited()).count();
        if self.operations.is_empty() {
            self.quiet_since = None;
        }
        let last = self.closed && self.operations.is_empty();
        Group { operations, reopen: self.reopen.take(), last }
    }
}
