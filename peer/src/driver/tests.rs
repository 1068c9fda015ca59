//! The loop with everything around it: a real core, store, transport and signatures.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;
use sorcha_peer_core::config;
use sorcha_peer_core::types::{Address, LinkId, OpId, TxId};
use sorcha_peer_pki::authority::ROOT_VALIDITY;
use sorcha_peer_pki::{Authority, IssueRequest, SpiffeId, files};
use sorcha_proto::v1;
use sorcha_proto::v1::operate_client::OperateClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::api::operate::Operator;
use crate::api::readiness::Readiness;
use crate::effects::Gathered;
use crate::node::{Identity, NodeHandle};
use crate::store::{Store, StoreOptions};
use crate::tls::TlsState;
use crate::transport::{Transport, TransportConfig};
use crate::verify::SignaturePool;

/// Far beyond what anything here takes.
const SOON: Duration = Duration::from_secs(20);
/// Short, so that the silent are soon found out.
const HEARTBEAT: Duration = Duration::from_millis(200);

struct World {
    authority: Authority,
    directory: tempfile::TempDir,
}

/// A peer without APIs.
struct TestPeer {
    node: NodeHandle,
    transport: Transport,
    at: SocketAddr,
    inputs: mpsc::Sender<Input>,
    stop: Option<oneshot::Sender<Stop>>,
    driver: JoinHandle<()>,
    state: PathBuf,
}

impl Drop for TestPeer {
    fn drop(&mut self) {
        self.driver.abort();
        self.node.store().close();
    }
}

impl World {
    fn new() -> Self {
        let authority = Authority::generate("example.org", Timestamp::now(), ROOT_VALIDITY).expect("a CA");
        Self { authority, directory: tempfile::tempdir().expect("a directory") }
    }

    fn tls(&self, name: &str) -> Arc<TlsState> {
        let uri = SpiffeId::new("example.org", "net", name).expect("an identity");
        let issued = self.authority.issue(&IssueRequest::new(uri.clone(), Timestamp::now())).expect("issued");
        let directory = self.directory.path().join(name).join("tls");
        files::write_identity(&directory, &issued, self.authority.certificate_pem()).expect("written");
        Arc::new(TlsState::load(&directory, uri, Timestamp::now()).expect("loaded"))
    }

    /// Links without anybody who would speak on them.
    async fn mute(&self, name: &str) -> (Transport, mpsc::Receiver<Input>) {
        let (inputs, network) = mpsc::channel(64);
        let config = TransportConfig::here();
        let started = Transport::start(config, self.tls(name), inputs, axum::Router::new()).await;
        (started.expect("started").0, network)
    }

    /// Dials `bootstrap`, and where there is any is not dialled itself.
    async fn peer(&self, name: &str, bootstrap: &[SocketAddr], deadline: Duration) -> TestPeer {
        let tls = self.tls(name);
        let (inputs, network) = mpsc::channel(512);
        let state = self.directory.path().join(name).join("state");
        let options = StoreOptions { directory: state.clone(), cache_bytes_max: 8 << 20 };
        let (store, recovered) = Store::open(&options).expect("a store");
        let uri = tls.current().uri.to_string();
        let (commands_in, commands) = mpsc::channel(64);
        let (events, _) = broadcast::channel(1024);
        let me = sorcha_peer_core::types::PeerId::of_uri(&uri);
        let identity = Identity {
            id: me,
            uri: uri.clone(),
            name: name.to_owned(),
            network: "net".to_owned(),
            site: String::new(),
            incarnation: recovered.incarnation,
        };
        let node = NodeHandle::new(commands_in, events.clone(), identity, store.clone(), 1 << 20);
        let operator = Operator {
            node: node.clone(),
            tls: Arc::clone(&tls),
            readiness: Readiness::new(),
            config_sha256: [7; 32],
        };
        let config = TransportConfig::here();
        let started = Transport::start(config, Arc::clone(&tls), inputs.clone(), operator.router()).await;
        let (transport, at) = started.expect("started");
        let clock = Clock::start();
        let settings = config::Config {
            network: "net".to_owned(),
            advertise: if bootstrap.is_empty() { vec![Address::new(at.to_string())] } else { Vec::new() },
            bootstrap: bootstrap.iter().map(|at| Address::new(at.to_string())).collect(),
            heartbeat_interval: HEARTBEAT,
            ..config::Config::default()
        };
        let start = config::Start {
            incarnation: recovered.incarnation,
            seed: 7,
            known: recovered.records.into(),
            ..config::Start::default()
        };
        let core = Peer::new(settings, config::Identity { uri }, start, clock.now());
        #[expect(clippy::disallowed_methods, reason = "as in the shipping peer")]
        let (completions_in, completions) = mpsc::unbounded_channel();
        let (stop_in, stop) = oneshot::channel();
        let effects = Effects {
            me,
            store,
            transport: transport.clone(),
            metrics: Metrics::new(),
            signatures: SignaturePool::start(tls, 2, Box::new(|| Duration::ZERO)).expect("threads"),
            packing: true,
            completions: completions_in,
            gathered: Gathered::default(),
        };
        let driver = Driver::new(core, clock, effects, Metrics::new(), events);
        let driver = tokio::spawn(async move {
            let hurry = CancellationToken::new();
            driver.run(Sources { network, completions, commands, stop, hurry }, deadline).await;
        });
        TestPeer { node, transport, at, inputs, stop: Some(stop_in), driver, state }
    }
}

