//! What a link has still to send: a queue per class with a bound in bytes, most urgent class first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use sorcha_peer_core::event::Class;
use sorcha_proto::v1;

/// Bytes that a class may hold. Over it the link is closed as too slow: what it misses, reconciliation brings,
/// and one slow reader costs no more memory than this. A guess: seconds of traffic on a slow line.
pub(super) const fn bytes_max(class: Class) -> usize {
    match class {
        Class::Control | Class::Announce => 1024 * 1024,
        Class::Push | Class::Bulk => 8 * 1024 * 1024,
    }
}

/// What a queued frame takes beside its encoded bytes: a flood of small ones counts as what it is.
const FRAME_TAKES: usize = size_of::<(v1::Frame, usize)>();

/// Bytes that all links may have queued together. Over it a link that has more than its `SHARE_MIN` queued is closed as
/// too slow when it is sent more: slow readers go, and those that keep up stay. Guess: a small pod has room for it.
pub(super) const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// So much a link may always have queued: a few frames of the largest size.
pub(super) const SHARE_MIN: usize = 128 * 1024;

/// Bytes queued on all links.
#[derive(Debug, Clone, Default)]
pub(super) struct Total(Arc<AtomicUsize>);

/// Queues by urgency. Pushing never waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    reader: AtomicWaker,
    total: Total,
}

#[derive(Debug, Default)]
struct State {
    lanes: [Lane; 4],
    /// Nothing is taken in any more; what is queued still goes out.
    finished: bool,
}

#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<(v1::Frame, usize)>,
    bytes: usize,
}

