//! What the tests of APIs, metrics and command line share: a peer with real servers and a real store, whose
//! driver is a short loop that persists what is submitted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;
use sorcha_peer_core::envelope::{Envelope, Header};
use sorcha_peer_core::event::{Accepted, Event, Rung, StoreFault, SubmitRefused};
use sorcha_peer_core::message::LinkPeer;
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{Address, LinkId, PeerId, Time, TxId, WallTime};
use sorcha_peer_core::view::{
    BootstrapView, DrainView, LinkView, OutboxView, PeerView, QuarantineView, State, StatusView,
};
use sorcha_proto::v1::node_client::NodeClient;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::listen::{ApiAddress, Bound, Listener};
use super::readiness::{Certificate, Readiness};
use crate::clock::wall_now;
use crate::metrics::Metrics;
use crate::node::{Command, Identity, NodeEvent, NodeHandle};
use crate::store::{Source, Store, StoreOptions};

/// Longest body that the test peer accepts.
pub(crate) const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Far beyond what any answer takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A peer named `test-peers-0`.
pub(crate) fn identity() -> Identity {
    let uri = "spiffe://test.local/test/test-peers-0";
    Identity {
        uri: uri.to_owned(),
        id: PeerId::of_uri(uri),
        name: "test-peers-0".to_owned(),
        network: "test".to_owned(),
        site: "desk".to_owned(),
        incarnation: 3,
    }
}

/// Online with one of two peers linked.
pub(crate) fn status_view() -> StatusView {
    StatusView {
        state: State::Online,
        peers_known: 2,
        peers_linked: 1,
        rows: 1,
        row: 0,
        addresses: vec![Address::new("127.0.0.1:7450")],
        submissions_pending: 0,
        fetches_pending: 0,
        store_fault: None,
        outbox: 2,
        caught_up: true,
        drain: None,
        quarantined: 1,
        bootstrap: vec![
            BootstrapView {
                address: Address::new("127.0.0.1:7460"),
                peer: Some(PeerId::of_uri("spiffe://test.local/test/peer-0")),
                failures: 0,
                last_error: String::new(),
            },
            BootstrapView {
                address: Address::new("gone.example:7450"),
                peer: None,
                failures: 3,
                last_error: "resolve gone.example:7450: no such name\u{1b}[2J".to_owned(),
            },
        ],
    }
}

/// One linked, one not, with a name that a terminal must not obey.
fn peers() -> Vec<PeerView> {
    let peer = |name: &str, link, last_error: Option<&str>| {
        let uri = format!("spiffe://test.local/test/{name}");
        PeerView {
            id: PeerId::of_uri(&uri),
            uri,
            row: 0,
            incarnation: 1,
            addresses: vec![Address::new("127.0.0.1:7470")],
            site: "attic\x1b[2J".to_owned(),
            software: "sorcha-peer/0.1.0".to_owned(),
            link,
            last_seen: None,
            last_error: last_error.map(ToOwned::to_owned),
        }
    };
    let link = LinkView {
        link: LinkId(1),
        dialled: true,
        address: Address::new("127.0.0.1:7470"),
        rung: Rung::Stream,
        rtt: Some(Duration::from_micros(1_234)),
        since: WallTime::from_unix_ms(1_000),
        since_time: Time::ZERO,
    };
    vec![peer("test-peers-1", Some(link), None), peer("test-peers-2", None, Some("connection refused"))]
}

/// One that waits and one that does not go on.
pub(crate) fn outbox() -> Vec<OutboxView> {
    let view = |byte, undeliverable: &str| OutboxView {
        id: TxId::from_bytes([byte; 32]),
        age: Duration::from_secs(90),
        denied: 0,
        undeliverable: undeliverable.to_owned(),
    };
    vec![view(1, ""), view(2, "linked peers do not take it")]
}

/// A running test peer; its servers stop when it is dropped.
pub(crate) struct TestPeer {
    /// Local API.
    pub(crate) api: String,
    /// Admin port.
    pub(crate) admin: String,
    pub(crate) store: Store,
    node: NodeHandle,
    pub(crate) readiness: Readiness,
    pub(crate) events: broadcast::Sender<Arc<NodeEvent>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) servers: Option<tokio::task::JoinHandle<()>>,
    pub(crate) left: Option<oneshot::Receiver<()>>,
    directory: tempfile::TempDir,
}

impl Drop for TestPeer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.store.close();
    }
}

