//! What a link has still to send: a queue per class with a bound in bytes, most urgent class first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// Queues by urgency. Pushing never waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    reader: AtomicWaker,
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

/// A class is over its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side reads too slowly: {bytes} bytes of class {class:?} are queued, at most {} may be", bytes_max(*class))]
pub(super) struct Overflow {
    class: Class,
    bytes: usize,
}

impl Queue {
    /// Queues a frame of this encoded length; drops it where the queue is finished.
    pub(super) fn push(&self, class: Class, frame: v1::Frame, bytes: usize) -> Result<(), Overflow> {
        let bytes = bytes + FRAME_TAKES;
        let mut state = self.lock();
        if state.finished {
            return Ok(());
        }
        let lane = &mut state.lanes[class as usize];
        lane.bytes += bytes;
        if lane.bytes > bytes_max(class) {
            return Err(Overflow { class, bytes: lane.bytes });
        }
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
