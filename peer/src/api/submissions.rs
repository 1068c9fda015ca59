//! A stream of submissions: transactions come in parts, are submitted as soon as they are whole, and are
//! answered in order.

use std::time::Duration;

use futures::{Stream, StreamExt};
use sorcha_proto::v1::submit_part::Part;
use sorcha_proto::v1::{SubmitPart, SubmitResponse, SubmitStart};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::api::Local;
use crate::api::intake::Incoming;
use crate::api::level::{self, Level};
use crate::api::refusal::{Kind, Refusal};

/// Submissions of one stream under way; the stream is read no further until the oldest is answered.
const PENDING_MAX: usize = 64;
/// Bytes of one part.
pub(super) const PART_BYTES_MAX: usize = 1024 * 1024;
/// A body that stands still for this long is given up (guess).
pub(super) const PART_COMES_WITHIN: Duration = Duration::from_secs(30);

type Answer = Result<SubmitResponse, Refusal>;

/// Reads the stream in a task of its own; the answers end after the first refusal.
pub(super) fn submit_stream(
    local: Local,
    parts: Streaming<SubmitPart>,
) -> impl Stream<Item = Result<SubmitResponse, Status>> + Send + 'static {
    let (pending, answers) = mpsc::channel::<JoinHandle<Answer>>(PENDING_MAX);
    tokio::spawn(async move {
        let shutdown = local.shutdown.clone();
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(Refusal::draining()),
            () = pending.closed() => Ok(()),
            ended = take(&local, parts, &pending) => ended,
        };
        if let Err(refusal) = ended {
            // Answered after all that came before it; where the client is gone nobody waits.
            let _ = pending.send(tokio::spawn(async move { Err(refusal) })).await;
        }
    });
    ReceiverStream::new(answers)
        .then(async |answer| answer.await.unwrap_or_else(|_| Err(Refusal::draining())))
        .scan(false, |refused, answer| {
            let item = (!*refused).then(|| answer.map_err(Status::from));
            *refused |= matches!(item, Some(Err(_)));
            std::future::ready(item)
        })
}

async fn take(
    local: &Local,
    mut parts: Streaming<SubmitPart>,
    pending: &mpsc::Sender<JoinHandle<Answer>>,
) -> Result<(), Refusal> {
    let mut open: Option<(SubmitStart, Incoming)> = None;
    loop {
        let part = if open.is_some() {
            tokio::time::timeout(PART_COMES_WITHIN, parts.message()).await.map_err(|_| {
                Refusal::new(
                    Kind::TimedOut,
                    format!("no part of the body came for {} s", PART_COMES_WITHIN.as_secs()),
                )
            })?
        } else {
            parts.message().await
        };
        let part = match part {
            Ok(Some(SubmitPart { part: Some(part) })) => part,
            Ok(Some(SubmitPart { part: None })) => {
                return Err(Refusal::bad("part", "a part is empty: send 'start', 'body' or 'end'"));
            }
            Ok(None) if open.is_some() => {
                return Err(Refusal::bad(
                    "end",
                    "the stream closed before 'end': the last transaction is not accepted",
                ));
            }
            Ok(None) => return Ok(()),
            Err(status) => {
                return Err(Refusal::bad("part", format!("a part cannot be read: {}", status.message())));
            }
        };
        match (part, open.take()) {
            (Part::Start(start), None) => {
                let declared = (start.body_bytes > 0).then_some(start.body_bytes);
                open = Some((start, local.intake.start(declared)?));
            }
            (Part::Body(part), Some((start, mut body))) => {
                if part.len() > PART_BYTES_MAX {
                    let sentence =
                        format!("a part has {} bytes; send at most {PART_BYTES_MAX} in each", part.len());
                    return Err(Refusal::bad("body", sentence));
                }
                body.push(&part)?;
                open = Some((start, body));
            }
            (Part::End(_), Some((start, body))) => {
                if start.body_bytes > 0 && start.body_bytes != body.received() {
                    let sentence = format!(
                        "the body has {} bytes, but 'start' said {}",
                        body.received(),
                        start.body_bytes
                    );
                    return Err(Refusal::bad("bodyBytes", sentence));
                }
                let (node, waiting) = (local.node.clone(), local.waiting.clone());
                let level = Level::new(&node, start.holders, start.wait_ms.into())?;
                let submission = tokio::spawn(async move {
                    let body = body.finish();
                    let (register, key) = (start.register, start.idempotency_key);
                    level::submit(&node, &waiting, level, register, body.bytes.clone(), key).await
                });
                if pending.send(submission).await.is_err() {
                    return Ok(());
                }
            }
            (Part::Start(_), Some(_)) => {
                return Err(Refusal::bad("start", "'start' came before the 'end' of the last transaction"));
            }
            (Part::Body(_) | Part::End(_), None) => {
                return Err(Refusal::bad("start", "a transaction begins with 'start'"));
            }
        }
    }
}
