//! The lower rungs of the ladder, behind middleboxes that let less pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sorcha_peer_core::Input;
use sorcha_peer_core::event::{Class, LinkUp, Opened, Rung};
use sorcha_peer_core::types::{Address, OpId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::{Peer, SOON, World, chunk, ping};
use crate::transport::TransportConfig;
use crate::transport::settings::Patience;

const PATIENCE: Patience = Patience {
    handshake: Duration::from_secs(15),
    link: Duration::from_secs(15),
    climb: Duration::from_secs(2),
    hold: Duration::from_secs(1),
};

/// What a middlebox does.
#[derive(Debug, Default)]
struct Rules {
    /// Connections whose ClientHello offers HTTP/2 are reset.
    no_h2: AtomicBool,
    /// Connections are cut after so many ms; 0: never.
    cut_after_ms: AtomicU64,
    connections: AtomicU64,
}

/// A middlebox before a peer; answers its address.
async fn middlebox(before: &Peer, rules: Arc<Rules>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, to) = (listener.local_addr().unwrap(), before.at);
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            tokio::spawn(pass(near, to, Arc::clone(&rules)));
        }
    });
    Address::new(address.to_string())
}

async fn pass(mut near: TcpStream, to: std::net::SocketAddr, rules: Arc<Rules>) -> std::io::Result<()> {
    rules.connections.fetch_add(1, Ordering::Relaxed);
    near.set_nodelay(true)?;
    let mut hello = vec![0; 2048];
    let length = near.read(&mut hello).await?;
    let hello = &hello[..length];
    // The list of ALPN (RFC 7301) begins with the length of "h2".
    if rules.no_h2.load(Ordering::Relaxed) && hello.windows(3).any(|part| part == b"\x02h2") {
        return near.set_zero_linger();
    }
    let mut far = TcpStream::connect(to).await?;
    far.set_nodelay(true)?;
    far.write_all(hello).await?;
    match rules.cut_after_ms.load(Ordering::Relaxed) {
        0 => copy_bidirectional(&mut near, &mut far).await.map(|_| ()),
        ms => {
            let _cut = timeout(Duration::from_millis(ms), copy_bidirectional(&mut near, &mut far)).await;
            near.set_zero_linger()?;
            far.set_zero_linger()
        }
    }
}

async fn pair(world: &World) -> (Peer, Peer) {
    let tls = |name| world.tls("net", name, Timestamp::now(), &[]);
    (Peer::start_with(tls("alice"), 100, PATIENCE).await, Peer::start_with(tls("bob"), 100, PATIENCE).await)
}

async fn linked(alice: &mut Peer, bob: &mut Peer, address: &Address) -> (LinkUp, LinkUp) {
    alice.transport.dial(OpId(1), address.clone(), None);
    (alice.up().await, bob.up().await)
}

/// Frames both ways, in order, each once.
async fn talk(
    alice: &mut Peer,
    bob: &mut Peer,
    (near, far): &(LinkUp, LinkUp),
    frames: std::ops::Range<u64>,
) {
    for sequence in frames {
        alice.transport.send(near.link, Class::Control, &ping(sequence)).unwrap();
        assert_eq!(bob.frame().await, (far.link, ping(sequence)));
        bob.transport.send(far.link, Class::Control, &ping(sequence)).unwrap();
        assert_eq!(alice.frame().await, (near.link, ping(sequence)));
    }
}

#[tokio::test]
async fn where_http2_is_reset_a_link_stands_on_http1_and_climbs_when_it_may() {
    let world = World::new();
    let (mut alice, mut bob) = pair(&world).await;
    let rules = Arc::<Rules>::default();
    rules.no_h2.store(true, Ordering::Relaxed);
    let address = middlebox(&bob, Arc::clone(&rules)).await;
    let began = Instant::now();
    let link = linked(&mut alice, &mut bob, &address).await;
    assert!(began.elapsed() < Duration::from_secs(5), "a reset is an answer: {:?}", began.elapsed());
    assert_eq!((link.0.rung, link.1.rung), (Rung::Rest, Rung::Rest));
    assert_eq!(link.0.peer.uri, "spiffe://example.org/net/bob");
    assert_eq!(link.1.peer.uri, "spiffe://example.org/net/alice");
    talk(&mut alice, &mut bob, &link, 1..20).await;

    rules.no_h2.store(false, Ordering::Relaxed);
    let better = (alice.up().await, bob.up().await);
    assert_eq!((better.0.rung, better.0.opened), (Rung::Stream, Opened::Climbed));
    assert_eq!((better.1.rung, better.1.opened), (Rung::Stream, Opened::Accepted));
    talk(&mut alice, &mut bob, &link, 20..25).await;
    talk(&mut alice, &mut bob, &better, 1..20).await;
    alice.transport.close(link.0.link, "another link stays".into());
    assert_eq!(alice.down(link.0.link).await, "another link stays");
    assert_eq!(bob.down(link.1.link).await, "the other side closed the link");
}