/// A line to `to` that carries bytes while it is open, and otherwise stands still.
async fn line(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            if open.wait_for(|open| *open).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    }
    let (open, is_open) = watch::channel(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(to).await else { return };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_in, far_out, is_open.clone()));
            tokio::spawn(carry(far_in, near_out, is_open.clone()));
        }
    });
    (at, open)
}

impl TestPeer {
    async fn submit(&self, body: &'static str) -> TxId {
        let submitted = self.node.submit("r".to_owned(), Bytes::from_static(body.as_bytes()), String::new());
        timeout(SOON, submitted).await.expect("an answer").expect("accepted").id
    }

    async fn until(&self, what: &str, holds: impl Fn(&sorcha_peer_core::view::StatusView) -> bool) {
        let waited = timeout(SOON, async {
            while !holds(&self.node.status().await.expect("it runs")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what} was awaited"));
    }

    /// Tells it to stop; how long the driver takes.
    async fn stop(&mut self) -> Duration {
        let started = Instant::now();
        self.stop.take().expect("not stopped yet").send(Stop { leaving: false }).expect("it runs");
        timeout(SOON, &mut self.driver).await.expect("it ends").expect("without a panic");
        started.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_is_on_disk_before_it_is_answered_and_reaches_the_other() {
    let world = World::new();
    let alice = world.peer("alice", &[], SOON).await;
    let bob = world.peer("bob", &[alice.at], SOON).await;
    alice.until("a link", |status| status.peers_linked == 1).await;
    for body in ["one", "two", "three"] {
        let id = alice.submit(body).await;
        // What is in the files at this moment is all that a crash would leave.
        let copy = tempfile::tempdir().expect("a directory");
        for name in ["store.journal", "store.redb"] {
            std::fs::copy(alice.state.join(name), copy.path().join(name)).expect("copied");
        }
        let options = StoreOptions { directory: copy.path().to_owned(), cache_bytes_max: 8 << 20 };
        let (left, _) = Store::open(&options).expect("it opens");
        assert_eq!(left.body(&id), Ok(Some(Bytes::from_static(body.as_bytes()))));
        left.close();
        let mut head = bob.node.store().head();
        let arrives = async {
            while bob.node.store().body(&id).expect("readable").is_none() {
                head.changed().await.expect("open");
            }
        };
        timeout(SOON, arrives).await.expect("it arrives");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_forgotten_and_stops() {
    let world = World::new();
    let mut alice = world.peer("alice", &[], SOON).await;
    let bob = world.peer("bob", &[alice.at], SOON).await;
    bob.until("a link", |status| status.peers_linked == 1).await;
    alice.node.leave().await.expect("it runs");
    timeout(SOON, &mut alice.driver).await.expect("it ends").expect("without a panic");
    assert_eq!(alice.node.status().await, Err(crate::node::Stopped));
    let refused = alice.node.submit("r".to_owned(), Bytes::new(), String::new()).await;
    assert_eq!(refused, Err(SubmitRefused::Draining));
    bob.until("nobody", |status| status.peers_known == 0 && status.peers_linked == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_the_silent_no_longer_than_it_may() {
    let world = World::new();
    let hurried = Duration::from_millis(300);
    let mut alice = world.peer("alice", &[], hurried).await;
    let (line, open) = line(alice.at).await;
    let _bob = world.peer("bob", &[line], SOON).await;
    alice.until("a link", |status| status.peers_linked == 1).await;
    open.send_replace(false);
    let took = alice.stop().await;
    assert!((hurried..hurried * 3).contains(&took), "{took:?}");
    let started = Instant::now();
    alice.transport.shutdown(hurried).await;
    assert!(started.elapsed() < hurried * 3, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_two_hundred_links_in_time() {
    let world = World::new();
    let mut alice = world.peer("alice", &[], Duration::from_secs(5)).await;
    let mut mute = Vec::new();
    for number in 0..25 {
        let (transport, mut network) = world.mute(&format!("mute-{number}")).await;
        for op in 0..8 {
            transport.dial(OpId(op), Address::new(alice.at.to_string()), None);
            let input = timeout(SOON, network.recv()).await.expect("a link");
            assert!(matches!(input, Some(Input::LinkUp(_) | Input::Frame { .. })), "{input:?}");
        }
        mute.push((transport, network));
    }
    let started = Instant::now();
    alice.stop().await;
    alice.transport.shutdown(Duration::from_secs(5)).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_on_which_nobody_says_hello_ends() {
    let world = World::new();
    let alice = world.peer("alice", &[], SOON).await;
    let (transport, mut network) = world.mute("mute").await;
    transport.dial(OpId(1), Address::new(alice.at.to_string()), None);
    let ended = async {
        loop {
            match network.recv().await.expect("the transport lives") {
                Input::LinkDown { .. } => return,
                Input::LinkUp(_) | Input::Frame { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(SOON, ended).await.expect("the link ends");
    assert_eq!(alice.node.status().await.expect("it runs").peers_linked, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_the_network_does_not_keep_applications_waiting() {
    let world = World::new();
    let alice = world.peer("alice", &[], SOON).await;
    let floods: Vec<_> = (0..4)
        .map(|link| {
            let inputs = alice.inputs.clone();
            let input = move || Input::BadFrame { link: LinkId(1000 + link), error: "nonsense".to_owned() };
            tokio::spawn(async move { while inputs.send(input()).await.is_ok() {} })
        })
        .collect();
    let started = Instant::now();
    for _ in 0..20 {
        alice.node.status().await.expect("it runs");
        alice.submit("among the flood").await;
    }
    let took = started.elapsed();
    assert!(took < SOON / 2, "{took:?}");
    for flood in floods {
        flood.abort();
    }
}

/// The operator's connection to a peer.
async fn operate(world: &World, name: &str, to: SocketAddr) -> OperateClient<tonic::transport::Channel> {
    let tls = world.tls(name).current();
    let connector = tower::service_fn(move |_| {
        let tls = Arc::clone(&tls);
        async move {
            let tcp = TcpStream::connect(to).await?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.client));
            let name = rustls_pki_types::ServerName::IpAddress(to.ip().into());
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://peer");
    OperateClient::new(endpoint.connect_with_connector(connector).await.expect("a connection"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_alone_is_told_and_obeyed_and_is_no_peer() {
    let world = World::new();
    let alice = world.peer("alice", &[], SOON).await;
    let bob = world.peer("bob", &[alice.at], SOON).await;
    bob.until("a link and all that the other had", |status| status.peers_linked == 1 && status.caught_up)
        .await;
    let mut stranger = operate(&world, "bob", alice.at).await;
    let refused = stranger.get_report(v1::GetReportRequest {}).await.expect_err("a peer is not the operator");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("spiffe://example.org/net/operator alone"), "{refused}");

    let mut operator = operate(&world, "operator", bob.at).await;
    let report = |report: tonic::Response<v1::PeerReport>| report.into_inner();
    let first = report(operator.get_report(v1::GetReportRequest {}).await.expect("a report"));
    assert_eq!((first.uri.as_str(), first.state.as_str()), ("spiffe://example.org/net/bob", "online"));
    assert_eq!((first.peers_known, first.peers_linked, first.draining), (1, 1, false));
    assert_eq!((&first.config_digest[..], first.bundle_digest.len()), (&[7; 32][..], 32));

    world.tls("bob");
    let renewed = report(operator.reload(v1::ReloadRequest {}).await.expect("taken"));
    assert_ne!(renewed.certificate_digest, first.certificate_digest);
    assert_eq!(renewed.issuer_digest, first.issuer_digest);
    let key = world.directory.path().join("bob/tls/tls.key");
    let good = std::fs::read(&key).expect("there");
    std::fs::write(&key, "no key").expect("written");
    let refused = operator.reload(v1::ReloadRequest {}).await.expect_err("broken");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let kept = report(operator.get_report(v1::GetReportRequest {}).await.expect("a report"));
    assert_eq!(kept.certificate_digest, renewed.certificate_digest);
    assert!(kept.reload_fault.contains("tls.key is not usable"), "{}", kept.reload_fault);
    std::fs::write(&key, good).expect("written");
    let taken = report(operator.reload(v1::ReloadRequest {}).await.expect("taken"));
    assert_eq!(taken.reload_fault, "");

    // Whoever is the operator by its certificate has no links, and nobody hears of it.
    let (mute, mut heard) = world.mute("operator").await;
    mute.dial(OpId(1), Address::new(alice.at.to_string()), None);
    let dialled = timeout(SOON, heard.recv()).await.expect("an answer").expect("the transport lives");
    assert!(matches!(&dialled, Input::DialFailed { .. } | Input::LinkUp(_)), "{dialled:?}");
    let known = alice.node.peers().await.expect("it runs");
    assert_eq!(
        known.iter().map(|peer| peer.uri.as_str()).collect::<Vec<_>>(),
        ["spiffe://example.org/net/bob"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_drained_leaves_nothing_behind_and_can_be_taken_back() {
    let world = World::new();
    let alice = world.peer("alice", &[], SOON).await;
    let bob = world.peer("bob", &[alice.at], SOON).await;
    bob.until("a link", |status| status.peers_linked == 1).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(bob.submit("to be kept").await);
    }
    let mut operator = operate(&world, "operator", bob.at).await;
    let leaving = vec!["spiffe://example.org/net/bob".to_owned()];
    let request =
        |leaving: &[String], leave| v1::DrainRequest { wait_ms: 20_000, leaving: leaving.to_vec(), leave };
    let nobody_stays = [&leaving[..], &["spiffe://example.org/net/alice".to_owned()]].concat();
    let short = v1::DrainRequest { wait_ms: 300, ..request(&nobody_stays, false) };
    let answer = operator.drain(short).await.expect("an answer").into_inner();
    assert_eq!((answer.drained, answer.reason.as_str()), (false, "no staying peer is linked"));

    let answer = operator.drain(request(&leaving, true)).await.expect("an answer").into_inner();
    assert_eq!((answer.drained, answer.remaining, answer.reason.as_str()), (true, 0, ""));
    for id in &ids {
        assert!(alice.node.store().body(id).expect("readable").is_some());
    }
    let refused = bob.node.submit("r".to_owned(), Bytes::from_static(b"late"), String::new()).await;
    assert_eq!(refused, Err(SubmitRefused::Draining));
    alice.until("it is forgotten", |status| status.peers_known == 0 && status.peers_linked == 0).await;
    let report = operator.get_report(v1::GetReportRequest {}).await.expect("it still answers").into_inner();
    assert_eq!((report.state.as_str(), report.draining, report.outbox), ("draining", true, 0));

    let report = operator.resume(v1::ResumeRequest {}).await.expect("taken back").into_inner();
    assert!(!report.draining);
    bob.submit("again").await;
    alice.until("it is back", |status| status.peers_linked == 1).await;
}
