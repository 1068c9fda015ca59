//! The bounded queue before the writer. Knows what waits and for how long; nothing of what it means.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sorcha_peer_core::event::StoreFault;

use super::group::Operation;
use super::schema::{GROUP_BYTES_MAX, GROUP_OPS_MAX, QUEUE_BYTES_MAX, QUEUE_OPS_MAX};

/// How long an operation that nobody waits for may wait for company (guess).
const QUIET_WAIT: Duration = Duration::from_secs(1);

/// Awaited operations with which a group starts though it was to gather (guess: what they cost is hardly more for each of
/// them in a larger group).
const ENOUGH: usize = 64;
/// A group gathers no longer once no client has come for so many times the mean time between those that wait: then they
/// are clients that submit again when they are answered, and all of them wait (guess; of arrivals at random one pause in
/// 50 is as long).
const LULL: u32 = 4;
/// Shortest lull that counts: what a client takes to submit again (guess).
const LULL_MIN: Duration = Duration::from_micros(500);

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
    clients: Clients,
    quiet_since: Option<Instant>,
    reopen: Option<u64>,
    /// The writer lets a group gather: it need not be woken for each operation.
    gathering: bool,
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
                if operation.is_by_client() {
                    state.clients.came(Instant::now());
                }
            } else {
                state.quiet_since.get_or_insert_with(Instant::now);
            }
            state.operations.push_back(operation);
            if !state.gathering || state.awaited >= ENOUGH {
                self.filled.notify_one();
            }
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

    /// Waits for work, at most until `deadline`, and takes a group of it. What comes before `gather_until` waits for
    /// company until then, until there is enough of it, or until no more clients come.
    pub(super) fn take(&self, deadline: Option<Instant>, gather_until: Option<Instant>) -> Group {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let pause = gather_until.map(|until| state.clients.lull().map_or(until, |lull| lull.min(until)));
            let pause = pause.filter(|until| *until > now && state.awaited > 0);
            let quiet_until = state.quiet_since.map(|since| since + QUIET_WAIT);
            let until = deadline.into_iter().chain(quiet_until).min();
            let awaited = state.awaited >= ENOUGH || (state.awaited > 0 && pause.is_none());
            let due = awaited || state.closed || state.reopen.is_some();
            if due || until.is_some_and(|until| until <= now) {
                state.gathering = false;
                return state.take();
            }
            state.gathering = pause.is_some();
            state = match until.into_iter().chain(pause).min() {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let waited = self.filled.wait_timeout(state, until - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// When what clients wait for came.
#[derive(Default)]
struct Clients {
    waiting: u32,
    /// The first and the last that waits.
    between: Option<(Instant, Instant)>,
    /// Mean time between the last group's.
    apart: Duration,
}

impl Clients {
    fn came(&mut self, now: Instant) {
        self.waiting += 1;
        self.between = Some((self.between.map_or(now, |(first, _)| first), now));
    }

    fn apart(&self) -> Option<Duration> {
        let (first, last) = self.between?;
        (self.waiting > 1).then(|| (last - first) / (self.waiting - 1))
    }

    /// When no client will have come for so long that none is waited for any more.
    fn lull(&self) -> Option<Instant> {
        let (_, last) = self.between?;
        Some(last + (LULL * self.apart().unwrap_or(self.apart)).max(LULL_MIN))
    }

    /// A group was taken, with so many that clients waited for.
    fn taken(&mut self, taken: usize) {
        let (waiting, now) = (self.waiting - taken as u32, Instant::now());
        let between = (waiting > 0).then_some((now, now));
        *self = Self { waiting, between, apart: self.apart().unwrap_or(self.apart) };
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
        self.clients.taken(operations.iter().filter(|operation| operation.is_by_client()).count());
        let last = self.closed && self.operations.is_empty();
        Group { operations, reopen: self.reopen.take(), last }
    }
}

#[cfg(test)]
mod tests {
    use sorcha_peer_core::types::WallTime;
    use tokio::sync::oneshot;

    use super::super::retention::Limits;
    use super::*;

    /// Awaited, though by no client.
    fn received() -> Operation {
        let limits = Limits { before: WallTime::default(), bytes_max: 0, keep_from: WallTime::default() };
        Operation::Expire { limits, done: Box::new(|_| ()) }
    }

    fn by_client() -> Operation {
        Operation::DeleteCursor { name: String::new(), done: oneshot::channel().0 }
    }

    fn took(queue: &Queue, gather: Duration) -> (usize, Duration) {
        let began = Instant::now();
        let group = queue.take(None, Some(began + gather));
        (group.operations.len(), began.elapsed())
    }

    #[test]
    fn what_others_sent_gathers_until_the_time_is_over_or_there_is_enough() {
        let queue = Queue::default();
        queue.push(received());
        let (operations, took_for) = took(&queue, Duration::from_millis(80));
        assert_eq!(operations, 1);
        assert!(took_for >= Duration::from_millis(80), "{took_for:?}");
        (0..ENOUGH).for_each(|_| queue.push(received()));
        let (operations, took_for) = took(&queue, Duration::from_secs(20));
        assert_eq!(operations, ENOUGH);
        assert!(took_for < Duration::from_secs(10), "{took_for:?}");
    }

    #[test]
    fn clients_are_not_kept_waiting_once_no_more_of_them_come() {
        let queue = Queue::default();
        (0..3).for_each(|_| queue.push(by_client()));
        queue.push(received());
        let (operations, took_for) = took(&queue, Duration::from_secs(20));
        assert_eq!(operations, 4);
        assert!(took_for < Duration::from_secs(10), "{took_for:?}");
    }

    #[test]
    fn a_writer_that_has_nothing_to_gather_hears_of_the_first_that_comes() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                queue.push(by_client());
            });
            let (operations, took_for) = took(&queue, Duration::from_secs(20));
            assert_eq!(operations, 1);
            assert!(took_for < Duration::from_secs(10), "{took_for:?}");
        });
    }

    #[test]
    fn closing_ends_the_wait_for_company() {
        let queue = Queue::default();
        queue.push(received());
        queue.close();
        let began = Instant::now();
        assert!(queue.take(None, Some(began + Duration::from_secs(20))).last);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
