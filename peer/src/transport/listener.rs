//! Accepting: TCP, TLS under a deadline and a bound, then gRPC and REST on the same port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::{Extension, Json, Router, routing};
use futures::stream::{BoxStream, StreamExt};
use sorcha_peer_core::types::Address;
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
use super::io::{Fault, PeerInfo, PeerStream, plain};
use super::link::Outgoing;
use super::settings;

/// Handshakes under way at most; further connections wait in the kernel's backlog.
const HANDSHAKES_MAX: usize = 256;
/// A handshake (ours takes about 2 ms of both sides' time and two round trips).
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Connections beyond those that links may use: REST calls, and refusals of links.
const CONNECTIONS_SPARE: usize = 64;
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
    let slots = Arc::new(Semaphore::new(inner.links_max + CONNECTIONS_SPARE));
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
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(%remote, "a connection is refused: there are as many as limits.linksMax allows");
            continue;
        };
        let (inner, connections) = (Arc::clone(&inner), connections.clone());
        tokio::spawn(async move {
            let shaken = timeout(HANDSHAKE_WITHIN, shake(&inner, tcp, remote)).await;
            drop(permit);
            let tls = match shaken {
                Ok(Ok(tls)) => tls,
                Ok(Err(Fault::Untrusted(why))) => {
                    tracing::info!(%remote, "a connection is refused: {why}");
                    return;
                }
                Ok(Err(Fault::Broken(why))) => {
                    tracing::debug!(%remote, "a handshake failed: {why}");
                    return;
                }
                Err(_) => {
                    tracing::debug!(%remote, "a handshake took longer than {} s", HANDSHAKE_WITHIN.as_secs());
                    return;
                }
            };
            match PeerStream::new(tls, remote, inner.root.child_token(), Some(slot)) {
                Ok(stream) => drop(connections.send(Ok(stream)).await),
                Err(fault) => tracing::info!(%remote, "a connection is refused: {}", fault.sentence()),
            }
        });
    }
}

async fn shake(inner: &Inner, tcp: TcpStream, _remote: SocketAddr) -> Result<TlsStream<TcpStream>, Fault> {
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
