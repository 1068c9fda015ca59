//! Accepting: TCP or a carried connection, TLS under a deadline and a bound, then gRPC and REST on the same port.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse as _;
use axum::{Extension, Json, Router, routing};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use http::StatusCode;
use prost::Message as _;
use sorcha_peer_core::event::{Opened, Rung};
use sorcha_peer_core::types::{Address, PeerId};
use sorcha_proto::v1::peer_link_server::{PeerLink, PeerLinkServer};
use sorcha_proto::v1::{ExchangeRequest, ExchangeResponse, Frame};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream, server};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};

use super::Inner;
use super::carry::{self, EXCHANGE_PATH, Incoming, Refused, Sessions};
use super::io::{Fault, Held, PeerInfo, PeerStream, Visitor, plain};
use super::link::Outgoing;
use super::lobby::{Guest, Lobby};
use super::places::{Place, Places, source};
use super::settings;
use super::socket::Socket;

/// Connections without a handshake at most. Guess: as many as the kernel's backlog holds.
const LOBBY_MAX: usize = 1024;
/// Those of one source, so that nobody alone keeps the others waiting.
const LOBBY_PER_SOURCE_MAX: usize = 128;
/// Handshakes that have a turn: as many are done in a round trip, which at 300 ms makes 200 a second. More at once would only
/// make each take longer.
const TURNS: usize = 64;
/// Whoever takes longer than this for its part of a handshake goes on without a turn. Guess: a round trip around the world and a
/// lost segment.
const TURN_WITHIN: Duration = Duration::from_secs(1);
/// Connections that are through and not yet served.
const CONNECTIONS_WAITING_MAX: usize = 64;
/// Connections of one peer: a link, its successor while it is replaced, a few REST calls (guess).
const CONNECTIONS_PER_PEER_MAX: usize = 8;
/// Connections of those who show no certificate, at most: the calls of carried connections whose TLS somebody on the way has ended.
/// Guess: a hundred such peers.
const BEARERS_MAX: usize = 256;
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
    let (connections, incoming) = mpsc::channel(CONNECTIONS_WAITING_MAX);
    let (carried, arriving) = mpsc::channel(CONNECTIONS_WAITING_MAX);
    let accepting = tokio::spawn(accept(Arc::clone(&inner), listener, arriving, connections));
    let sessions = Arc::new(Sessions::new(carried, inner.links_max + CONNECTIONS_SPARE));
    let links = PeerLinkServer::new(Service { inner: Arc::clone(&inner), sessions: Arc::clone(&sessions) })
        .max_decoding_message_size(settings::CALL_BYTES_MAX)
        .max_encoding_message_size(settings::CALL_BYTES_MAX);
    let identity = routing::get(identity).with_state(Arc::clone(&inner));
    let exchange = routing::post(exchange).with_state(sessions);
    let rest = rest
        .route("/v1/identity", identity)
        .route(EXCHANGE_PATH, exchange.layer(DefaultBodyLimit::max(settings::CALL_BYTES_MAX)));
    let admitting = from_fn_with_state(Arc::clone(&inner), admit_request);
    let routes = Routes::from(rest).add_service(links).into_axum_router().layer(admitting);
    let routes = Routes::from(routes);
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
    mut arriving: mpsc::Receiver<Incoming>,
    connections: mpsc::Sender<std::io::Result<PeerStream>>,
) {
    let lobby = Arc::new(Lobby::new(LOBBY_MAX, TURNS));
    let sources = Places::new(LOBBY_PER_SOURCE_MAX);
    let doorkeeper = Arc::new(Doorkeeper {
        connections,
        slots: Arc::new(Semaphore::new(inner.links_max + CONNECTIONS_SPARE)),
        bearers: Arc::new(Semaphore::new(BEARERS_MAX)),
        peers: Places::new(CONNECTIONS_PER_PEER_MAX),
        inner,
    });
    let inner = &doorkeeper.inner;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.map(|(tcp, remote)| {
                // Where it fails the connection is broken, and so its handshake.
                if let Err(error) = settings::prepare(&tcp) {
                    tracing::debug!(%remote, "a connection failed: {}", plain(&error));
                }
                (Socket::Tcp(tcp), remote)
            }),
            Some(Incoming { socket, rung, remote }) = arriving.recv() => Ok((Socket::Carried(socket, rung), remote)),
            () = inner.stopping.cancelled() => return,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = match source(remote.ip()).map(|source| sources.take(&source)) {
            Some(None) => {
                tracing::debug!(%remote, "a connection is refused: its source has {LOBBY_PER_SOURCE_MAX} without a handshake already");
                continue;
            }
            Some(place) => place,
            None => None,
        };
        tokio::spawn(Arc::clone(&doorkeeper).meet(socket, remote, lobby.enter(), place));
    }
}

