//! One end of a byte stream whose segments travel in calls that may be lost, repeated or cut.
//!
//! Knows offsets and bounds; does not know who carries the segments. Both directions are numbered by bytes, and what
//! is written stays until the other end says that it has it, so that a segment may be sent any number of times and is
//! taken once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Bytes that one direction may have under way or unread: as an HTTP/2 stream's window, see `settings`.
pub(super) const WINDOW_BYTES: usize = 256 * 1024;

/// Some bytes of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Segment {
    /// Number of the first one.
    pub(super) offset: u64,
    /// They.
    pub(super) data: Bytes,
    /// None follow.
    pub(super) ends: bool,
}

/// What the carriers hold of an end.
#[derive(Debug, Clone)]
pub(super) struct Pipe(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rises whenever a carrier may have something to do.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Written here, not acknowledged; the first of it has the number `acknowledged`.
    out: BytesMut,
    acknowledged: u64,
    out_ended: bool,
    /// Come and not read; the one after it has the number `received`.
    ready: BytesMut,
    received: u64,
    in_ended: bool,
    /// The program has let go of its end.
    dropped: bool,
    broken: Option<String>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    fn broken(&self) -> Option<io::Error> {
        let reason = self.broken.clone()?;
        Some(io::Error::new(io::ErrorKind::ConnectionReset, reason))
    }

    fn written(&self) -> u64 {
        self.acknowledged + self.out.len() as u64
    }
}

/// What a program reads and writes: as a socket.
#[derive(Debug)]
pub(in crate::transport) struct Carried(Pipe);

/// A new end: what the program holds, and what the carriers hold.
pub(super) fn pipe() -> (Carried, Pipe) {
    let pipe = Pipe(Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(0) }));
    (Carried(pipe.clone()), pipe)
}

impl Pipe {
    /// What is written from number `from` on, at most `max` bytes; none where `from` is past all or acknowledged already.
    pub(super) fn segment(&self, from: u64, max: usize) -> Segment {
        let state = self.lock();
        let skip = from.saturating_sub(state.acknowledged).min(state.out.len() as u64) as usize;
        let rest = &state.out[skip..];
        let data = Bytes::copy_from_slice(&rest[..rest.len().min(max)]);
        let ends = state.out_ended && data.len() == rest.len();
        Segment { offset: state.acknowledged + skip as u64, data, ends }
    }

    /// Everything below this number has come to the other end.
    pub(super) fn acknowledge(&self, received: u64) {
        let mut state = self.lock();
        let known = received.saturating_sub(state.acknowledged).min(state.out.len() as u64) as usize;
        if known > 0 {
            state.out.advance(known);
            state.acknowledged += known as u64;
            let writer = state.writer.take();
            drop(state);
            writer.into_iter().for_each(Waker::wake);
            self.change();
        }
    }

    /// Takes what is new in a segment, as far as there is room. Answers how much has come in all.
    pub(super) fn take(&self, segment: &Segment) -> u64 {
        let mut state = self.lock();
        let known = state.received.saturating_sub(segment.offset);
        // A gap: what lies before comes again.
        if segment.offset <= state.received && known <= segment.data.len() as u64 {
            let news = &segment.data[known as usize..];
            let fits = if state.dropped {
                news.len() // nobody reads it
            } else {
                let fits = news.len().min(WINDOW_BYTES.saturating_sub(state.ready.len()));
                state.ready.extend_from_slice(&news[..fits]);
                fits
            };
            state.received += fits as u64;
            state.in_ended |= segment.ends && fits == news.len();
        }
        let received = state.received;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        received
    }

    /// Bytes that have come.
    pub(super) fn received(&self) -> u64 {
        self.lock().received
    }

    /// Whether all that was to come has come.
    pub(super) fn in_ended(&self) -> bool {
        self.lock().in_ended
    }

    /// Whether the program has ended its half and the other end has all of it.
    pub(super) fn is_flushed(&self) -> bool {
        let state = self.lock();
        state.out_ended && state.out.is_empty()
    }

    /// Whether the program has let go of its end.
    pub(super) fn is_dropped(&self) -> bool {
        self.lock().dropped
    }

    /// Whether the end was broken.
    pub(super) fn is_broken(&self) -> bool {
        self.lock().broken.is_some()
    }

    /// Both halves end at once; the first reason counts.
    pub(super) fn break_off(&self, reason: String) {
        let mut state = self.lock();
        state.broken.get_or_insert(reason);
        state.out.clear();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
        self.change();
    }

    /// Waits until something is written past number `from`, or nothing will be.
    pub(super) async fn written_past(&self, from: u64) {
        self.until(|state| state.written() > from || state.out_ended || state.broken.is_some()).await;
    }