impl TestPeer {
    /// On ports of its own.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = StoreOptions { directory: directory.path().into(), cache_bytes_max: 8 << 20 };
        let (store, _) = Store::open(&options).expect("the store opens");
        let (commands, queue) = mpsc::channel(64);
        let (events, _) = broadcast::channel(16);
        let node = NodeHandle::new(commands, events.clone(), identity(), store.clone(), BODY_BYTES_MAX);
        let (leaving, left) = oneshot::channel();
        tokio::spawn(drive(queue, store.clone(), leaving));
        let shutdown = CancellationToken::new();
        let readiness = Readiness::new();
        let now = wall_now().as_unix_ms();
        readiness.set_certificate(Certificate {
            not_before: WallTime::from_unix_ms(now - 1_000),
            not_after: WallTime::from_unix_ms(now + 3_600_000),
        });
        let (local, admin) = (listener().await, listener().await);
        let (api, admin_address) = (address(&local), address(&admin));
        let serving = super::serve_local(local, node.clone(), readiness.clone(), shutdown.clone());
        let admin =
            super::serve_admin(admin, node.clone(), Metrics::new(), readiness.clone(), shutdown.clone());
        let servers = tokio::spawn(async move {
            let (local, admin) = tokio::join!(serving, admin);
            local.and(admin).expect("the servers end in order");
        });
        while !readiness.is_serving() {
            tokio::task::yield_now().await;
        }
        Self {
            api,
            admin: admin_address,
            store,
            node,
            readiness,
            events,
            shutdown,
            servers: Some(servers),
            left: Some(left),
            directory,
        }
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Serves the local API at another address too, until the shutdown.
    pub(crate) async fn serve_also(&self, at: &str) -> tokio::task::JoinHandle<()> {
        let listener = Listener::bind(&at.parse().expect("an address")).await.expect("free");
        let serving =
            super::serve_local(listener, self.node.clone(), Readiness::new(), self.shutdown.clone());
        tokio::spawn(async move { serving.await.expect("the server ends in order") })
    }

    pub(crate) async fn client(&self) -> NodeClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.api)).expect("an address");
        NodeClient::new(endpoint.connect().await.expect("the peer listens"))
    }

    /// A transaction of another peer of this name becomes durable here.
    pub(crate) async fn arrive(&self, origin: &str, sequence: u64) {
        let body = Arc::new(Body::new(Bytes::from(format!("{origin} {sequence}"))));
        let origin = PeerId::of_uri(&format!("spiffe://test.local/test/{origin}"));
        let envelope = envelope_of(origin, "r", &body, sequence);
        let (done, stored) = oneshot::channel();
        let done = Box::new(move |result: Result<u64, StoreFault>| drop(done.send(result)));
        self.store.persist(envelope, body, Source::Peer, wall_now(), done);
        stored.await.expect("answered").expect("stored");
    }

    /// Submits past the APIs.
    pub(crate) async fn submit(&self, register: &str, body: impl Into<Bytes>) -> TxId {
        let accepted = self.node.submit(register.to_owned(), body.into(), String::new()).await;
        accepted.expect("accepted").id
    }
}

async fn listener() -> Listener {
    Listener::bind(&ApiAddress::Tcp("127.0.0.1:0".to_owned())).await.expect("a free port")
}

fn address(listener: &Listener) -> String {
    match listener.bound().expect("bound") {
        Bound::Tcp(address) => address.to_string(),
        Bound::Unix => panic!("TCP was asked for"),
    }
}

