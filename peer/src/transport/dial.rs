//! Opening a link: names to addresses, then rung by rung TCP, TLS, who is there, and the stream.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sorcha_peer_core::event::{DialError, Opened, Rung};
use sorcha_peer_core::types::{Address, PeerId};
use sorcha_proto::v1::peer_link_client::PeerLinkClient;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};
use tonic::transport::Endpoint;

use super::io::{Fault, PeerStream, Visitor, plain, spoken};
use super::link::{Ended, Outgoing};
use super::resolve::Resolver;
use super::socket::Socket;
use super::{Inner, carry, settings, tunnel};

/// The whole dial.
pub(super) const DIAL_WITHIN: Duration = Duration::from_secs(20);
/// TLS of a connection that calls travel on.
const CALL_TLS_WITHIN: Duration = Duration::from_secs(10);
/// Resolving a name.
const RESOLVE_WITHIN: Duration = Duration::from_secs(3);
/// TCP to one address.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Until a proxy has made a connection: it may try several addresses.
const TUNNEL_WITHIN: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried, in the order of the resolver.
const ADDRESSES_MAX: usize = 4;

fn unfinished(address: &Address, what: &str) -> DialError {
    DialError::Unfinished(format!("connect to {address}: {what}"))
}

/// Dials within [`DIAL_WITHIN`], down the ladder as long as somebody answers; where a link comes of it, it runs on its own.
pub(super) async fn dial(
    inner: &Arc<Inner>,
    opened: Opened,
    address: &Address,
    expect: Option<PeerId>,
    plan: &[Rung],
) -> Result<(), DialError> {
    let until = Instant::now() + DIAL_WITHIN;
    let mut failed: Option<DialError> = None;
    for rung in plan {
        let connected = timeout_at(until, connect(inner, address)).await.map_err(|_| {
            DialError::Unreachable(format!(
                "connect to {address}: timed out after {} s",
                DIAL_WITHIN.as_secs()
            ))
        });
        let connection = match connected.flatten() {
            Ok(connection) => connection,
            Err(error) => return Err(failed.unwrap_or(error)),
        };
        let last = plan.last() == Some(rung);
        let within = if last { until } else { until.min(Instant::now() + inner.pace.patience()) };
        let began = Instant::now();
        let error = match timeout_at(within, attempt(inner, opened, address, expect, *rung, connection)).await
        {
            Ok(Ok(())) => {
                inner.pace.took(began.elapsed());
                inner.ladder.works(address, *rung);
                return Ok(());
            }
            Ok(Err(error)) => error,
            // Silence may be of a busy peer, which more connections at once make no less busy: the next dial tries below.
            Err(_) => {
                inner.ladder.silent(address, *rung);
                let error = unfinished(address, &format!("timed out after {} s", began.elapsed().as_secs()));
                return Err(failed.map_or(error.clone(), |first| and_below(first, *rung, &error)));
            }
        };
        // Another peer is another peer on each rung, and where nobody listens nobody does. A certificate that is not a
        // peer's may be of somebody on the way, who ends TLS: below it the peer's own is seen.
        let below = matches!(error, DialError::Unfinished(_) | DialError::Untrusted(_));
        failed = Some(match failed {
            None => error,
            Some(first) => and_below(first, *rung, &error),
        });
        if !below {
            break;
        }
    }
    Err(failed.unwrap_or_else(|| unfinished(address, "there is no rung to try")))
}

/// What was met first, and what was met on a lower rung.
fn and_below(first: DialError, rung: Rung, error: &DialError) -> DialError {
    let how = if rung == Rung::Rest { "over HTTP/1.1" } else { "by unary calls" };
    let joined = |first: String| format!("{first}; {how}: {error}");
    match first {
        DialError::Unfinished(first) => DialError::Unfinished(joined(first)),
        DialError::Untrusted(first) => DialError::Untrusted(joined(first)),
        other => other,
    }
}

/// One rung.
async fn attempt(
    inner: &Arc<Inner>,
    opened: Opened,
    address: &Address,
    expect: Option<PeerId>,
    rung: Rung,
    (tcp, remote): (TcpStream, SocketAddr),
) -> Result<(), DialError> {
    let tls = inner.tls.current();
    let socket = match rung {
        Rung::Stream => Socket::Tcp(tcp),
        Rung::Exchange => {
            let connect = connector(inner, address, (tcp, remote), Arc::clone(&tls.client));
            carried(address, carry::Unary::new(&endpoint(), connect), rung).await?
        }
        Rung::Rest => {
            let connect = connector(inner, address, (tcp, remote), Arc::clone(&tls.bearer));
            carried(address, carry::Rest::new(address.to_string(), connect), rung).await?
        }
    };
    link(inner, opened, address, expect, (socket, remote)).await
}