#[tokio::test]
async fn a_link_that_would_be_cut_does_not_climb() {
    let world = World::new();
    let (mut alice, mut bob) = pair(&world).await;
    let rules = Arc::<Rules>::default();
    rules.no_h2.store(true, Ordering::Relaxed);
    let address = middlebox(&bob, Arc::clone(&rules)).await;
    let link = linked(&mut alice, &mut bob, &address).await;
    assert_eq!(link.0.rung, Rung::Rest);
    rules.cut_after_ms.store(700, Ordering::Relaxed);
    rules.no_h2.store(false, Ordering::Relaxed);
    // What is tried is not the link: calls over HTTP/2 are better than those over HTTP/1.1, and mind no cuts.
    let better = (alice.up().await, bob.up().await);
    assert_eq!((better.0.rung, better.1.rung), (Rung::Exchange, Rung::Exchange));
    talk(&mut alice, &mut bob, &better, 1..20).await;
}

#[tokio::test]
async fn a_rung_that_is_left_out_is_neither_dialled_nor_let_in() {
    let world = World::new();
    let tls = |name| world.tls("net", name, Timestamp::now(), &[]);
    let with = |rungs: &[Rung]| TransportConfig { rungs: rungs.to_vec(), ..TransportConfig::here() };
    let peer = |name, rungs: &[Rung]| Peer::start_as(tls(name), with(rungs), PATIENCE);
    let all = [Rung::Stream, Rung::Exchange, Rung::Rest];
    for (left, rung) in all.into_iter().enumerate().map(|(at, rung)| (&all[at..], rung)) {
        let (mut alice, mut bob) = (peer("alice", left).await, peer("bob", &all).await);
        alice.dial(1, &bob);
        assert_eq!((alice.up().await.rung, bob.up().await.rung), (rung, rung), "dialled");
        let (mut carol, mut dave) = (peer("carol", &all).await, peer("dave", &[rung]).await);
        carol.dial(1, &dave);
        assert_eq!((carol.up().await.rung, dave.up().await.rung), (rung, rung), "let in");
    }
    let (mut alice, bob) = (peer("alice", &[Rung::Rest]).await, peer("bob", &[Rung::Stream]).await);
    alice.dial(1, &bob);
    let error = alice.dial_failed().await.to_string();
    assert!(error.contains("HTTP/1.1"), "{error}");
}

#[tokio::test]
async fn where_connections_are_cut_a_link_is_carried_over_them_and_loses_nothing() {
    let world = World::new();
    let (mut alice, mut bob) = pair(&world).await;
    let rules = Arc::<Rules>::default();
    rules.cut_after_ms.store(700, Ordering::Relaxed);
    let address = middlebox(&bob, Arc::clone(&rules)).await;
    let first = linked(&mut alice, &mut bob, &address).await;
    assert_eq!(first.0.rung, Rung::Stream);
    alice.down(first.0.link).await;
    bob.down(first.1.link).await;
    // Not before the rung that was cut has been left alone for a while.
    let link = linked(&mut alice, &mut bob, &address).await;
    assert_eq!((link.0.rung, link.1.rung), (Rung::Exchange, Rung::Exchange));
    let (began, mut sequence) = (Instant::now(), 1);
    while began.elapsed() < Duration::from_millis(1_800) {
        talk(&mut alice, &mut bob, &link, sequence..sequence + 1).await;
        sequence += 1;
    }
    assert!(rules.connections.load(Ordering::Relaxed) >= 3, "they were cut");
}

#[tokio::test]
async fn much_passes_on_every_rung() {
    let world = World::new();
    let rungs = [Rung::Stream, Rung::Exchange, Rung::Rest];
    for (at, rung) in rungs.into_iter().enumerate() {
        let (mut alice, mut bob) = pair(&world).await;
        let address = bob.address();
        for above in &rungs[..at] {
            alice.transport.inner.ladder.ended(&address, *above, Duration::ZERO, true);
        }
        let (near, far) = linked(&mut alice, &mut bob, &address).await;
        assert_eq!((near.rung, far.rung), (rung, rung));
        // Below the bound of the queue, so that the link is not cut as too slow.
        for sequence in 1..=300 {
            alice.transport.send(near.link, Class::Bulk, &chunk(sequence, 16 * 1024)).unwrap();
        }
        for sequence in 1..=300 {
            assert_eq!(bob.frame().await.1.sequence, sequence);
        }
        alice.transport.shutdown(SOON).await;
        bob.down(far.link).await;
    }
}

#[tokio::test]
async fn a_carried_link_of_a_peer_that_is_gone_ends() {
    let world = World::new();
    let (mut alice, mut bob) = pair(&world).await;
    let address = bob.address();
    alice.transport.inner.ladder.ended(&address, Rung::Exchange, Duration::ZERO, true);
    let link = linked(&mut alice, &mut bob, &address).await;
    assert_eq!(link.0.rung, Rung::Rest);
    bob.transport.shutdown(SOON).await;
    let ended = timeout(SOON, alice.inputs.recv()).await.expect("in time");
    assert!(matches!(ended, Some(Input::LinkDown { link: down, .. }) if down == link.0.link), "{ended:?}");
}