/// Answers commands as the driver would; bodies that name a failure meet it.
async fn drive(mut queue: mpsc::Receiver<Command>, store: Store, leaving: oneshot::Sender<()>) {
    let mut keys: BTreeMap<String, Accepted> = BTreeMap::new();
    let mut sequence = 0;
    let mut leaving = Some(leaving);
    while let Some(command) = queue.recv().await {
        match command {
            Command::Status(reply) => drop(reply.send(status_view())),
            // Nobody else is there: transactions of the register 'held' are said to be held by two.
            Command::Holders { id, wait, reply, .. } => {
                let stored = store.transaction(&id).expect("readable");
                let held = stored.is_some_and(|stored| stored.envelope.header().register == "held");
                tokio::spawn(async move {
                    if !held {
                        tokio::time::sleep(wait).await;
                    }
                    let _gone = reply.send(if held { 2 } else { 0 });
                });
            }
            Command::Outbox(limit, reply) => drop(reply.send(outbox().into_iter().take(limit).collect())),
            Command::RetryOutbox(_, reply) | Command::DiscardOutbox(_, reply) => {
                reply.send(()).expect("the API waits for the answer");
            }
            Command::Quarantine { reply, .. } => {
                let kept = QuarantineView {
                    envelope: envelope("r", &Body::new(Bytes::from_static(b"x")), 1),
                    from: identity().id,
                    reason: "its certificate expired".to_owned(),
                    since: WallTime::from_unix_ms(1_000),
                };
                drop(reply.send(vec![kept]));
            }
            Command::Peers(reply) => drop(reply.send(peers())),
            Command::Drain { reply, .. } => {
                let reason = "no staying peer is linked".to_owned();
                drop(reply.send(DrainView { drained: false, remaining: 7, reason }));
            }
            Command::Resume(reply) => reply.send(()).expect("the API waits for the answer"),
            Command::Leave(reply) => {
                reply.send(()).expect("the API waits for the answer");
                leaving.take().expect("told once").send(()).expect("the test waits");
            }
            Command::Submit { register, body, idempotency_key, reply } => {
                if let Some(refused) = refused(&register, body.bytes()) {
                    drop(reply.send(Err(refused)));
                    continue;
                }
                if let Some(accepted) = keys.get(&idempotency_key) {
                    drop(reply.send(Ok(Accepted { duplicate: true, published_unix_ms: 0, ..*accepted })));
                    continue;
                }
                sequence += 1;
                let envelope = envelope(&register, &body, sequence);
                let accepted = Accepted {
                    id: envelope.id(),
                    duplicate: false,
                    published_unix_ms: envelope.header().published.as_unix_ms(),
                };
                if !idempotency_key.is_empty() {
                    keys.insert(idempotency_key.clone(), accepted);
                }
                let done = Box::new(move |stored: Result<u64, StoreFault>| {
                    drop(reply.send(stored.map(|_| accepted).map_err(SubmitRefused::Store)));
                });
                store.persist(envelope, body, Source::Client(idempotency_key), wall_now(), done);
            }
        }
    }
}

fn refused(register: &str, body: &Bytes) -> Option<SubmitRefused> {
    if register.len() > 128 {
        return Some(SubmitRefused::BadRegister { register: register.chars().take(80).collect() });
    }
    match &body[..] {
        b"busy" => Some(SubmitRefused::Busy { pending: 4096, retry_after: Duration::from_millis(1_500) }),
        b"full" => Some(SubmitRefused::Store(StoreFault::Full("no space left".to_owned()))),
        b"failed" => Some(SubmitRefused::Store(StoreFault::Failed("input/output error".to_owned()))),
        b"unsigned" => Some(SubmitRefused::Unsigned("the certificate expired".to_owned())),
        b"draining" => Some(SubmitRefused::Draining),
        _ => None,
    }
}

fn envelope(register: &str, body: &Body, sequence: u64) -> Arc<Envelope> {
    envelope_of(identity().id, register, body, sequence)
}

fn envelope_of(origin: PeerId, register: &str, body: &Body, sequence: u64) -> Arc<Envelope> {
    let header = Header {
        network: "test".to_owned(),
        origin,
        incarnation: 3,
        sequence,
        register: register.to_owned(),
        published: wall_now(),
        body_bytes: body.bytes().len() as u64,
        body_root: body.root(),
    };
    let signed = sorcha_proto::v1::TransactionHeader {
        network: header.network.clone(),
        origin: header.origin.as_bytes().to_vec().into(),
        incarnation: header.incarnation,
        sequence,
        register: header.register.clone(),
        published_unix_ms: header.published.as_unix_ms(),
        body_bytes: header.body_bytes,
        body_root: header.body_root.as_bytes().to_vec().into(),
    };
    let (signature, certificate) = (Bytes::from_static(b"signature"), Bytes::from_static(b"certificate"));
    Arc::new(Envelope::new(header, signed.encode_to_vec().into(), signature, certificate))
}

/// An event for those who watch.
pub(crate) fn link_event() -> Arc<NodeEvent> {
    let uri = "spiffe://test.local/test/test-peers-1".to_owned();
    let peer = LinkPeer { id: PeerId::of_uri(&uri), uri };
    let event = Event::LinkReady { link: LinkId(1), peer, dialled: true };
    Arc::new(NodeEvent { at: WallTime::from_unix_ms(1_000), event })
}

/// What came of an HTTP request.
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One HTTP/1.1 request.
pub(crate) async fn http(
    method: Method,
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = http::Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).expect("a valid request");
    let response =
        tokio::time::timeout(PATIENCE, client.request(request)).await.expect("in time").expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer { code: parts.status, headers: parts.headers, body }
}

/// One GET.
pub(crate) async fn get(address: &str, path: &str) -> Answer {
    http(Method::GET, address, path, &[], Bytes::new()).await
}

/// Bytes without a pattern that a chunk boundary could hide in.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