/// Lets in whom a handshake has shown to be somebody.
struct Doorkeeper {
    inner: Arc<Inner>,
    connections: mpsc::Sender<std::io::Result<PeerStream>>,
    slots: Arc<Semaphore>,
    /// For those who show no certificate.
    bearers: Arc<Semaphore>,
    peers: Places<PeerId>,
}

impl Doorkeeper {
    /// A handshake, and what follows.
    async fn meet(
        self: Arc<Self>,
        socket: Socket,
        remote: SocketAddr,
        guest: Guest,
        place: Option<Place<IpAddr>>,
    ) {
        let within = self.inner.patience.handshake;
        let shaken = tokio::select! {
            shaken = timeout(within, self.shake(socket, &guest)) => shaken,
            () = guest.turned_away() => {
                tracing::debug!(%remote, "a connection is refused: {LOBBY_MAX} have come after it");
                return;
            }
        };
        drop((guest, place));
        match shaken.map(|shaken| shaken.map_err(|error| Fault::of(&error))) {
            Ok(Ok(tls)) => self.admit(TlsStream::Server(tls), remote).await,
            Ok(Err(Fault::Untrusted(why))) => tracing::info!(%remote, "a connection is refused: {why}"),
            Ok(Err(Fault::Broken(why))) => tracing::debug!(%remote, "a handshake failed: {why}"),
            Err(_) => tracing::debug!(%remote, "a handshake took longer than {within:?}"),
        }
    }

    async fn shake(&self, socket: Socket, guest: &Guest) -> std::io::Result<server::TlsStream<Socket>> {
        // Whoever says nothing waits for no turn.
        socket.heard().await?;
        let turn = guest.turn().await;
        if socket.is_closed() {
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the other side has gone before it"));
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.inner.tls.current().server));
        let mut shaken = pin!(acceptor.accept(socket));
        if let Ok(shaken) = timeout(TURN_WITHIN, &mut shaken).await {
            return shaken;
        }
        drop(turn);
        shaken.await
    }

    async fn admit(&self, tls: TlsStream<Socket>, remote: SocketAddr) {
        let connection = self.inner.root.child_token();
        let mut stream = match PeerStream::new(tls, remote, connection) {
            Ok(stream) => stream,
            Err(fault) => {
                tracing::info!(%remote, "a connection is refused: {}", fault.sentence());
                return;
            }
        };
        let info = match stream.visitor().clone() {
            Visitor::Peer(info) => info,
            Visitor::Bearer(_) if !self.inner.ladder.has(Rung::Rest) => {
                tracing::info!(%remote, "a connection is refused: it presents no certificate; every peer must");
                return;
            }
            Visitor::Bearer(bearer) => {
                let Ok(slot) = Arc::clone(&self.bearers).try_acquire_owned() else {
                    tracing::warn!(%remote, "a connection is refused: {BEARERS_MAX} without a certificate are open already");
                    return;
                };
                stream.hold(Held { _slot: slot, _place: None });
                if self.connections.send(Ok(stream)).await.is_ok() {
                    close_unused(self.inner.patience.link, &bearer.calls, &bearer.connection).await;
                }
                return;
            }
        };
        let peer = &info.peer.uri;
        let Some(place) = self.peers.take(&info.peer.id) else {
            tracing::info!(%remote, peer, "a connection is refused: this peer has {CONNECTIONS_PER_PEER_MAX} already");
            return;
        };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            tracing::warn!(%remote, peer, "a connection is refused: there are as many as limits.linksMax allows");
            return;
        };
        stream.hold(Held { _slot: slot, _place: Some(place) });
        if self.connections.send(Ok(stream)).await.is_err() {
            return;
        }
        let patience = if is_operator(&info) { OPERATOR_WITHIN } else { self.inner.patience.link };
        tokio::select! {
            () = tokio::time::sleep(patience) => {}
            () = info.connection.cancelled() => return,
        }
        if info.linked.load(Ordering::Acquire) {
            return;
        }
        if info.calls.load(Ordering::Acquire) == 0 {
            tracing::debug!(%remote, peer, "a connection without a link is closed");
            return info.connection.cancel();
        }
        close_unused(self.inner.patience.link, &info.calls, &info.connection).await;
    }
}