    /// Waits until there is room for what comes.
    pub(super) async fn room(&self) {
        self.until(|state| state.ready.len() < WINDOW_BYTES || state.dropped || state.broken.is_some()).await;
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !is_so(&self.lock()) {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    fn change(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Nothing in here breaks half way, so that a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Carried {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.ready.is_empty() {
            if state.in_ended {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = state.broken() {
                return Poll::Ready(Err(error));
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let was_full = state.ready.len() >= WINDOW_BYTES;
        let fits = buffer.remaining().min(state.ready.len());
        buffer.put_slice(&state.ready[..fits]);
        state.ready.advance(fits);
        drop(state);
        if was_full {
            self.0.change();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if let Some(error) = state.broken() {
            return Poll::Ready(Err(error));
        }
        if state.out_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let fits = data.len().min(WINDOW_BYTES.saturating_sub(state.out.len()));
        if fits == 0 && !data.is_empty() {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.out.extend_from_slice(&data[..fits]);
        drop(state);
        self.0.change();
        Poll::Ready(Ok(fits))
    }

    /// The carriers send as soon as they can; there is nothing to wait for, as with a socket.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().out_ended = true;
        self.0.change();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.out_ended, state.dropped) = (true, true);
        state.ready = BytesMut::new();
        drop(state);
        self.0.change();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn segment(offset: u64, data: &'static [u8], ends: bool) -> Segment {
        Segment { offset, data: Bytes::from_static(data), ends }
    }

    #[tokio::test]
    async fn what_is_written_stays_until_it_is_acknowledged_and_is_taken_once() {
        let ((mut near, near_pipe), (mut far, far_pipe)) = (pipe(), pipe());
        near.write_all(b"hello, world").await.unwrap();
        near.shutdown().await.unwrap();
        for (from, max) in [(0, 5), (0, 5), (3, 4), (9, 2), (5, 100), (0, 100)] {
            far_pipe.take(&near_pipe.segment(from, max));
        }
        near_pipe.acknowledge(far_pipe.received());
        assert!(near_pipe.is_flushed() && far_pipe.in_ended());
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello, world");
    }

    #[tokio::test]
    async fn a_gap_is_not_taken_and_an_end_counts_only_with_all_before_it() {
        let (mut end, pipe) = pipe();
        assert_eq!(pipe.take(&segment(3, b"def", true)), 0);
        assert!(!pipe.in_ended());
        assert_eq!(pipe.take(&segment(0, b"abc", false)), 3);
        assert_eq!(pipe.take(&segment(3, b"def", true)), 6);
        let mut read = Vec::new();
        end.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"abcdef");
    }

    #[tokio::test]
    async fn nobody_fills_the_memory_of_a_slow_reader() {
        let (mut end, pipe) = pipe();
        let much = Segment { offset: 0, data: vec![7; WINDOW_BYTES + 5].into(), ends: true };
        assert_eq!(pipe.take(&much), WINDOW_BYTES as u64);
        assert!(!pipe.in_ended());
        let mut some = [0; 10];
        end.read_exact(&mut some).await.unwrap();
        pipe.room().await;
        assert_eq!(pipe.take(&much), WINDOW_BYTES as u64 + 5);
        assert!(pipe.in_ended());
    }

    #[tokio::test]
    async fn a_full_writer_waits_and_a_broken_pipe_says_why() {
        let (mut end, pipe) = pipe();
        end.write_all(&vec![1; WINDOW_BYTES]).await.unwrap();
        let writing = tokio::spawn(async move {
            end.write_all(b"more").await.unwrap();
            end.write_all(&vec![1; WINDOW_BYTES]).await.unwrap_err().to_string()
        });
        pipe.acknowledge(4);
        pipe.written_past(WINDOW_BYTES as u64).await;
        pipe.break_off("the proxy is gone".into());
        pipe.break_off("another reason".into());
        assert_eq!(writing.await.unwrap(), "the proxy is gone");
    }

    proptest! {
        #[test]
        fn any_order_of_repeated_segments_gives_the_bytes_once(
            data in prop::collection::vec(any::<u8>(), 1..600),
            cuts in prop::collection::vec((0u64..600, 1usize..200), 0..60),
        ) {
            let ((mut near, near_pipe), (_far, far_pipe)) = (pipe(), pipe());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(near.write_all(&data)).unwrap();
            for (from, max) in cuts {
                far_pipe.take(&near_pipe.segment(from, max));
                near_pipe.acknowledge(far_pipe.received().saturating_sub(3));
            }
            far_pipe.take(&near_pipe.segment(far_pipe.received(), 600));
            let state = far_pipe.lock();
            prop_assert_eq!(&state.ready[..], &data[..]);
        }
    }
}
