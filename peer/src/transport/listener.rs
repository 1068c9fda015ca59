//! Accepting: TCP, TLS under a deadline and a bound, then gRPC and REST on the same port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::{Extension, Json, Router, routing};
use futures::stream::{BoxStream, StreamExt};
use sorcha_peer_core::types::{Address, PeerId};
use sorcha_proto::v1::peer_link_server::{PeerLink, PeerLinkServer};
use sorcha_proto::v1::{ExchangeRequest, ExchangeResponse, Frame};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::Inner;
use super::io::{Fault, Held, PeerInfo, PeerStream, plain};
use super::link::Outgoing;
use super::places::{Places, source};
use super::settings;

/// Handshakes under way at most; further connections wait in the kernel's backlog.
const HANDSHAKES_MAX: usize = 256;
/// Handshakes under way from one source: half of all, so that nobody alone keeps the others waiting.
const HANDSHAKES_PER_SOURCE_MAX: usize = HANDSHAKES_MAX / 2;
/// Connections of one peer: a link, its successor while it is replaced, a few REST calls (guess).
const CONNECTIONS_PER_PEER_MAX: usize = 8;
/// Connections beyond those that links may use: REST calls, and refusals of links.
const CONNECTIONS_SPARE: usize = 64;
/// Last part of the operator's URI.
const OPERATOR: &str = "/operator";
/// The operator's connections are closed after this time: longer than its longest call, and than it uses one.
const OPERATOR_WITHIN: Duration = Duration::from_secs(300);
/// After a failed accept (too many open files), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the transport stops. Ends when all connections have ended.
pub(super) async fn serve(inner: Arc<Inner>, listener: TcpListener, rest: Router) {
    let (connections, incoming) = mpsc::channel(HANDSHAKES_MAX);
    let accepting = tokio::spawn(accept(Arc::clone(&inner), listener, connections));
    let links = PeerLinkServer::new(Service { inner: Arc::clone(&inner) })
        .max_decoding_message_size(settings::FRAME_BYTES_MAX)
        .max_encoding_message_size(settings::FRAME_BYTES_MAX);
    let identity = routing::get(identity).with_state(Arc::clone(&inner));
    let routes = Routes::from(rest.route("/v1/identity", identity)).add_service(links);
    let served = tonic::transport::Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(settings::WINDOW_BYTES)
        .initial_connection_window_size(settings::WINDOW_BYTES)
        .http2_keepalive_interval(Some(settings::KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(settings::KEEPALIVE_WITHIN))
        .max_concurrent_streams(settings::STREAMS_MAX)
        .http2_max_header_list_size(settings::HEADER_BYTES_MAX)
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), inner.stopping.cancelled())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the peer port is served no longer");
    }
    accepting.abort();
}

async fn accept(
    inner: Arc<Inner>,
    listener: TcpListener,
    connections: mpsc::Sender<std::io::Result<PeerStream>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let sources = Places::new(HANDSHAKES_PER_SOURCE_MAX);
    let doorkeeper = Arc::new(Doorkeeper {
        connections,
        slots: Arc::new(Semaphore::new(inner.links_max + CONNECTIONS_SPARE)),
        peers: Places::new(CONNECTIONS_PER_PEER_MAX),
        inner,
    });
    let inner = &doorkeeper.inner;
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inner.stopping.cancelled() => return,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = match source(remote.ip()).map(|source| sources.take(&source)) {
            Some(None) => {
                tracing::debug!(%remote, "a connection is refused: its source has too many handshakes under way");
                continue;
            }
            Some(place) => place,
            None => None,
        };
        let doorkeeper = Arc::clone(&doorkeeper);
        tokio::spawn(async move {
            let within = doorkeeper.inner.patience.handshake;
            let shaken = timeout(within, shake(&doorkeeper.inner, tcp)).await;
            drop((permit, place));
            match shaken {
                Ok(Ok(tls)) => doorkeeper.admit(tls, remote).await,
                Ok(Err(Fault::Untrusted(why))) => {
                    tracing::info!(%remote, "a connection is refused: {why}");
                }
                Ok(Err(Fault::Broken(why))) => tracing::debug!(%remote, "a handshake failed: {why}"),
                Err(_) => tracing::debug!(%remote, "a handshake took longer than {within:?}"),
            }
        });
    }
}