/// Closes a connection that carries others' calls once none has come for `patience` and a poll's length.
async fn close_unused(patience: Duration, calls: &AtomicU64, connection: &CancellationToken) {
    let mut before = None;
    loop {
        let wait = if before.is_some() { patience + carry::WAIT_MAX } else { patience };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = connection.cancelled() => return,
        }
        let now = calls.load(Ordering::Acquire);
        if now == 0 || before == Some(now) {
            return connection.cancel();
        }
        before = Some(now);
    }
}

/// Peers may ask for everything; who shows no certificate, and whoever has come over calls, not for all.
async fn admit_request(
    axum::extract::State(inner): axum::extract::State<Arc<Inner>>,
    mut request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    let rung = match request.uri().path() {
        EXCHANGE_PATH => Some(Rung::Rest),
        "/sorcha.peer.v1.PeerLink/Exchange" => Some(Rung::Exchange),
        "/sorcha.peer.v1.PeerLink/Stream" => Some(Rung::Stream),
        _ => None,
    };
    let is_call = matches!(rung, Some(Rung::Exchange | Rung::Rest));
    let refused = match request.extensions().get::<Visitor>().cloned() {
        // What has come over calls has been let in by its rung.
        Some(Visitor::Peer(info))
            if info.rung == Rung::Stream && rung.is_some_and(|rung| !inner.ladder.has(rung)) =>
        {
            Some(Status::permission_denied("links.rungs of this peer leaves that rung out"))
        }
        Some(Visitor::Peer(info)) if is_call && info.rung != Rung::Stream => {
            Some(Status::permission_denied("a carried connection carries no other"))
        }
        Some(Visitor::Peer(info)) => {
            if is_call {
                info.calls.fetch_add(1, Ordering::AcqRel);
            }
            request.extensions_mut().insert(Source(info.remote));
            request.extensions_mut().insert(info);
            None
        }
        // One request at a time on each connection, so that what they bring takes little memory.
        Some(Visitor::Bearer(bearer))
            if rung == Some(Rung::Rest) && request.version() < http::Version::HTTP_2 =>
        {
            bearer.calls.fetch_add(1, Ordering::AcqRel);
            request.extensions_mut().insert(Source(bearer.remote));
            None
        }
        Some(Visitor::Bearer(_)) | None => {
            let why = "the connection carries no certificate; every peer must present one";
            Some(Status::unauthenticated(why))
        }
    };
    match refused {
        None => next.run(request).await,
        Some(status) if is_grpc(&request) => status.into_http(),
        Some(status) => {
            let code = if status.code() == Code::Unauthenticated {
                StatusCode::UNAUTHORIZED
            } else {
                StatusCode::FORBIDDEN
            };
            (code, format!("{}\n", status.message())).into_response()
        }
    }
}

fn is_grpc(request: &axum::extract::Request) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whence a request comes.
#[derive(Debug, Clone, Copy)]
struct Source(SocketAddr);

/// `POST /v1/exchange`: `PeerLink.Exchange` over HTTP/1.1, protobuf both ways.
async fn exchange(
    axum::extract::State(sessions): axum::extract::State<Arc<Sessions>>,
    Extension(Source(remote)): Extension<Source>,
    body: Bytes,
) -> axum::response::Response {
    let Ok(request) = ExchangeRequest::decode(body) else {
        return (StatusCode::BAD_REQUEST, "the body is no ExchangeRequest\n").into_response();
    };
    match sessions.exchange(request, Rung::Rest, remote).await {
        Ok(answer) => {
            let headers = [
                (http::header::CONTENT_TYPE, "application/x-protobuf"),
                (http::header::CACHE_CONTROL, "no-store"),
            ];
            (headers, answer.encode_to_vec()).into_response()
        }
        Err(refused) => {
            let status = match refused {
                Refused::Malformed(_) => StatusCode::BAD_REQUEST,
                Refused::Full | Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, format!("{refused}\n")).into_response()
        }
    }
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
    sessions: Arc<Sessions>,
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
            inner.links.run(id, link, info, Opened::Accepted, address, request.into_inner()).await;
        });
        Ok(Response::new(outgoing))
    }

    async fn exchange(
        &self,
        request: Request<ExchangeRequest>,
    ) -> Result<Response<ExchangeResponse>, Status> {
        let source = request.extensions().get::<Source>().copied();
        let Source(remote) = source.ok_or_else(|| Status::internal("a call came from nowhere"))?;
        let answer = self.sessions.exchange(request.into_inner(), Rung::Exchange, remote).await;
        answer.map(Response::new).map_err(|refused| match refused {
            Refused::Malformed(why) => Status::invalid_argument(why),
            Refused::Full => Status::resource_exhausted(refused.to_string()),
            Refused::Stopping => Status::unavailable(refused.to_string()),
        })
    }
}
