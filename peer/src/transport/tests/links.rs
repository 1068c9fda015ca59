//! Links between honest peers.

use std::time::{Duration, Instant};

use sorcha_peer_core::event::{Class, DialError, Opened, Rung};
use sorcha_peer_core::types::{Address, LinkId, OpId};

use super::{Peer, SOON, World, chunk, link, ping};
use crate::transport::{Transport, TransportConfig, TransportError};

#[tokio::test]
async fn frames_go_both_ways_and_each_side_knows_the_other() {
    let world = World::new();
    let (mut alice, mut bob) = (world.peer("alice").await, world.peer("bob").await);
    let (at_alice, at_bob) = link(&mut alice, &mut bob).await;
    assert_eq!(at_alice.peer.uri, "spiffe://example.org/net/bob");
    assert_eq!(at_bob.peer.uri, "spiffe://example.org/net/alice");
    assert_eq!((at_alice.opened, at_bob.opened), (Opened::Dialled(OpId(1)), Opened::Accepted));
    assert_eq!((at_alice.address, at_alice.rung), (bob.address(), Rung::Stream));
    for sequence in 1..=100 {
        alice.transport.send(at_alice.link, Class::Push, &ping(sequence));
        bob.transport.send(at_bob.link, Class::Push, &ping(1000 + sequence));
    }
    for sequence in 1..=100 {
        assert_eq!(bob.frame().await, (at_bob.link, ping(sequence)));
        assert_eq!(alice.frame().await, (at_alice.link, ping(1000 + sequence)));
    }
}

#[tokio::test]
async fn a_closed_link_sends_what_is_queued_and_tells_both_sides_why() {
    let world = World::new();
    let (mut alice, mut bob) = (world.peer("alice").await, world.peer("bob").await);
    // Once from the side that dialled, once from the other.
    for _ in 0..2 {
        let (at_alice, at_bob) = link(&mut alice, &mut bob).await;
        for sequence in 1..=50 {
            alice.transport.send(at_alice.link, Class::Bulk, &chunk(sequence, 16 * 1024));
        }
        alice.transport.close(at_alice.link, "not wanted any more".into());
        alice.transport.send(at_alice.link, Class::Control, &ping(99));
        for sequence in 1..=50 {
            assert_eq!(bob.frame().await.1.sequence, sequence);
        }
        assert_eq!(bob.down(at_bob.link).await, "the other side closed the link");
        assert_eq!(alice.down(at_alice.link).await, "not wanted any more");
        std::mem::swap(&mut alice, &mut bob);
    }
}

#[tokio::test]
async fn a_link_is_never_used_again() {
    let world = World::new();
    let (mut alice, mut bob) = (world.peer("alice").await, world.peer("bob").await);
    let (first, at_bob) = link(&mut alice, &mut bob).await;
    alice.transport.close(first.link, "once".into());
    bob.down(at_bob.link).await;
    alice.down(first.link).await;
    let (second, _) = link(&mut alice, &mut bob).await;
    assert!(second.link > first.link);
    alice.transport.send(first.link, Class::Control, &ping(1));
    alice.transport.close(LinkId(999), "unknown".into());
    alice.transport.send(second.link, Class::Control, &ping(2));
    assert_eq!(bob.frame().await.1, ping(2));
}

#[tokio::test]
async fn an_urgent_frame_overtakes_bulk() {
    let world = World::new();
    let (mut alice, mut bob) = (world.peer("alice").await, world.peer("bob").await);
    let (at_alice, _) = link(&mut alice, &mut bob).await;
    for sequence in 1..=200 {
        alice.transport.send(at_alice.link, Class::Bulk, &chunk(sequence, 16 * 1024));
    }
    alice.transport.send(at_alice.link, Class::Control, &ping(9999));
    let mut before = 0;
    while bob.frame().await.1 != ping(9999) {
        before += 1;
    }
    // All was queued before the writer ran again, so the ping goes out among the first.
    assert!(before < 30, "{before} frames of bulk came first");
}

