//! Calls to a peer that is a few lines, over real TLS with certificates of a real authority.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sorcha_operator_plan::step::PeerAddress;
use sorcha_peer_pki::IssueRequest;
use sorcha_proto::v1;
use sorcha_proto::v1::operate_server::{Operate, OperateServer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

use super::{PeerError, Peers};
use crate::ca::Realm;
use crate::ca::tests::{Network, with_authority};

/// What the peer is made to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    Refuses,
    SaysAnotherName,
}

#[derive(Clone)]
struct FakePeer {
    mood: Mood,
    connections: Arc<AtomicUsize>,
}

impl FakePeer {
    fn report(&self) -> Result<Response<v1::PeerReport>, Status> {
        let uri = match self.mood {
            Mood::Answers => "spiffe://example.org/net/ledger-peers-0",
            Mood::Refuses => return Err(Status::failed_precondition("tls.key is not\nusable")),
            Mood::SaysAnotherName => "spiffe://example.org/net/ledger-peers-1",
        };
        Ok(Response::new(v1::PeerReport {
            uri: uri.to_owned(),
            state: "online".to_owned(),
            outbox: 3,
            caught_up: true,
            config_digest: vec![0xab; 32].into(),
            certificate_not_after_unix_ms: 5,
            ..v1::PeerReport::default()
        }))
    }
}

#[tonic::async_trait]
impl Operate for FakePeer {
    async fn get_report(&self, _: Request<v1::GetReportRequest>) -> Result<Response<v1::PeerReport>, Status> {
        self.report()
    }

    async fn reload(&self, _: Request<v1::ReloadRequest>) -> Result<Response<v1::PeerReport>, Status> {
        self.report()
    }

    async fn resume(&self, _: Request<v1::ResumeRequest>) -> Result<Response<v1::PeerReport>, Status> {
        self.report()
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let request = request.into_inner();
        let remaining = u64::from(request.wait_ms) + request.leaving.len() as u64;
        Ok(Response::new(v1::DrainResponse { drained: request.leave, remaining, reason: String::new() }))
    }
}

/// Serves as `name` on the loopback; says on which port.
async fn serve(network: &Network, name: &str, peer: FakePeer) -> u16 {
    let uri = format!("spiffe://example.org/net/{name}").parse().unwrap();
    let issued = network.authority.issue(&IssueRequest::new(uri, Timestamp::now())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(network.authority.certificate().to_vec())).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, peer) = (acceptor.clone(), peer.clone());
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                peer.connections.fetch_add(1, Ordering::Relaxed);
                let service = hyper_util::service::TowerToHyperService::new(OperateServer::new(peer));
                let executor = hyper_util::rt::TokioExecutor::new();
                let connection = hyper::server::conn::http2::Builder::new(executor);
                let _ended = connection.serve_connection(hyper_util::rt::TokioIo::new(tls), service).await;
            });
        }
    });
    port
}

/// A network, a fake peer of it, and the way to it.
async fn scene(name: &str, mood: Mood) -> (Peers, Realm, PeerAddress, Arc<AtomicUsize>) {
    let network = with_authority().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let peer = FakePeer { mood, connections: Arc::clone(&connections) };
    let port = serve(&network, name, peer).await;
    let address = PeerAddress {
        pod: "ledger-peers-0".to_owned(),
        pod_uid: "1".to_owned(),
        uri: "spiffe://example.org/net/ledger-peers-0".to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    (Peers::on_port(network.authorities, port), network.realm, address, connections)
}

#[tokio::test]
async fn a_peer_is_asked_again_on_the_same_connection() {
    let (peers, realm, address, connections) = scene("ledger-peers-0", Mood::Answers).await;
    for _ in 0..3 {
        let seen = peers.report(&realm, &address).await.unwrap();
        assert_eq!((seen.outbox, seen.is_caught_up, seen.state.as_str()), (3, true, "online"));
        assert_eq!((seen.config_digest, seen.store_fault), ("ab".repeat(32), None));
    }
    let leaving = [address.uri.clone()];
    let drain = peers.drain(&realm, &address, &leaving, true, Duration::from_millis(20)).await.unwrap();
    assert_eq!((drain.is_drained, drain.remaining), (true, 21));
    assert_eq!((connections.load(Ordering::Relaxed), peers.connections()), (1, 1));
}

#[tokio::test]
async fn a_peer_under_another_name_is_not_asked() {
    let (peers, realm, address, _) = scene("ledger-peers-1", Mood::Answers).await;
    let error = peers.report(&realm, &address).await.unwrap_err();
    assert!(matches!(error, PeerError::Untrusted { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("answers as spiffe://example.org/net/ledger-peers-1, not as"), "{error}");
}

#[tokio::test]
async fn what_a_peer_says_comes_as_one_line() {
    let (peers, realm, address, _) = scene("ledger-peers-0", Mood::Refuses).await;
    let error = peers.reload(&realm, &address).await.unwrap_err().to_string();
    assert_eq!(error, "ledger-peers-0 refuses: tls.key is not usable");
    let (peers, realm, address, _) = scene("ledger-peers-0", Mood::SaysAnotherName).await;
    let error = peers.resume(&realm, &address).await.unwrap_err().to_string();
    assert!(error.contains("it reports as spiffe://example.org/net/ledger-peers-1"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_a_sentence_within_seconds() {
    let (peers, realm, mut address, _) = scene("ledger-peers-0", Mood::Answers).await;
    address.address = IpAddr::V4(Ipv4Addr::new(127, 99, 99, 99));
    let started = std::time::Instant::now();
    let error = peers.report(&realm, &address).await.unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5) && peers.connections() == 0);
}

#[tokio::test]
async fn who_does_not_trust_the_operator_says_so() {
    let (theirs, ours) = (with_authority().await, with_authority().await);
    let peer = FakePeer { mood: Mood::Answers, connections: Arc::default() };
    let port = serve(&theirs, "ledger-peers-0", peer).await;
    let address = PeerAddress {
        pod: "ledger-peers-0".to_owned(),
        pod_uid: "1".to_owned(),
        uri: "spiffe://example.org/net/ledger-peers-0".to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let peers = Peers::on_port(ours.authorities, port);
    let error = peers.report(&ours.realm, &address).await.unwrap_err().to_string();
    assert!(error.contains("presents a certificate that is refused"), "{error}");
}
