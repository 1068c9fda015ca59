//! Who gets a link and who does not.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use sorcha_peer_core::event::DialError;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Peer, SOON, World, link};

#[track_caller]
fn untrusted(error: &DialError, part: &str) {
    assert!(matches!(error, DialError::Untrusted(_)), "{error:?}");
    assert!(error.to_string().contains(part), "{error}\nwanted: {part}");
}

/// Neither side's dial gives a link: the honest one says why (`part`), the other that it was refused.
async fn refused(mut honest: Peer, mut other: Peer, part: &str) {
    honest.dial(1, &other);
    untrusted(&honest.dial_failed().await, part);
    // The other trusts the honest one; the answer to its own certificate comes after its handshake.
    other.dial(2, &honest);
    untrusted(&other.dial_failed().await, "it refuses this peer's certificate (CertificateUnknown)");
    assert!(honest.inputs.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_of_an_unknown_ca_is_refused_by_both_directions() {
    let (ours, theirs) = (World::new(), World::new());
    let other = Peer::start(theirs.tls("net", "mallory", Timestamp::now(), &[&ours]), 10).await;
    refused(ours.peer("alice").await, other, "is signed by an unknown CA").await;
}

#[tokio::test]
async fn an_expired_peer_is_refused_by_both_directions() {
    let past = Timestamp::now() - SignedDuration::from_hours(31 * 24);
    let world = World::at(past);
    let other = Peer::start(world.tls("net", "old", past, &[]), 10).await;
    refused(world.peer("alice").await, other, "spiffe://example.org/net/old expired at").await;
}

#[tokio::test]
async fn a_peer_from_the_future_is_refused_by_both_directions() {
    let world = World::new();
    let future = Timestamp::now() + SignedDuration::from_hours(24);
    let other = Peer::start(world.tls("net", "early", future, &[]), 10).await;
    refused(world.peer("alice").await, other, "spiffe://example.org/net/early is not valid before").await;
}

#[tokio::test]
async fn a_peer_of_another_network_is_refused_by_both_directions() {
    let world = World::new();
    let (mut alice, mut other) = (
        world.peer("alice").await,
        Peer::start(world.tls("elsewhere", "bob", Timestamp::now(), &[]), 10).await,
    );
    let part =
        "spiffe://example.org/elsewhere/bob belongs to the network 'elsewhere', and this peer to 'net'";
    alice.dial(1, &other);
    untrusted(&alice.dial_failed().await, part);
    other.dial(2, &alice);
    untrusted(&other.dial_failed().await, "belongs to the network 'net', and this peer to 'elsewhere'");
}

#[tokio::test]
async fn a_reload_is_used_by_the_next_handshake() {
    let world = World::new();
    let stranger = World::new();
    let tls = world.tls("net", "alice", Timestamp::now(), &[]);
    let mut alice = Peer::start(tls.clone(), 10).await;
    let mut bob = Peer::start(stranger.tls("net", "bob", Timestamp::now(), &[&world]), 10).await;
    alice.dial(1, &bob);
    untrusted(&alice.dial_failed().await, "unknown CA");
    // The same directory, written again with one more root.
    world.tls("net", "alice", Timestamp::now(), &[&stranger]);
    tls.reload(Timestamp::now()).unwrap();
    link(&mut alice, &mut bob).await;
    // And without it again: links are refused to whom they were granted before.
    world.tls("net", "alice", Timestamp::now(), &[]);
    tls.reload(Timestamp::now()).unwrap();
    bob.dial(2, &alice);
    untrusted(&bob.dial_failed().await, "it refuses this peer's certificate");
}

#[tokio::test]
async fn a_client_that_would_resume_a_session_is_checked_again() {
    let (world, stranger) = (World::new(), World::new());
    let tls = world.tls("net", "alice", Timestamp::now(), &[&stranger]);
    let alice = Peer::start(tls.clone(), 10).await;
    let mut config =
        ClientConfig::clone(&stranger.tls("net", "bob", Timestamp::now(), &[&world]).current().client);
    config.resumption = Resumption::in_memory_sessions(8);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let ask = async || {
        let tcp = TcpStream::connect(alice.at).await.unwrap();
        let mut stream = connector.connect(ServerName::try_from("peer").unwrap(), tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        let request = b"GET /v1/identity HTTP/1.1\r\nhost: peer\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    for _ in 0..2 {
        assert!(ask().await.starts_with("HTTP/1.1 200 OK"));
    }
    world.tls("net", "alice", Timestamp::now(), &[]);
    tls.reload(Timestamp::now()).unwrap();
    assert_eq!(ask().await, "");
}