#[tokio::test]
async fn another_peer_than_expected_is_refused_with_its_name() {
    let world = World::new();
    let (mut alice, bob) = (world.peer("alice").await, world.peer("bob").await);
    let wanted = sorcha_peer_core::types::PeerId::of_uri("spiffe://example.org/net/carol");
    alice.transport.dial(OpId(7), bob.address(), Some(wanted));
    let found = "spiffe://example.org/net/bob".to_owned();
    assert_eq!(alice.dial_failed().await, DialError::OtherPeer { address: bob.at.to_string(), found });
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_is_named_with_the_reason() {
    let world = World::new();
    let mut alice = world.peer("alice").await;
    let free = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    alice.transport.dial(OpId(1), Address::new(free.to_string()), None);
    let wanted = DialError::Unreachable(format!("connect to {free}: connection refused"));
    assert_eq!(alice.dial_failed().await, wanted);
    for (address, part) in
        [("nowhere.invalid:7450", "resolve nowhere.invalid:7450: "), ("no port", "resolve no port: ")]
    {
        alice.transport.dial(OpId(2), Address::new(address), None);
        let error = alice.dial_failed().await.to_string();
        assert!(error.starts_with(part), "{error}");
    }
}

#[tokio::test]
async fn a_peer_with_all_the_links_it_may_have_refuses_another() {
    let world = World::new();
    let tls = world.tls("net", "full", jiff::Timestamp::now(), &[]);
    let mut full = Peer::start(tls, 1).await;
    let (mut alice, mut bob) = (world.peer("alice").await, world.peer("bob").await);
    let (at_alice, at_full) = link(&mut alice, &mut full).await;
    bob.dial(2, &full);
    let error = bob.dial_failed().await.to_string();
    assert!(error.contains("as many links as limits.linksMax allows"), "{error}");
    full.dial(3, &bob);
    let error = full.dial_failed().await.to_string();
    assert!(error.contains("this peer has all the links it may have"), "{error}");
    alice.transport.close(at_alice.link, "room".into());
    full.down(at_full.link).await;
    bob.dial(4, &full);
    bob.up().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let world = World::new();
    let alice = world.peer("alice").await;
    let start = |listen| {
        let tls = world.tls("net", "bob", jiff::Timestamp::now(), &[]);
        let config = TransportConfig { listen, links_max: 1, ..TransportConfig::here() };
        Transport::start(config, tls, tokio::sync::mpsc::channel(1).0, axum::Router::new())
    };
    let error = start(alice.at).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { address } if address == alice.at));
    let error = error.to_string();
    assert!(error.contains("is in use by another program") && error.contains("listen.peer"), "{error}");
    let error = start("192.0.2.1:7450".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("cannot listen on 192.0.2.1:7450"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_links_stand_and_carry_frames() {
    const LINKS: u64 = 200;
    let world = World::new();
    let mut bob = world.peer("bob").await;
    let mut others = Vec::new();
    for number in 0..LINKS / 8 {
        others.push(world.peer(&format!("peer-{number}")).await);
    }
    for op in 0..LINKS {
        others[(op / 8) as usize].dial(op, &bob);
    }
    let mut links = Vec::new();
    for number in 0..LINKS as usize {
        links.push((number / 8, others[number / 8].up().await.link));
    }
    for _ in 0..LINKS {
        bob.up().await;
    }
    for (index, (other, link)) in links.iter().enumerate() {
        others[*other].transport.send(*link, Class::Push, &ping(index as u64 + 1));
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..LINKS {
        seen.insert(bob.frame().await.1.sequence);
    }
    assert_eq!(seen.len() as u64, LINKS);
}

#[tokio::test]
async fn a_shutdown_ends_within_its_deadline_and_tells_every_link() {
    let world = World::new();
    let (mut alice, mut bob, mut carol) =
        (world.peer("alice").await, world.peer("bob").await, world.peer("carol").await);
    let (_, at_bob) = link(&mut alice, &mut bob).await;
    let (at_carol, _) = link(&mut carol, &mut alice).await;
    let started = Instant::now();
    alice.transport.shutdown(Duration::from_secs(5)).await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(bob.down(at_bob.link).await, "the other side closed the link");
    carol.down(at_carol.link).await;
    for _ in 0..2 {
        let input = alice.next().await;
        assert!(
            matches!(&input, sorcha_peer_core::Input::LinkDown { reason, .. } if reason == "the peer is shutting down"),
            "{input:?}"
        );
    }
    bob.dial(9, &alice);
    let error = bob.dial_failed().await.to_string();
    assert!(error.contains("connection refused"), "{error}");
    alice.dial(10, &bob);
    assert!(alice.dial_failed().await.to_string().contains("shutting down"));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_peer_that_reads_nothing() {
    let world = World::new();
    let (mut alice, mut bob) = (world.peer("alice").await, world.peer("bob").await);
    let (at_alice, _) = link(&mut alice, &mut bob).await;
    // Bob's driver takes nothing in: his inputs fill up, then the windows, then the queue here.
    for sequence in 0..400 {
        alice.transport.send(at_alice.link, Class::Bulk, &chunk(sequence, 16 * 1024));
    }
    let started = Instant::now();
    tokio::time::timeout(SOON, alice.transport.shutdown(Duration::from_millis(500))).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}
