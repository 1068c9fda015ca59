//! The transport over real sockets with real certificates.

mod attacks;
mod hostile;
mod ladder;
mod links;
mod trust;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sorcha_peer_core::Input;
use sorcha_peer_core::event::{DialError, LinkUp};
use sorcha_peer_core::message::{Frame, Message};
use sorcha_peer_core::types::{Address, LinkId, OpId};
use sorcha_peer_pki::authority::ROOT_VALIDITY;
use sorcha_peer_pki::{Authority, IssueRequest, SpiffeId, files};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::settings::Patience;
use super::{Transport, TransportConfig};
use crate::tls::TlsState;

/// Nothing in these tests takes longer on a machine that is not broken.
const SOON: Duration = Duration::from_secs(20);

/// A CA with a directory for the certificates it issues.
struct World {
    authority: Authority,
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        Self::at(Timestamp::now())
    }

    fn at(now: Timestamp) -> Self {
        let authority = Authority::generate("example.org", now, ROOT_VALIDITY).unwrap();
        Self { authority, directory: tempfile::tempdir().unwrap() }
    }

    /// Certificates of a peer, trusting this CA and those in `more`.
    fn tls(&self, network: &str, name: &str, at: Timestamp, more: &[&World]) -> Arc<TlsState> {
        let identity = SpiffeId::new("example.org", network, name).unwrap();
        let issued = self.authority.issue(&IssueRequest::new(identity.clone(), at)).unwrap();
        let roots: String = std::iter::once(self)
            .chain(more.iter().copied())
            .map(|world| world.authority.certificate_pem())
            .collect();
        let directory = self.directory.path().join(format!("{network}-{name}"));
        files::write_identity(&directory, &issued, &roots).unwrap();
        Arc::new(TlsState::load(&directory, identity, at).unwrap())
    }

    async fn peer(&self, name: &str) -> Peer {
        Peer::start(self.tls("net", name, Timestamp::now(), &[]), 1000).await
    }
}

/// A transport with what it tells its driver.
struct Peer {
    transport: Transport,
    inputs: mpsc::Receiver<Input>,
    at: SocketAddr,
}

impl Peer {
    async fn start(tls: Arc<TlsState>, links_max: usize) -> Self {
        Self::start_with(tls, links_max, Patience::default()).await
    }

    async fn start_with(tls: Arc<TlsState>, links_max: usize, patience: Patience) -> Self {
        let config = TransportConfig { links_max, ..TransportConfig::here() };
        Self::start_as(tls, config, patience).await
    }

    async fn start_as(tls: Arc<TlsState>, config: TransportConfig, patience: Patience) -> Self {
        let (sender, inputs) = mpsc::channel(1024);
        let started = Transport::start_with(config, patience, tls, sender, axum::Router::new()).await;
        let (transport, at) = started.unwrap();
        Self { transport, inputs, at }
    }

    fn address(&self) -> Address {
        Address::new(self.at.to_string())
    }

    fn dial(&self, op: u64, other: &Peer) {
        self.transport.dial(OpId(op), other.address(), None);
    }

    async fn next(&mut self) -> Input {
        timeout(SOON, self.inputs.recv()).await.expect("an input was awaited").expect("the transport lives")
    }

    async fn up(&mut self) -> LinkUp {
        match self.next().await {
            Input::LinkUp(up) => up,
            other => panic!("a link was awaited, not {other:?}"),
        }
    }

    async fn down(&mut self, link: LinkId) -> String {
        match self.next().await {
            Input::LinkDown { link: down, reason } if down == link => reason,
            other => panic!("the end of {link:?} was awaited, not {other:?}"),
        }
    }

    async fn frame(&mut self) -> (LinkId, Frame) {
        match self.next().await {
            Input::Frame { link, frame, bytes } => {
                assert_eq!(bytes as usize, sorcha_peer_wire::frame_len(&frame));
                (link, frame)
            }
            other => panic!("a frame was awaited, not {other:?}"),
        }
    }

    async fn dial_failed(&mut self) -> DialError {
        match self.next().await {
            Input::DialFailed { error, .. } => error,
            other => panic!("a failed dial was awaited, not {other:?}"),
        }
    }

    async fn bad_frame(&mut self) -> String {
        match self.next().await {
            Input::BadFrame { error, .. } => error,
            other => panic!("a bad frame was awaited, not {other:?}"),
        }
    }
}

/// Both ends of a new link from `one` to `other`.
async fn link(one: &mut Peer, other: &mut Peer) -> (LinkUp, LinkUp) {
    one.dial(1, other);
    (one.up().await, other.up().await)
}

fn ping(sequence: u64) -> Frame {
    Frame { sequence, ack: 0, ack_bits: 0, message: Message::Ping { nonce: sequence } }
}

fn chunk(sequence: u64, bytes: usize) -> Frame {
    let message = Message::Chunk {
        id: sorcha_peer_core::types::TxId::from_bytes([7; 32]),
        index: 0,
        data: bytes::Bytes::from(vec![1; bytes]).into(),
        proof: Vec::new(),
    };
    Frame { sequence, ack: 0, ack_bits: 0, message }
}
