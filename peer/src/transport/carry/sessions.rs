//! The listening side: carried connections by the number that their diallers chose.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sorcha_peer_core::event::Rung;
use sorcha_proto::v1::{ExchangeRequest, ExchangeResponse};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::pipe::{Carried, Pipe, Segment, pipe};
use super::{SEGMENT_BYTES_MAX, SESSION_BYTES, WAIT_MAX};

/// A session whose dialler has not called for this long is over: longer than a poll with the pause before the next.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often a session is looked at whether it is over.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A connection that came over calls.
#[derive(Debug)]
pub(in crate::transport) struct Incoming {
    pub(in crate::transport) socket: Carried,
    /// How its calls come.
    pub(in crate::transport) rung: Rung,
    /// Whence the first one came.
    pub(in crate::transport) remote: SocketAddr,
}

/// Why a call was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum Refused {
    /// It breaks the protocol.
    #[error("{0}")]
    Malformed(String),
    /// There are too many sessions.
    #[error("this peer has as many carried connections as it takes: try again later")]
    Full,
    /// The peer ends.
    #[error("the peer is shutting down")]
    Stopping,
}

type SessionId = [u8; SESSION_BYTES];

/// One carried connection.
#[derive(Debug)]
struct Session {
    pipe: Pipe,
    /// Counts polls: a newer one ends an older, whose caller is gone.
    polls: watch::Sender<u64>,
    called: Mutex<Instant>,
}

/// All of them.
#[derive(Debug)]
pub(in crate::transport) struct Sessions {
    by_id: Arc<Mutex<HashMap<SessionId, Arc<Session>>>>,
    incoming: mpsc::Sender<Incoming>,
    at_most: usize,
}

impl Sessions {
    /// None yet; new ones are handed over here.
    pub(in crate::transport) fn new(incoming: mpsc::Sender<Incoming>, at_most: usize) -> Self {
        Self { by_id: Arc::default(), incoming, at_most }
    }

    /// One call: takes what it brings, and gives what there is, or comes within `wait_ms`.
    pub(in crate::transport) async fn exchange(
        &self,
        request: ExchangeRequest,
        rung: Rung,
        remote: SocketAddr,
    ) -> Result<ExchangeResponse, Refused> {
        let id: SessionId = request.session[..]
            .try_into()
            .map_err(|_| Refused::Malformed(format!("a session has {SESSION_BYTES} bytes")))?;
        if request.data.len() > SEGMENT_BYTES_MAX {
            return Err(Refused::Malformed(format!(
                "{} bytes in a call, at most {SEGMENT_BYTES_MAX} may be",
                request.data.len()
            )));
        }
        let known = lock(&self.by_id).get(&id).cloned();
        let session = match known {
            Some(session) => session,
            None if request.opens => self.open(id, rung, remote)?,
            None => return Ok(ExchangeResponse { unknown_session: true, ..Default::default() }),
        };
        let pipe = &session.pipe;
        *session.called.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        pipe.acknowledge(request.received);
        pipe.take(&Segment { offset: request.offset, data: request.data, ends: request.ends });
        let mut answer = Segment { offset: request.received, ..Segment::default() };
        if request.wait_ms > 0 {
            let wait = Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
            session.polls.send_modify(|count| *count += 1);
            let mut newer = session.polls.subscribe();
            tokio::select! {
                () = pipe.written_past(request.received) => {}
                _ = newer.changed() => {}
                () = sleep(wait) => {}
            }
            answer = pipe.segment(request.received, SEGMENT_BYTES_MAX);
        }
        Ok(ExchangeResponse {
            offset: answer.offset,
            data: answer.data,
            ends: answer.ends || pipe.is_broken(),
            received: pipe.received(),
            unknown_session: false,
        })
    }

    fn open(&self, id: SessionId, rung: Rung, remote: SocketAddr) -> Result<Arc<Session>, Refused> {
        let mut by_id = lock(&self.by_id);
        if let Some(session) = by_id.get(&id) {
            return Ok(Arc::clone(session)); // another call opened it in between
        }
        if by_id.len() >= self.at_most {
            return Err(Refused::Full);
        }
        let (socket, pipe) = pipe();
        let session =
            Arc::new(Session { pipe, polls: watch::Sender::new(0), called: Mutex::new(Instant::now()) });
        self.incoming.try_send(Incoming { socket, rung, remote }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Stopping,
        })?;
        by_id.insert(id, Arc::clone(&session));
        tokio::spawn(watch_over(Arc::clone(&self.by_id), id, Arc::clone(&session)));
        Ok(session)
    }
}

/// Until a session is over: both ends are done with it, or nobody calls.
async fn watch_over(
    by_id: Arc<Mutex<HashMap<SessionId, Arc<Session>>>>,
    id: SessionId,
    session: Arc<Session>,
) {
    loop {
        let called = *session.called.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = &session.pipe;
        let is_done = pipe.is_dropped() && pipe.is_flushed();
        if is_done || called.elapsed() >= SILENCE_MAX {
            break;
        }
        sleep_until((Instant::now() + LOOK_EVERY).min(called + SILENCE_MAX)).await;
    }
    session.pipe.break_off(format!("the other side has not called for {} s", SILENCE_MAX.as_secs()));
    lock(&by_id).remove(&id);
}

/// Nothing in here breaks half way, so that a panic elsewhere leaves it whole.
fn lock(by_id: &Mutex<HashMap<SessionId, Arc<Session>>>) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
    by_id.lock().unwrap_or_else(PoisonError::into_inner)
}