async fn carried(address: &Address, carrier: impl carry::Carrier, rung: Rung) -> Result<Socket, DialError> {
    let opened = carry::open(carrier).await;
    opened.map(|socket| Socket::Carried(socket, rung)).map_err(|why| unfinished(address, &why))
}

/// Makes the connections of calls: the first one is there already.
fn connector(
    inner: &Arc<Inner>,
    address: &Address,
    first: (TcpStream, SocketAddr),
    config: Arc<ClientConfig>,
) -> carry::Connect {
    let first = Arc::new(Mutex::new(Some(first)));
    let (inner, address) = (Arc::clone(inner), address.clone());
    Arc::new(move || {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (inner, address, config) = (Arc::clone(&inner), address.clone(), Arc::clone(&config));
        Box::pin(async move {
            let (tcp, remote) = match first {
                Some(first) => first,
                None => connect(&inner, &address).await.map_err(std::io::Error::other)?,
            };
            let name = server_name(&address, remote);
            timeout(CALL_TLS_WITHIN, TlsConnector::from(config).connect(name, tcp))
                .await
                .map_err(|_| std::io::Error::other("TLS took too long"))?
        })
    })
}

fn server_name(address: &Address, remote: SocketAddr) -> ServerName<'static> {
    let host = address.as_str().rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    ServerName::try_from(host.to_owned()).unwrap_or(ServerName::IpAddress(remote.ip().into()))
}

/// From a connection to a link.
async fn link(
    inner: &Arc<Inner>,
    opened: Opened,
    address: &Address,
    expect: Option<PeerId>,
    (socket, remote): (Socket, SocketAddr),
) -> Result<(), DialError> {
    let name = server_name(address, remote);
    let rung = socket.rung();
    let connector = TlsConnector::from(Arc::clone(&inner.tls.current().client));
    let refused = |fault: &Fault| match fault {
        Fault::Untrusted(why) => DialError::Untrusted(format!("{address}: {why}")),
        Fault::Broken(why) => unfinished(address, why),
    };
    let tls = connector.connect(name, socket).await.map_err(|error| refused(&Fault::of(&error)))?;
    let stream = PeerStream::new(TlsStream::Client(tls), remote, inner.root.child_token())
        .map_err(|fault| refused(&fault))?;
    let Visitor::Peer(info) = stream.visitor().clone() else {
        return Err(DialError::Untrusted(format!("{address}: it presents no certificate; every peer must")));
    };
    if expect.is_some_and(|expected| expected != info.peer.id) {
        return Err(DialError::OtherPeer { address: address.to_string(), found: info.peer.uri });
    }

    let full =
        || DialError::Unreachable(format!("connect to {address}: this peer has all the links it may have"));
    let (id, link) = inner.links.open(&info).ok_or_else(full)?;
    let unborn = Unborn { inner, id: Some(id) };
    let mut once = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = once.take().map(TokioIo::new);
        std::future::ready(stream.ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    let fault_of = |said: String| match info.fault.get() {
        Some(fault) => refused(fault),
        None => unfinished(address, &said),
    };
    let channel = endpoint()
        .connect_with_connector(connector)
        .await
        .map_err(|error| fault_of(format!("HTTP/2 failed: {error}")))?;
    let mut client = PeerLinkClient::new(channel)
        .max_decoding_message_size(settings::FRAME_BYTES_MAX)
        .max_encoding_message_size(settings::FRAME_BYTES_MAX);
    // TLS 1.3: where the other side refuses our certificate, its alert comes with the first read, so here.
    let answer = client
        .stream(Outgoing(Arc::clone(&link)))
        .await
        .map_err(|status| fault_of(spoken(status.message())))?;
    unborn.keep();
    let (inner, address) = (Arc::clone(inner), address.clone());
    tokio::spawn(async move {
        let began = Instant::now();
        let climbing = (rung != Rung::Stream)
            .then(|| tokio::spawn(climb(Arc::clone(&inner), address.clone(), info.peer.id, rung)));
        let ended = inner.links.run(id, link, info, opened, address.clone(), answer.into_inner()).await;
        inner.ladder.ended(&address, rung, began.elapsed(), ended == Ended::Broke);
        climbing.iter().for_each(tokio::task::JoinHandle::abort);
        // The channel ends with its last client, and the connection with it.
        drop(client);
    });
    Ok(())
}

/// From a link on a lower rung: tries a better one now and then, until one stands. The link itself is ended by the core, once the
/// better one has said hello.
fn climb(inner: Arc<Inner>, address: Address, peer: PeerId, from: Rung) -> BoxFuture<'static, ()> {
    // Boxed: a dial that comes to a link begins another climb.
    Box::pin(async move {
        let mut better = inner.ladder.above(from);
        if better.is_empty() {
            return;
        }
        loop {
            inner.ladder.time_to_climb(&address).await;
            if inner.stopping.is_cancelled() {
                return;
            }
            let climbed = async {
                if better.contains(&Rung::Stream) && !holds(&inner, &address).await? {
                    // A link there would end as that connection did. Calls do not mind.
                    better.retain(|rung| *rung != Rung::Stream);
                }
                let _turn = inner.dials.acquire().await;
                dial(&inner, Opened::Climbed, &address, Some(peer), &better).await
            };
            match climbed.await {
                Ok(()) => return inner.ladder.climbed(&address),
                Err(error) => {
                    tracing::debug!(%address, %error, "no better way to a peer yet");
                    inner.ladder.works(&address, from);
                }
            }
            better = inner.ladder.above(from);
        }
    })
}

