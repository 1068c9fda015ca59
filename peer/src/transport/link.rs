//! Links while they live: their queues, the task that reads each, and the table of all.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use prost::Message;
use sorcha_peer_core::Input;
use sorcha_peer_core::event::{LinkUp, Opened};
use sorcha_peer_core::types::{Address, LinkId};
use sorcha_proto::v1;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::io::{PeerInfo, spoken};
use super::queue::{Queue, Total};
use super::settings::FRAME_BYTES_MAX;

/// From a link's orderly close until its connection is cut, whatever is still queued (a guess: two round trips
/// on the worst line, and some).
const CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) queue: Queue,
    /// Cuts the connection at once.
    connection: CancellationToken,
    /// Why this side ended it; the first reason counts.
    ended: OnceLock<String>,
    /// The reading task has ended.
    gone: CancellationToken,
}

impl Link {
    /// Ends it now; nothing that is queued goes out.
    pub(super) fn kill(&self, reason: String) {
        let _ = self.ended.set(reason);
        self.queue.abort();
        self.connection.cancel();
    }

    /// Sends what is queued, then ends it; cut after [`CLOSES_WITHIN`].
    pub(super) fn close(self: &Arc<Self>, reason: String) {
        let _ = self.ended.set(reason);
        self.queue.finish();
        let link = Arc::clone(self);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CLOSES_WITHIN, link.gone.cancelled()).await;
            link.connection.cancel();
        });
    }
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// One of both sides closed it.
    Closed,
    /// Its connection broke.
    Broke,
}

/// All links of the transport.
#[derive(Debug)]
pub(super) struct Links {
    by_id: Mutex<BTreeMap<LinkId, Arc<Link>>>,
    next: AtomicU64,
    at_most: usize,
    inputs: mpsc::Sender<Input>,
    /// On the queues of all links.
    queued: Total,
    /// Told whenever a link goes.
    fewer: Notify,
}

impl Links {
    pub(super) fn new(at_most: usize, inputs: mpsc::Sender<Input>) -> Self {
        Self {
            by_id: Mutex::default(),
            next: AtomicU64::new(1),
            at_most,
            inputs,
            queued: Total::default(),
            fewer: Notify::new(),
        }
    }

    pub(super) fn get(&self, id: LinkId) -> Option<Arc<Link>> {
        self.lock().get(&id).cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Link>> {
        self.lock().values().cloned().collect()
    }

    /// Waits until no link is left.
    pub(super) async fn none_left(&self) {
        loop {
            let fewer = self.fewer.notified();
            if self.lock().is_empty() {
                return;
            }
            fewer.await;
        }
    }

    /// A new link with its outgoing half; `None` where there are too many. [`Links::run`] must follow.
    pub(super) fn open(&self, info: &PeerInfo) -> Option<(LinkId, Arc<Link>)> {
        let mut links = self.lock();
        if links.len() >= self.at_most {
            return None;
        }
        let id = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        let link = Arc::new(Link {
            queue: Queue::new(self.queued.clone()),
            connection: info.connection.clone(),
            ended: OnceLock::new(),
            gone: CancellationToken::new(),
        });
        links.insert(id, Arc::clone(&link));
        Some((id, link))
    }

    /// Takes back a link that never came up.
    pub(super) fn drop_unborn(&self, id: LinkId) {
        self.lock().remove(&id);
        self.fewer.notify_waiters();
    }

    /// Reads the link until it ends: `LinkUp` first, `LinkDown` last.
    pub(super) async fn run(
        &self,
        id: LinkId,
        link: Arc<Link>,
        info: PeerInfo,
        opened: Opened,
        address: Address,
        incoming: Streaming<v1::Frame>,
    ) -> Ended {
        let up = LinkUp { link: id, opened, peer: info.peer.clone(), address, rung: info.rung };
        let (ended, reason) = match self.inputs.send(Input::LinkUp(up)).await {
            Ok(()) => self.read(id, &link, incoming).await,
            Err(_) => (Ended::Closed, "the peer is shutting down".to_owned()),
        };
        let ended = if link.ended.get().is_some() { Ended::Closed } else { ended };
        link.queue.finish();
        self.lock().remove(&id);
        let fault = info.fault.get().map(|fault| fault.sentence().to_owned());
        let reason = link.ended.get().cloned().or(fault).unwrap_or(reason);
        // Where the driver is gone nobody wants to know.
        let _ = self.inputs.send(Input::LinkDown { link: id, reason }).await;
        self.fewer.notify_waiters();
        link.gone.cancel();
        // The listening side may still have its end to send; the dialler cuts when it has read that.
        if opened == Opened::Accepted {
            let _ = tokio::time::timeout(CLOSES_WITHIN, link.connection.cancelled()).await;
        }
        link.connection.cancel();
        ended
    }

    /// Frames into the driver, one at a time: a driver that is busy holds back the socket.
    async fn read(&self, id: LinkId, link: &Link, mut incoming: Streaming<v1::Frame>) -> (Ended, String) {
        let closed = |reason: &str| (Ended::Closed, reason.to_owned());
        loop {
            let received = tokio::select! {
                biased;
                () = link.connection.cancelled() => return closed("the link was cut"),
                received = incoming.message() => received,
            };
            let (input, ends) = match received {
                Ok(Some(frame)) if frame.encoded_len() > FRAME_BYTES_MAX => {
                    let error = format!("{} bytes, at most {FRAME_BYTES_MAX} may be", frame.encoded_len());
                    let reason = format!("what came in is no frame: {error}");
                    (Input::BadFrame { link: id, error }, Some(reason))
                }
                Ok(Some(frame)) => {
                    let bytes = frame.encoded_len();
                    let input = match sorcha_peer_wire::frame_from_proto(frame) {
                        Ok(frame) => Input::Frame { link: id, frame, bytes: bytes as u32 },
                        Err(error) => Input::BadFrame { link: id, error: error.to_string() },
                    };
                    (input, None)
                }
                Ok(None) => return closed("the other side closed the link"),
                Err(status) => match unreadable(&status) {
                    Some(error) => {
                        let reason = format!("what came in is no frame: {error}");
                        (Input::BadFrame { link: id, error }, Some(reason))
                    }
                    None => return (Ended::Broke, said(&status)),
                },
            };
            tokio::select! {
                biased;
                sent = self.inputs.send(input) => {
                    if sent.is_err() {
                        return closed("the peer is shutting down");
                    }
                }
                () = link.connection.cancelled() => return closed("the link was cut"),
            }
            if let Some(reason) = ends {
                return (Ended::Closed, reason);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, Arc<Link>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sentence of a status that says: these bytes are no frame (too long, or no protobuf). It comes from our
/// own decoder, which gives no more than a code and a text.
fn unreadable(status: &Status) -> Option<String> {
    let text = status.message();
    let ours = text.contains("message length too large")
        || text.contains("decode")
        || text.contains("invalid compression flag");
    ours.then(|| spoken(text))
}

fn said(status: &Status) -> String {
    let text = status.message();
    if text.is_empty() { format!("the link broke ({:?})", status.code()) } else { spoken(text) }
}

/// The outgoing half, as gRPC reads it.
#[derive(Debug)]
pub(super) struct Outgoing(pub(super) Arc<Link>);

impl Stream for Outgoing {
    type Item = v1::Frame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<v1::Frame>> {
        self.0.queue.poll_pop(context)
    }
}
