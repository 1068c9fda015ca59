//! The peer as its own APIs see it: a handle to the driver and the store.
//!
//! Requests go through a bounded channel to the driver; figures come back as copies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sorcha_peer_core::event::{Accepted, Event, SubmitRefused};
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::bounds::PUSH_BODY_BYTES_MAX;
use sorcha_peer_core::types::{PeerId, TxId, WallTime};
use sorcha_peer_core::view::{DrainView, OutboxView, PeerView, QuarantineView, StatusView};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::store::Store;

/// Bytes of a body that are hashed without leaving the calling task: about 0.25 ms (guess at what a task may
/// take without delaying its neighbours).
const HASH_INLINE_BYTES_MAX: usize = 256 * 1024;

/// How often a drain that somebody waits for is looked at (guess: nobody notices).
const DRAIN_LOOKED_AT_EVERY: Duration = Duration::from_millis(50);

/// What the APIs ask of the driver.
#[derive(Debug)]
pub enum Command {
    /// Accept a transaction; answered when it is durable.
    Submit {
        /// Register label.
        register: String,
        /// Whole body.
        body: Arc<Body>,
        /// Empty: none.
        idempotency_key: String,
        /// Takes the answer.
        reply: oneshot::Sender<Result<Accepted, SubmitRefused>>,
    },
    /// The peer at a glance.
    Status(oneshot::Sender<StatusView>),
    /// How many other peers hold a transaction durably, when enough do or at the end of the wait.
    Holders {
        /// Which.
        id: TxId,
        /// Enough.
        wanted: u32,
        /// Answered after this in any case.
        wait: Duration,
        /// Takes the answer.
        reply: oneshot::Sender<u32>,
    },
    /// What no other peer is known to hold, the oldest first, at most so many.
    Outbox(usize, oneshot::Sender<Vec<OutboxView>>),
    /// Bring these to others now.
    RetryOutbox(Vec<TxId>, oneshot::Sender<()>),
    /// Follow these no longer.
    DiscardOutbox(Vec<TxId>, oneshot::Sender<()>),
    /// What is kept aside; looked at again first where asked for.
    Quarantine {
        /// Look at all of it again.
        retry: bool,
        /// Takes the answer.
        reply: oneshot::Sender<Vec<QuarantineView>>,
    },
    /// All other peers.
    Peers(oneshot::Sender<Vec<PeerView>>),
    /// Accept nothing any more and bring everything to peers that stay; answered at once with how far it is.
    Drain {
        /// Peers that leave too.
        leaving: Vec<PeerId>,
        /// Once it is done, the others are told to forget this peer.
        leave: bool,
        /// Takes the answer.
        reply: oneshot::Sender<DrainView>,
    },
    /// Take back a drain.
    Resume(oneshot::Sender<()>),
    /// Leave the network for good: tell the others to forget this peer, then end the process. Answered
    /// when the shutdown has begun.
    Leave(oneshot::Sender<()>),
}

/// What does not change while the process lives.
#[derive(Debug, Clone)]
pub struct Identity {
    /// SPIFFE URI.
    pub uri: String,
    /// SHA-256 of it.
    pub id: PeerId,
    /// Its last part.
    pub name: String,
    /// Network id.
    pub network: String,
    /// Site, for people.
    pub site: String,
    /// Tells the starts apart: higher at each.
    pub incarnation: u64,
}

/// An event with its time.
#[derive(Debug, Clone)]
pub struct NodeEvent {
    /// When.
    pub at: WallTime,
    /// What.
    pub event: Event,
}

/// The driver has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer is shutting down")]
pub struct Stopped;

/// A cheap copy for every request handler.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<Arc<NodeEvent>>,
    identity: Arc<Identity>,
    store: Store,
    body_bytes_max: u64,
    submit_bytes_max: u64,
    durable: bool,
    packing: bool,
}

impl NodeHandle {
    /// Made once, by the driver.
    pub fn new(
        commands: mpsc::Sender<Command>,
        events: broadcast::Sender<Arc<NodeEvent>>,
        identity: Identity,
        store: Store,
        body_bytes_max: u64,
    ) -> Self {
        Self {
            commands,
            events,
            identity: Arc::new(identity),
            store,
            body_bytes_max,
            submit_bytes_max: crate::api::intake::BODIES_BYTES_MAX,
            durable: true,
            packing: true,
        }
    }

    /// Whether bodies that are submitted here are packed for their way to others.
    #[must_use]
    pub fn packing(self, packing: bool) -> Self {
        Self { packing, ..self }
    }

    /// Of a peer whose state directory does not outlive its machine: submissions always ask for holders.
    #[must_use]
    pub fn keeping_nothing(self, nothing: bool) -> Self {
        Self { durable: !nothing, ..self }
    }

