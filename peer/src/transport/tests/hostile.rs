//! Those who connect and then do not what a peer does: they get little, and not for long.

use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::attacks::tls;
use super::{Peer, SOON, World, link};
use crate::transport::settings::Patience;

const PATIENCE: Patience = Patience {
    handshake: Duration::from_secs(2),
    link: Duration::from_millis(500),
    climb: Duration::from_secs(2),
    hold: Duration::from_secs(10),
};

async fn impatient(world: &World, links_max: usize) -> Peer {
    Peer::start_with(world.tls("net", "alice", Timestamp::now(), &[]), links_max, PATIENCE).await
}

/// The other side has closed: its descriptor is free again.
async fn ended(mut stream: impl AsyncReadExt + Unpin) {
    let mut answer = Vec::new();
    // Whether in order or not.
    let _ended = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection ends");
}

#[tokio::test]
async fn half_handshakes_take_no_place_of_a_peer_and_are_ended() {
    let world = World::new();
    let (mut alice, mut bob) = (impatient(&world, 1).await, world.peer("bob").await);
    let mut open = Vec::new();
    // More than there are places for peers with a certificate.
    for number in 0..100 {
        let mut stream = TcpStream::connect(alice.at).await.unwrap();
        // The head of a record that never comes (RFC 8446 § 5.1), or nothing.
        let begin: &[u8] = if number % 2 == 0 { &[22, 3, 1, 2, 0, 1] } else { &[] };
        stream.write_all(begin).await.unwrap();
        open.push(stream);
    }
    let started = Instant::now();
    let (at_bob, at_alice) = link(&mut bob, &mut alice).await;
    assert!(started.elapsed() < PATIENCE.handshake, "it waited for the others: {:?}", started.elapsed());
    for stream in open {
        ended(stream).await;
    }
    bob.transport.send(at_bob.link, sorcha_peer_core::event::Class::Control, &super::ping(1));
    assert_eq!(alice.frame().await.0, at_alice.link);
}

#[tokio::test]
async fn a_connection_without_a_link_is_ended_and_one_with_a_link_is_not() {
    let world = World::new();
    let (mut alice, mut bob) = (impatient(&world, 10).await, world.peer("bob").await);
    let (at_bob, at_alice) = link(&mut bob, &mut alice).await;
    let config = || world.tls("net", "mallory", Timestamp::now(), &[]).current().client.clone();
    let silent = tls(&alice, config()).await.unwrap();
    let mut slow = tls(&alice, config()).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    // A whole HTTP/2 connection that asks for nothing, and answers its pings.
    let mut stream = Some(TokioIo::new(tls(&alice, config()).await.unwrap()));
    let connector = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://peer");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    ended(silent).await;
    ended(slow).await;
    tokio::time::sleep(PATIENCE.link).await;
    let mut client = sorcha_proto::v1::peer_link_client::PeerLinkClient::new(channel);
    let late = timeout(SOON, client.stream(tokio_stream::pending())).await.expect("an answer");
    assert!(late.is_err(), "the connection still stands");
    assert!(alice.inputs.try_recv().is_err());
    bob.transport.send(at_bob.link, sorcha_peer_core::event::Class::Control, &super::ping(1));
    assert_eq!(alice.frame().await.0, at_alice.link);
}

#[tokio::test]
async fn one_peer_cannot_take_the_connections_of_all() {
    let world = World::new();
    let (mut alice, mut mallory, mut bob) =
        (impatient(&world, 10).await, world.peer("mallory").await, world.peer("bob").await);
    for _ in 0..8 {
        link(&mut mallory, &mut alice).await;
    }
    mallory.dial(9, &alice);
    mallory.dial_failed().await;
    link(&mut bob, &mut alice).await;
}
