//! Links to other peers over TLS: listening, dialling, frames in and out.
//!
//! Knows certificates and sockets; does not know what frames mean. Everything that happens is sent to
//! the driver as an [`Input`]: `LinkUp`, `Frame`, `BadFrame`, `LinkDown`, `DialFailed`.
//!
//! One TLS port carries gRPC (`PeerLink`) and REST; who speaks is read from the certificate. Every link has a
//! connection of its own, so that cutting one cuts nothing else, and queues by urgency with bounds in bytes. Where streams
//! do not pass, that connection is carried by calls: see `carry`, and `ladder` for what is tried when. Where others are reached
//! through an HTTP proxy, `tunnel` asks it.

mod carry;
mod dial;
mod io;
mod ladder;
mod link;
mod listener;
mod lobby;
mod pace;
mod places;
mod queue;
mod resolve;
mod settings;
mod socket;
mod tunnel;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sorcha_peer_config::proxy::Proxy;
use sorcha_peer_core::Input;
use sorcha_peer_core::event::{Class, DialError, Opened, Rung};
use sorcha_peer_core::message::Frame;
use sorcha_peer_core::types::{Address, LinkId, OpId, PeerId};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use io::PeerInfo;

use crate::tls::TlsState;
use ladder::Ladder;
use link::Links;
use pace::Pace;
use settings::Patience;

/// Dials under way at most; further ones wait their turn.
const DIALS_MAX: usize = 128;

/// Where to listen and how much to take on.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// `listen.peer`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// `limits.linksMax`.
    pub links_max: usize,
    /// `links.climbAfter`.
    pub climb_after: Duration,
    /// `links.rungs`, best first, one at least.
    pub rungs: Vec<Rung>,
    /// `proxy`, through which others are dialled.
    pub proxy: Option<Proxy>,
}

#[cfg(test)]
impl TransportConfig {
    /// On any port of this machine.
    pub(crate) fn here() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            links_max: 500,
            climb_after: Patience::default().climb,
            rungs: vec![Rung::Stream, Rung::Exchange, Rung::Rest],
            proxy: None,
        }
    }
}

/// Why the transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Another program listens there.
    #[error(
        "{address} is in use by another program: stop that (`ss -ltnp` names it), or give listen.peer another address"
    )]
    InUse {
        /// Where.
        address: SocketAddr,
    },
    /// The system refused for another reason.
    #[error(
        "cannot listen on {address}: {source}; give listen.peer an address of this machine and a port that it may use"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Cheap to clone. No call blocks.
#[derive(Debug, Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tls: Arc<TlsState>,
    inputs: mpsc::Sender<Input>,
    links: Links,
    links_max: usize,
    patience: Patience,
    ladder: Ladder,
    proxy: Option<Proxy>,
    pace: Pace,
    dials: Semaphore,
    resolver: resolve::Resolver,
    /// Nothing new is taken on.
    stopping: CancellationToken,
    /// Above the tokens of all connections: cuts them.
    root: CancellationToken,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Transport {
    /// Listens and serves, `rest` beside the links. Says where it listens.
    pub async fn start(
        config: TransportConfig,
        tls: Arc<TlsState>,
        inputs: mpsc::Sender<Input>,
        rest: axum::Router,
    ) -> Result<(Self, SocketAddr), TransportError> {
        let patience = Patience { climb: config.climb_after, ..Patience::default() };
        Self::start_with(config, patience, tls, inputs, rest).await
    }

    async fn start_with(
        config: TransportConfig,
        patience: Patience,
        tls: Arc<TlsState>,
        inputs: mpsc::Sender<Input>,
        rest: axum::Router,
    ) -> Result<(Self, SocketAddr), TransportError> {
        let address = config.listen;
        let refused = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => TransportError::InUse { address },
            _ => TransportError::Listen { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let inner = Arc::new(Inner {
            tls,
            links: Links::new(config.links_max, inputs.clone()),
            inputs,
            links_max: config.links_max,
            patience,
            ladder: Ladder::new(config.rungs, patience),
            proxy: config.proxy,
            pace: Pace::default(),
            dials: Semaphore::new(DIALS_MAX),
            resolver: resolve::Resolver::default(),
            stopping: CancellationToken::new(),
            root: CancellationToken::new(),
            server: Mutex::new(None),
        });
        let server = tokio::spawn(listener::serve(Arc::clone(&inner), listener, rest));
        *inner.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok((Self { inner }, bound))
    }

    /// Opens a link in the background: `LinkUp` or `DialFailed` follows within the dial deadline.
    pub fn dial(&self, op: OpId, address: Address, expect: Option<PeerId>) {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let _turn = inner.dials.acquire().await;
            let plan = inner.ladder.plan(&address);
            let dialled = tokio::select! {
                dialled = dial::dial(&inner, Opened::Dialled(op), &address, expect, &plan) => dialled,
                () = inner.stopping.cancelled() => Err(DialError::Unreachable("the peer is shutting down".into())),
            };
            if let Err(error) = dialled {
                // Where the driver is gone nobody wants to know.
                let _ = inner.inputs.send(Input::DialFailed { op, error }).await;
            }
        });
    }

    /// Queues a frame. Where the link's queue is over its bound in bytes the link is closed as too slow.
    /// A frame for a link that is gone is dropped: its `LinkDown` is on its way.
    /// Answers with the frame's encoded length where it was queued.
    pub fn send(&self, link: LinkId, class: Class, frame: &Frame) -> Option<usize> {
        let link = self.inner.links.get(link)?;
        let bytes = sorcha_peer_wire::frame_len(frame);
        match link.queue.push(class, sorcha_peer_wire::frame_to_proto(frame), bytes) {
            Ok(()) => Some(bytes),
            Err(overflow) => {
                link.kill(overflow.to_string());
                None
            }
        }
    }

    /// Sends what is queued (within a deadline), then closes; `LinkDown` follows.
    pub fn close(&self, link: LinkId, reason: String) {
        if let Some(link) = self.inner.links.get(link) {
            link.close(reason);
        }
    }

    /// From now on nobody is let in and nothing is dialled; links that stand go on.
    pub fn take_nothing_on(&self) {
        self.inner.stopping.cancel();
    }

    /// Links that stand or are being dialled. The last input about a link comes after it is counted no more.
    pub fn links(&self) -> usize {
        self.inner.links.count()
    }

    /// Stops listening, closes all links in order, and cuts what is left at the deadline. The driver should go on
    /// taking inputs meanwhile: every link sends its `LinkDown`.
    pub async fn shutdown(&self, deadline: Duration) {
        let inner = &self.inner;
        let until = tokio::time::Instant::now() + deadline;
        self.take_nothing_on();
        for link in inner.links.all() {
            link.close("the peer is shutting down".into());
        }
        let _ = tokio::time::timeout_at(until, inner.links.none_left()).await;
        inner.root.cancel();
        let server = inner.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut server) = server
            && tokio::time::timeout_at(until, &mut server).await.is_err()
        {
            server.abort();
        }
    }
}
