//! The dialling side: a call at a time brings what is written, and another one fetches what comes.
//!
//! Both are repeated with growing pauses until they are answered, so that a connection that is cut, or a proxy that is
//! restarted, costs time only. One call each way at a time lets a window pass in each round trip, as a stream does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sorcha_proto::v1::{ExchangeRequest, ExchangeResponse};
use tokio::time::{Instant, sleep, timeout};

use super::pipe::{Carried, Pipe, Segment, pipe};
use super::{SEGMENT_BYTES_MAX, SESSION_BYTES, WAIT_MAX};
use crate::random;

/// A call that is to be answered at once, at most.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// No call was answered for this long: the connection is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);
/// Pauses between repeated calls: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Shortest wait of a poll where longer ones are cut.
const WAIT_MIN: Duration = Duration::from_secs(2);

/// What brings a call to the other side and its answer back.
pub(in crate::transport) trait Carrier: Send + Sync + 'static {
    /// One call. An error says what people should know.
    fn call(&self, request: ExchangeRequest)
    -> impl Future<Output = Result<ExchangeResponse, String>> + Send;
}

/// Opens a carried connection: its first call is answered when this returns.
pub(in crate::transport) async fn open(carrier: impl Carrier) -> Result<Carried, String> {
    let session = Bytes::copy_from_slice(&random::bytes::<SESSION_BYTES>());
    let opening = ExchangeRequest { session: session.clone(), opens: true, ..Default::default() };
    match timeout(CALL_WITHIN, carrier.call(opening)).await {
        Ok(answer) => {
            if answer?.unknown_session {
                return Err("the other side does not open carried connections".into());
            }
        }
        Err(_) => return Err(format!("a call took longer than {} s", CALL_WITHIN.as_secs())),
    }
    let (socket, pipe) = pipe();
    let caller = Arc::new(Caller { carrier, session, pipe });
    tokio::spawn(Arc::clone(&caller).bring());
    tokio::spawn(caller.fetch());
    Ok(socket)
}

struct Caller<C> {
    carrier: C,
    session: Bytes,
    pipe: Pipe,
}

impl<C: Carrier> Caller<C> {
    /// What is written here goes there.
    async fn bring(self: Arc<Self>) {
        let (pipe, mut came, mut pause) = (&self.pipe, 0, PAUSES.0);
        loop {
            pipe.written_past(came).await;
            if pipe.is_broken() {
                return;
            }
            let segment = pipe.segment(came, SEGMENT_BYTES_MAX);
            let end = segment.offset + segment.data.len() as u64;
            let ends = segment.ends;
            let Some(answer) = self.insist(segment, Duration::ZERO).await else { return };
            let more = answer.received > came;
            came = came.max(answer.received);
            if ends && came >= end {
                return;
            }
            if more {
                pause = PAUSES.0;
            } else {
                // The other side's reader is slower than this side's writer.
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    /// What is written there comes here.
    async fn fetch(self: Arc<Self>) {
        let (pipe, mut wait) = (&self.pipe, WAIT_MAX);
        while !pipe.in_ended() && !pipe.is_broken() {
            pipe.room().await;
            if pipe.is_dropped() && pipe.is_flushed() {
                return;
            }
            let asked = Instant::now();
            match timeout(wait + CALL_WITHIN, self.call(Segment::default(), wait)).await {
                Ok(Ok(answer)) => self.take(answer),
                // Cut while it waited: something on the way has less patience, so that shorter waits pass.
                Ok(Err(_)) | Err(_) if asked.elapsed() > WAIT_MIN => {
                    wait = (asked.elapsed() * 3 / 4).clamp(WAIT_MIN, wait);
                }
                _ => {
                    let answer = self.insist(Segment::default(), wait.min(WAIT_MIN)).await;
                    let Some(answer) = answer else { return };
                    self.take(answer);
                }
            }
        }
    }

    fn take(&self, answer: ExchangeResponse) {
        self.pipe.take(&Segment { offset: answer.offset, data: answer.data, ends: answer.ends });
    }

    /// Calls until it is answered; breaks the pipe where nobody answers.
    async fn insist(&self, segment: Segment, wait: Duration) -> Option<ExchangeResponse> {
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let why = match timeout(wait + CALL_WITHIN, self.call(segment.clone(), wait)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(why)) => why,
                Err(_) => format!("a call took longer than {} s", (wait + CALL_WITHIN).as_secs()),
            };
            if began.elapsed() >= GIVE_UP_AFTER {
                let seconds = GIVE_UP_AFTER.as_secs();
                self.pipe.break_off(format!("no call was answered for {seconds} s: {why}"));
                return None;
            }
            if self.pipe.is_broken() {
                return None;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn call(&self, segment: Segment, wait: Duration) -> Result<ExchangeResponse, String> {
        let Segment { offset, data, ends } = segment;
        let answer = self
            .carrier
            .call(ExchangeRequest {
                session: self.session.clone(),
                offset,
                data,
                ends,
                received: self.pipe.received(),
                wait_ms: wait.as_millis() as u32,
                opens: false,
            })
            .await?;
        if answer.unknown_session {
            self.pipe.break_off("the other side has ended the connection".into());
            return Err("the other side has ended the connection".into());
        }
        self.pipe.acknowledge(answer.received);
        Ok(answer)
    }
}

/// Between half of it and all.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + random::share() / 2.0)
}
