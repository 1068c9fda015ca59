//! A TLS connection that knows whose it is, can be cut from outside, and remembers what broke it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::{CertificateError, Error as RustlsError};
use rustls_pki_types::CertificateDer;
use sorcha_peer_core::event::Rung;
use sorcha_peer_core::message::LinkPeer;
use sorcha_peer_core::types::PeerId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::places::Place;
use super::socket::Socket;

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) enum Visitor {
    /// A peer, by its certificate.
    Peer(PeerInfo),
    /// Somebody without a certificate: something on the way has ended a peer's TLS, and a carried connection may come in its calls.
    Bearer(BearerInfo),
}

/// Somebody without a certificate.
#[derive(Debug, Clone)]
pub(super) struct BearerInfo {
    /// Its address.
    pub(super) remote: SocketAddr,
    /// Cuts the connection.
    pub(super) connection: CancellationToken,
    /// Calls on it so far.
    pub(super) calls: Arc<AtomicU64>,
}

/// What every request of a peer carries: who speaks, by the certificate alone.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// The other side.
    pub peer: LinkPeer,
    /// Its address.
    pub remote: SocketAddr,
    /// The rung of a link on this connection.
    pub(super) rung: Rung,
    /// Cuts the connection.
    pub(super) connection: CancellationToken,
    /// What broke it.
    pub(super) fault: Arc<OnceLock<Fault>>,
    /// A link stands on it already.
    pub(super) linked: Arc<AtomicBool>,
    /// Calls on it that carry other connections, so far.
    pub(super) calls: Arc<AtomicU64>,
}

/// What went wrong below gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A certificate was refused, by either side.
    Untrusted(String),
    /// Anything else.
    Broken(String),
}

impl Fault {
    pub(super) fn sentence(&self) -> &str {
        match self {
            Self::Untrusted(text) | Self::Broken(text) => text,
        }
    }

    /// What an error of TLS or of the socket means to people.
    pub(super) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
        match inner {
            Some(RustlsError::InvalidCertificate(CertificateError::Other(reason))) => {
                Self::Untrusted(format!("its certificate is refused: {}", reason.0))
            }
            Some(RustlsError::InvalidCertificate(reason)) => {
                Self::Untrusted(format!("its certificate is refused: {reason}"))
            }
            Some(RustlsError::NoCertificatesPresented) => {
                Self::Untrusted("it presents no certificate; every peer must".into())
            }
            Some(RustlsError::AlertReceived(alert)) if refuses_certificate(*alert) => {
                Self::Untrusted(format!(
                    "it refuses this peer's certificate ({alert:?}): its log says why; an unknown CA, an expired certificate and another network are usual"
                ))
            }
            Some(other) => Self::Broken(format!("TLS failed: {other}")),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Broken("the other side closed the connection".into())
            }
            None => Self::Broken(plain(error)),
        }
    }
}

/// What the other side says, fit for a log: on one line, and not longer than a sentence (512 characters).
pub(super) fn spoken(text: &str) -> String {
    text.chars().take(512).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// An error of the system without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Alerts about the certificate that was presented (RFC 8446 § 6.2).
fn refuses_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
            | Alert::DecryptError
    )
}

/// One established connection.
pub(super) struct PeerStream {
    tls: TlsStream<Socket>,
    visitor: Visitor,
    fault: Arc<OnceLock<Fault>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    held: Option<Held>,
}

/// What a connection that was let in takes up; given back when it ends.
pub(super) struct Held {
    pub(super) _slot: OwnedSemaphorePermit,
    pub(super) _place: Option<Place<PeerId>>,
}

impl PeerStream {
    /// Takes a connection whose handshake is done; reads from the certificate who the other side is.
    pub(super) fn new(
        tls: TlsStream<Socket>,
        remote: SocketAddr,
        connection: CancellationToken,
    ) -> Result<Self, Fault> {
        let (socket, session) = tls.get_ref();
        let rung = socket.rung();
        let cut = Box::pin(connection.clone().cancelled_owned());
        let fault = Arc::<OnceLock<Fault>>::default();
        let chain: Option<&[CertificateDer<'_>]> = session.peer_certificates();
        let Some(leaf) = chain.and_then(<[_]>::first) else {
            if rung != Rung::Stream {
                return Err(Fault::Untrusted("it presents no certificate; every peer must".into()));
            }
            let visitor = Visitor::Bearer(BearerInfo { remote, connection, calls: Arc::default() });
            return Ok(Self { tls, visitor, fault, cut, held: None });
        };
        let uri = sorcha_peer_pki::trust::leaf_identity_of(leaf)
            .map_err(|error| Fault::Untrusted(format!("its certificate is refused: {error}")))?;
        let peer = LinkPeer { id: PeerId::of_uri(uri.as_str()), uri: uri.to_string() };
        let info = PeerInfo {
            peer,
            remote,
            rung,
            connection,
            fault: Arc::clone(&fault),
            linked: Arc::default(),
            calls: Arc::default(),
        };
        Ok(Self { tls, visitor: Visitor::Peer(info), fault, cut, held: None })
    }

    /// Keeps its places until it ends.
    pub(super) fn hold(&mut self, held: Held) {
        self.held = Some(held);
    }

    pub(super) fn visitor(&self) -> &Visitor {
        &self.visitor
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the link was closed here"))
            }
            Poll::Pending => Ok(()),
        }
    }

    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            let _ = self.fault.set(Fault::of(error));
        }
        result
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Visitor;

    fn connect_info(&self) -> Visitor {
        self.visitor.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        let result = Pin::new(&mut self.tls).poll_read(context, buffer);
        self.note(result)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        let result = Pin::new(&mut self.tls).poll_write(context, data);
        self.note(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        let result = Pin::new(&mut self.tls).poll_flush(context);
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}