    /// Takes in at most so many bytes of bodies at a time.
    #[must_use]
    pub fn taking_in(self, submit_bytes_max: u64) -> Self {
        Self { submit_bytes_max, ..self }
    }

    /// Bytes of all bodies being submitted at a time.
    pub fn submit_bytes_max(&self) -> u64 {
        self.submit_bytes_max
    }

    /// Whether what is stored here counts as durable.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Who this peer is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// For reads: transactions, subscriptions, cursors.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Longest body that is accepted, in bytes.
    pub fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    /// Submits and waits until the transaction is durable here. A body above `HASH_INLINE_BYTES_MAX` is
    /// hashed on a thread of the blocking pool, a smaller one on the calling task. One that travels within pushes is
    /// packed here, once for all of them; chunks of larger ones are packed when they are loaded.
    pub async fn submit(
        &self,
        register: String,
        body: Bytes,
        idempotency_key: String,
    ) -> Result<Accepted, SubmitRefused> {
        let bytes = body.len() as u64;
        if bytes > self.body_bytes_max {
            return Err(SubmitRefused::BodyTooLarge { bytes, max: self.body_bytes_max });
        }
        let body = if self.packing && body.len() <= PUSH_BODY_BYTES_MAX {
            Body::of(sorcha_peer_wire::pack(body))
        } else if body.len() <= HASH_INLINE_BYTES_MAX {
            Body::new(body)
        } else {
            let hashing = tokio::task::spawn_blocking(move || Body::new(body));
            hashing.await.map_err(|_| SubmitRefused::Draining)?
        };
        let body = Arc::new(body);
        let (reply, answer) = oneshot::channel();
        let command = Command::Submit { register, body, idempotency_key, reply };
        self.commands.send(command).await.map_err(|_| SubmitRefused::Draining)?;
        answer.await.unwrap_or(Err(SubmitRefused::Draining))
    }

    /// The peer at a glance.
    pub async fn status(&self) -> Result<StatusView, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Status(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// How many other peers are known to hold a transaction durably: as soon as `wanted` do, or after `wait`.
    pub async fn holders(&self, id: TxId, wanted: u32, wait: Duration) -> Result<u32, Stopped> {
        self.ask(|reply| Command::Holders { id, wanted, wait, reply }).await
    }

    /// What no other peer is known to hold, the oldest first.
    pub async fn outbox(&self, limit: usize) -> Result<Vec<OutboxView>, Stopped> {
        self.ask(|reply| Command::Outbox(limit, reply)).await
    }

    /// Brings transactions of the outbox to linked peers.
    pub async fn retry_outbox(&self, ids: Vec<TxId>) -> Result<(), Stopped> {
        self.ask(|reply| Command::RetryOutbox(ids, reply)).await
    }

    /// Takes transactions out of the outbox; they stay in the store.
    pub async fn discard_outbox(&self, ids: Vec<TxId>) -> Result<(), Stopped> {
        self.ask(|reply| Command::DiscardOutbox(ids, reply)).await
    }

    /// What is kept aside for its signer, after another look at it where asked for.
    pub async fn quarantine(&self, retry: bool) -> Result<Vec<QuarantineView>, Stopped> {
        self.ask(|reply| Command::Quarantine { retry, reply }).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(question(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// All other peers, by id.
    pub async fn peers(&self) -> Result<Vec<PeerView>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Peers(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Drains and waits for its end, for `wait` at most.
    pub async fn drain(
        &self,
        leaving: Vec<PeerId>,
        leave: bool,
        wait: Duration,
    ) -> Result<DrainView, Stopped> {
        let until = tokio::time::Instant::now() + wait;
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Drain { leaving, leave, reply }).await.map_err(|_| Stopped)?;
        let mut view = answer.await.map_err(|_| Stopped)?;
        while !view.drained && tokio::time::Instant::now() < until {
            tokio::time::sleep_until(until.min(tokio::time::Instant::now() + DRAIN_LOOKED_AT_EVERY)).await;
            view = match self.status().await?.drain {
                Some(view) => view,
                None => return Ok(DrainView { reason: "it was taken back".to_owned(), ..view }),
            };
        }
        Ok(view)
    }

    /// Takes back a drain.
    pub async fn resume(&self) -> Result<(), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Resume(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Begins to leave the network for good.
    pub async fn leave(&self) -> Result<(), Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Leave(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// What happens from now on; a slow reader misses the oldest (bound: 1,024).
    pub fn events(&self) -> broadcast::Receiver<Arc<NodeEvent>> {
        self.events.subscribe()
    }
}
