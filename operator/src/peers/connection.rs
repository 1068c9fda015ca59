//! Connections to peers: TCP, TLS, whose certificate it is, HTTP/2. Kept for a while, so that a look at a network a
//! few seconds later costs no handshake.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use rustls::Error as RustlsError;
use rustls_pki_types::ServerName;
use sorcha_operator_plan::step::PeerAddress;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::Identity;

/// TCP and TLS together: two round trips and 2 ms of work within a cluster (guess).
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Connections kept at most, each about 60 KiB with its buffers (guess: 16 MiB in all); the one used longest ago goes.
const KEPT_MAX: usize = 256;
/// A connection is not used for longer, so that a certificate that was replaced or refused since is noticed.
const AGE_MAX: Duration = Duration::from_secs(120);
/// A connection that nobody has used for this long is closed at the next look.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Untrusted(String),
}

struct Kept {
    channel: Channel,
    /// The identity that it was made with.
    identity: Arc<Identity>,
    made: Instant,
    used: Instant,
}

/// By the peer's URI and the address of its pod.
#[derive(Default)]
pub(super) struct Connections {
    kept: Mutex<BTreeMap<(String, SocketAddr), Kept>>,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, SocketAddr), Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to this peer, kept or new.
    pub(super) async fn to(
        &self,
        peer: &PeerAddress,
        at: SocketAddr,
        identity: &Arc<Identity>,
    ) -> Result<Channel, ConnectError> {
        let key = (peer.uri.clone(), at);
        if let Some(channel) = self.kept(&key, identity) {
            return Ok(channel);
        }
        let channel = connect(&peer.uri, at, identity).await?;
        let now = Instant::now();
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX
            && let Some(oldest) = kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
        let made = Kept { channel: channel.clone(), identity: Arc::clone(identity), made: now, used: now };
        kept.insert(key, made);
        Ok(channel)
    }

    fn kept(&self, key: &(String, SocketAddr), identity: &Arc<Identity>) -> Option<Channel> {
        let mut kept = self.lock();
        kept.retain(|_, kept| kept.made.elapsed() < AGE_MAX && kept.used.elapsed() < IDLE_MAX);
        let found = kept.get_mut(key).filter(|kept| Arc::ptr_eq(&kept.identity, identity))?;
        found.used = Instant::now();
        Some(found.channel.clone())
    }

    /// It failed: the next call makes a new one.
    pub(super) fn drop_failed(&self, peer: &PeerAddress, at: SocketAddr) {
        self.lock().remove(&(peer.uri.clone(), at));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

async fn connect(uri: &str, at: SocketAddr, identity: &Identity) -> Result<Channel, ConnectError> {
    let late = |_| {
        let within = CONNECT_WITHIN.as_secs();
        ConnectError::Unreachable(format!("{at} does not answer: no connection within {within} s"))
    };
    let tls = tokio::time::timeout(CONNECT_WITHIN, shake(uri, at, identity)).await.map_err(late)??;
    let mut once = Some(tls);
    let connector = tower::service_fn(move |_| {
        // One channel is one connection: where it has ended, a new channel is made, which checks the peer anew.
        let stream = once.take().map(TokioIo::new);
        std::future::ready(stream.ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    Endpoint::from_static("http://peer")
        .connect_with_connector(connector)
        .await
        .map_err(|error| ConnectError::Unreachable(format!("{at} speaks no HTTP/2: {error}")))
}

async fn shake(uri: &str, at: SocketAddr, identity: &Identity) -> Result<TlsStream<TcpStream>, ConnectError> {
    let refused = |error: std::io::Error| {
        ConnectError::Unreachable(format!("{at} cannot be connected to: {}", plain(&error)))
    };
    let tcp = TcpStream::connect(at).await.map_err(refused)?;
    tcp.set_nodelay(true).map_err(refused)?;
    let connector = TlsConnector::from(identity.client());
    let name = ServerName::IpAddress(at.ip().into());
    let tls = connector.connect(name, tcp).await.map_err(|error| tls_failed(at, &error))?;
    let leaf = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let found = leaf.and_then(|leaf| sorcha_peer_pki::trust::leaf_identity_of(leaf).ok());
    match found {
        Some(found) if found.as_str() == uri => Ok(tls),
        Some(found) => Err(ConnectError::Untrusted(format!("{at} answers as {found}, not as {uri}"))),
        None => Err(ConnectError::Untrusted(format!("{at} presents no certificate of a peer"))),
    }
}

fn tls_failed(at: SocketAddr, error: &std::io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
        Some(RustlsError::InvalidCertificate(rustls::CertificateError::Other(why))) => {
            ConnectError::Untrusted(format!("{at} presents a certificate that is refused: {}", why.0))
        }
        Some(RustlsError::InvalidCertificate(why)) => {
            ConnectError::Untrusted(format!("{at} presents a certificate that is refused: {why}"))
        }
        Some(RustlsError::AlertReceived(alert)) => {
            ConnectError::Untrusted(format!("{at} refuses the operator's certificate ({alert:?})"))
        }
        _ => ConnectError::Unreachable(format!("{at} speaks no TLS: {}", plain(error))),
    }
}

/// An error of the system without its number, as part of a sentence.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