/// Whether a connection to this address, TLS and HTTP/2 included, outlives what middleboxes cut: the link that stands goes on
/// meanwhile.
async fn holds(inner: &Arc<Inner>, address: &Address) -> Result<bool, DialError> {
    let config = Arc::clone(&inner.tls.current().client);
    let connect = connector(inner, address, connect(inner, address).await?, config);
    let tls = connect().await.map_err(|error| unfinished(address, Fault::of(&error).sentence()))?;
    let made = timeout(DIAL_WITHIN, http2::handshake(TokioExecutor::new(), TokioIo::new(tls)));
    let (requests, connection) = made
        .await
        .map_err(|_| unfinished(address, "HTTP/2 took too long"))?
        .map_err(|error| unfinished(address, &format!("HTTP/2 failed: {error}")))?;
    let held = timeout(inner.patience.hold, connection).await.is_err();
    drop::<http2::SendRequest<Empty<Bytes>>>(requests);
    Ok(held)
}

/// Takes the link's place back where the dial fails or is given up.
struct Unborn<'a> {
    inner: &'a Inner,
    id: Option<sorcha_peer_core::types::LinkId>,
}

impl Unborn<'_> {
    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Unborn<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.inner.links.drop_unborn(id);
        }
    }
}

/// A connection to an address, or to the proxy that makes it; and where its other end is, as far as that is known here.
async fn connect(inner: &Inner, address: &Address) -> Result<(TcpStream, SocketAddr), DialError> {
    let Some(proxy) = inner.proxy.as_ref().filter(|proxy| proxy.is_for(address.as_str())) else {
        return connect_to(&inner.resolver, address.as_str()).await.map_err(DialError::Unreachable);
    };
    let refused = |why: &str| {
        DialError::Unreachable(format!("connect to {address} through the proxy {}: {why}", proxy.address))
    };
    let (mut tcp, at) = connect_to(&inner.resolver, &proxy.address).await.map_err(|why| refused(&why))?;
    timeout(TUNNEL_WITHIN, tunnel::open(&mut tcp, address.as_str(), proxy))
        .await
        .map_err(|_| refused(&format!("it did not answer within {} s", TUNNEL_WITHIN.as_secs())))?
        .map_err(|why| refused(&why))?;
    Ok((tcp, address.as_str().parse().unwrap_or(at)))
}

async fn connect_to(resolver: &Resolver, address: &str) -> Result<(TcpStream, SocketAddr), String> {
    let resolved = timeout(RESOLVE_WITHIN, resolver.addresses(address))
        .await
        .map_err(|_| format!("resolve {address}: timed out"))?
        .map_err(|error| format!("resolve {address}: {}", plain(&error)))?;
    let mut failures = Vec::new();
    for remote in resolved.into_iter().take(ADDRESSES_MAX) {
        let why = match timeout(CONNECT_WITHIN, TcpStream::connect(remote)).await {
            Ok(Ok(tcp)) => match settings::prepare(&tcp) {
                Ok(()) => return Ok((tcp, remote)),
                Err(error) => plain(&error),
            },
            Ok(Err(error)) => plain(&error),
            Err(_) => format!("timed out after {} s", CONNECT_WITHIN.as_secs()),
        };
        failures.push(format!("connect to {remote}: {why}"));
    }
    if failures.is_empty() {
        failures.push(format!("resolve {address}: the name has no address"));
    }
    Err(failures.join("; "))
}

fn endpoint() -> Endpoint {
    Endpoint::from_static("http://peer")
        .initial_stream_window_size(settings::WINDOW_BYTES)
        .initial_connection_window_size(settings::WINDOW_BYTES)
        .http2_keep_alive_interval(settings::KEEPALIVE_EVERY)
        .keep_alive_timeout(settings::KEEPALIVE_WITHIN)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(settings::HEADER_BYTES_MAX)
}