/// A queue is over a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overflow {
    /// A class.
    #[error("the other side reads too slowly: {bytes} bytes of class {class:?} are queued, at most {} may be", bytes_max(*class))]
    Class {
        /// Which.
        class: Class,
        /// With the frame that did not fit.
        bytes: usize,
    },
    /// All links together.
    #[error(
        "the other side reads too slowly: {bytes} bytes are queued for it, and {all} for all links, of which at most {ALL_BYTES_MAX} may be"
    )]
    All {
        /// On this link.
        bytes: usize,
        /// On all.
        all: usize,
    },
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Queue {
    /// One of those that are counted together.
    pub(super) fn new(total: Total) -> Self {
        Self { state: Mutex::default(), reader: AtomicWaker::new(), total }
    }

    /// Queues a frame of this encoded length; drops it where the queue is finished.
    pub(super) fn push(&self, class: Class, frame: v1::Frame, bytes: usize) -> Result<(), Overflow> {
        let bytes = bytes + FRAME_TAKES;
        let mut state = self.lock();
        if state.finished {
            return Ok(());
        }
        let queued: usize = bytes + state.lanes.iter().map(|lane| lane.bytes).sum::<usize>();
        let lane = &mut state.lanes[class as usize];
        if lane.bytes + bytes > bytes_max(class) {
            return Err(Overflow::Class { class, bytes: lane.bytes + bytes });
        }
        let all = bytes + self.total.0.load(Ordering::Relaxed);
        if all > ALL_BYTES_MAX && queued > SHARE_MIN {
            return Err(Overflow::All { bytes: queued, all });
        }
        self.total.0.fetch_add(bytes, Ordering::Relaxed);
        lane.bytes += bytes;
        lane.frames.push_back((frame, bytes));
        drop(state);
        self.reader.wake();
        Ok(())
    }

    /// Takes nothing more in; the reader ends when it has taken what is queued.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.reader.wake();
    }

    /// Drops everything that is queued and ends the reader.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        state.finished = true;
        let queued: usize = state.lanes.iter().map(|lane| lane.bytes).sum();
        self.total.0.fetch_sub(queued, Ordering::Relaxed);
        state.lanes = Default::default();
        drop(state);
        self.reader.wake();
    }

    /// The most urgent frame; `None` where the queue is finished and empty. For one reader.
    pub(super) fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<v1::Frame>> {
        self.reader.register(context.waker());
        let mut state = self.lock();
        for lane in &mut state.lanes {
            if let Some((frame, bytes)) = lane.frames.pop_front() {
                lane.bytes -= bytes;
                self.total.0.fetch_sub(bytes, Ordering::Relaxed);
                return Poll::Ready(Some(frame));
            }
        }
        if state.finished { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Nothing in here breaks half way, so that a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u64) -> v1::Frame {
        v1::Frame { sequence, ..v1::Frame::default() }
    }

    fn pop(queue: &Queue) -> Poll<Option<u64>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        queue.poll_pop(&mut context).map(|frame| frame.map(|frame| frame.sequence))
    }

    #[test]
    fn the_most_urgent_class_goes_first_and_each_keeps_its_order() {
        let queue = Queue::default();
        let order =
            [(Class::Bulk, 1), (Class::Push, 2), (Class::Announce, 3), (Class::Control, 4), (Class::Bulk, 5)];
        for (class, sequence) in order {
            queue.push(class, frame(sequence), 10).unwrap();
        }
        for wanted in [4, 3, 2, 1, 5] {
            assert_eq!(pop(&queue), Poll::Ready(Some(wanted)));
        }
        assert_eq!(pop(&queue), Poll::Pending);
    }

    #[test]
    fn a_class_over_its_bound_is_refused_and_the_others_are_not() {
        let queue = Queue::default();
        queue.push(Class::Control, frame(1), bytes_max(Class::Control) - FRAME_TAKES).unwrap();
        let error = queue.push(Class::Control, frame(2), 1).unwrap_err().to_string();
        assert!(error.contains("the other side reads too slowly: "), "{error}");
        queue.push(Class::Bulk, frame(3), bytes_max(Class::Bulk) - FRAME_TAKES).unwrap();
        assert!(queue.push(Class::Bulk, frame(4), 1).is_err());
    }

    #[test]
    fn whatever_the_number_of_slow_links_memory_is_bounded_and_fast_links_stay() {
        let total = Total::default();
        let (chunk, mut refused) = (16 * 1024, 0);
        let slow: Vec<Queue> = (0..64).map(|_| Queue::new(total.clone())).collect();
        for sequence in 0..256 {
            for queue in &slow {
                refused += u32::from(queue.push(Class::Bulk, frame(sequence), chunk).is_err());
            }
        }
        assert!(refused > 0, "64 links of 4 MiB each are more than all may have");
        assert!(total.0.load(Ordering::Relaxed) <= ALL_BYTES_MAX);
        let fast = Queue::new(total.clone());
        for sequence in 0..1_000 {
            fast.push(Class::Bulk, frame(sequence), chunk).expect("it keeps up");
            assert_eq!(pop(&fast), Poll::Ready(Some(sequence)));
        }
        slow[0].push(Class::Bulk, frame(1), chunk).expect_err("a slow one is closed");
        drop(slow);
        assert_eq!(total.0.load(Ordering::Relaxed), 0, "what is dropped is given back");
    }

    #[test]
    fn small_frames_count_with_what_they_take() {
        let queue = Queue::default();
        let fit = (0..1_000_000)
            .take_while(|&sequence| queue.push(Class::Control, frame(sequence), 10).is_ok())
            .count();
        assert!(fit * size_of::<v1::Frame>() <= bytes_max(Class::Control), "{fit} frames are queued");
    }

    #[test]
    fn a_finished_queue_gives_out_the_rest_and_an_aborted_one_nothing() {
        let queue = Queue::default();
        queue.push(Class::Push, frame(1), 1).unwrap();
        queue.push(Class::Push, frame(2), 1).unwrap();
        queue.finish();
        queue.push(Class::Control, frame(3), 1).unwrap();
        assert_eq!(pop(&queue), Poll::Ready(Some(1)));
        queue.abort();
        assert_eq!(pop(&queue), Poll::Ready(None));
    }
}
