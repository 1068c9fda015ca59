//! Opening a link: names to addresses, TCP, TLS, who is there, then the stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sorcha_peer_core::event::DialError;
use sorcha_peer_core::types::{Address, OpId, PeerId};
use sorcha_proto::v1::peer_link_client::PeerLinkClient;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};
use tonic::transport::Endpoint;

use super::Inner;
use super::io::{Fault, PeerStream, plain, spoken};
use super::link::Outgoing;
use super::resolve::Resolver;
use super::settings;

/// The whole dial.
pub(super) const DIAL_WITHIN: Duration = Duration::from_secs(20);
/// Resolving a name.
const RESOLVE_WITHIN: Duration = Duration::from_secs(3);
/// TCP to one address.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried, in the order of the resolver.
const ADDRESSES_MAX: usize = 4;

fn unfinished(address: &Address, what: &str) -> DialError {
    DialError::Unfinished(format!("connect to {address}: {what}"))
}

/// Dials within [`DIAL_WITHIN`]; where a link comes of it, it runs on its own.
pub(super) async fn dial(
    inner: &Arc<Inner>,
    op: OpId,
    address: &Address,
    expect: Option<PeerId>,
) -> Result<(), DialError> {
    let until = Instant::now() + DIAL_WITHIN;
    let late = || format!("connect to {address}: timed out after {} s", DIAL_WITHIN.as_secs());
    let connected = timeout_at(until, connect(&inner.resolver, address)).await;
    let connection = connected.map_err(|_| DialError::Unreachable(late()))??;
    let linked = timeout_at(until, link(inner, op, address, expect, connection)).await;
    linked.map_err(|_| DialError::Unfinished(late()))?
}

/// From a connection to a link.
async fn link(
    inner: &Arc<Inner>,
    op: OpId,
    address: &Address,
    expect: Option<PeerId>,
    (tcp, remote): (TcpStream, SocketAddr),
) -> Result<(), DialError> {
    let host = address.as_str().rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).unwrap_or(ServerName::IpAddress(remote.ip().into()));
    let connector = TlsConnector::from(Arc::clone(&inner.tls.current().client));
    let refused = |fault: &Fault| match fault {
        Fault::Untrusted(why) => DialError::Untrusted(format!("{address}: {why}")),
        Fault::Broken(why) => unfinished(address, why),
    };
    let tls = connector.connect(name, tcp).await.map_err(|error| refused(&Fault::of(&error)))?;
    let stream = PeerStream::new(TlsStream::Client(tls), remote, inner.root.child_token())
        .map_err(|fault| refused(&fault))?;
    let info = stream.info().clone();
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
        inner.links.run(id, link, info, Some(op), address, answer.into_inner()).await;
        // The channel ends with its last client, and the connection with it.
        drop(client);
    });
    Ok(())
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

async fn connect(resolver: &Resolver, address: &Address) -> Result<(TcpStream, SocketAddr), DialError> {
    let resolved = timeout(RESOLVE_WITHIN, resolver.addresses(address.as_str()))
        .await
        .map_err(|_| DialError::Unreachable(format!("resolve {address}: timed out")))?
        .map_err(|error| DialError::Unreachable(format!("resolve {address}: {}", plain(&error))))?;
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
    Err(DialError::Unreachable(failures.join("; ")))
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