/// Lets in whom a handshake has shown to be somebody.
struct Doorkeeper {
    inner: Arc<Inner>,
    connections: mpsc::Sender<std::io::Result<PeerStream>>,
    slots: Arc<Semaphore>,
    peers: Places<PeerId>,
}

impl Doorkeeper {
    async fn admit(&self, tls: TlsStream<TcpStream>, remote: SocketAddr) {
        let connection = self.inner.root.child_token();
        let mut stream = match PeerStream::new(tls, remote, connection) {
            Ok(stream) => stream,
            Err(fault) => {
                tracing::info!(%remote, "a connection is refused: {}", fault.sentence());
                return;
            }
        };
        let info = stream.info().clone();
        let peer = &info.peer.uri;
        let Some(place) = self.peers.take(&info.peer.id) else {
            tracing::info!(%remote, peer, "a connection is refused: this peer has {CONNECTIONS_PER_PEER_MAX} already");
            return;
        };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            tracing::warn!(%remote, peer, "a connection is refused: there are as many as limits.linksMax allows");
            return;
        };
        stream.hold(Held { _slot: slot, _place: place });
        if self.connections.send(Ok(stream)).await.is_err() {
            return;
        }
        let patience = if is_operator(&info) { OPERATOR_WITHIN } else { self.inner.patience.link };
        tokio::select! {
            () = tokio::time::sleep(patience) => {
                if !info.linked.load(Ordering::Acquire) {
                    tracing::debug!(%remote, peer, "a connection without a link is closed");
                    info.connection.cancel();
                }
            }
            () = info.connection.cancelled() => {}
        }
    }
}

async fn shake(inner: &Inner, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
    settings::prepare(&tcp).map_err(|error| Fault::Broken(plain(&error)))?;
    let acceptor = TlsAcceptor::from(Arc::clone(&inner.tls.current().server));
    acceptor.accept(tcp).await.map(TlsStream::Server).map_err(|error| Fault::of(&error))
}

/// `GET /v1/identity`: who the caller is in this peer's eyes.
async fn identity(
    axum::extract::State(inner): axum::extract::State<Arc<Inner>>,
    Extension(info): Extension<PeerInfo>,
) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "uri": info.peer.uri,
        "peerId": info.peer.id.to_string(),
        "address": info.remote.to_string(),
        "answeredBy": inner.tls.current().uri.as_str(),
    }))
}

/// Whether this is the connection of the network's operator, by its certificate: it asks, and has no links.
fn is_operator(info: &PeerInfo) -> bool {
    info.peer.uri.ends_with(OPERATOR)
}

struct Service {
    inner: Arc<Inner>,
}

#[tonic::async_trait]
impl PeerLink for Service {
    type StreamStream = BoxStream<'static, Result<Frame, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let info = request.extensions().get::<PeerInfo>().cloned();
        let info = info.ok_or_else(|| Status::unauthenticated("the connection carries no certificate"))?;
        if is_operator(&info) {
            return Err(Status::permission_denied(
                "the operator takes no part in the network: it has no links",
            ));
        }
        if self.inner.stopping.is_cancelled() {
            return Err(Status::unavailable("the peer is shutting down"));
        }
        if info.linked.swap(true, Ordering::AcqRel) {
            return Err(Status::already_exists(
                "a link stands on this connection already: open another for another",
            ));
        }
        let full = || Status::resource_exhausted("this peer has as many links as limits.linksMax allows");
        let (id, link) = self.inner.links.open(&info).ok_or_else(full)?;
        let outgoing = Outgoing(Arc::clone(&link)).map(Ok).boxed();
        let inner = Arc::clone(&self.inner);
        let address = Address::new(info.remote.to_string());
        tokio::spawn(async move {
            inner.links.run(id, link, info, None, address, request.into_inner()).await;
        });
        Ok(Response::new(outgoing))
    }

    async fn exchange(&self, _: Request<ExchangeRequest>) -> Result<Response<ExchangeResponse>, Status> {
        Err(Status::unimplemented(
            "this version serves links by PeerLink.Stream only; the unary exchange follows",
        ))
    }
}
