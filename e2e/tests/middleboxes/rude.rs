//! Middleboxes that reset, cut or hold back what they do not like. In user space: what does that in companies cannot be bought here.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sorcha_e2e::{figure, wait};

use crate::{apart, await_rung, await_rung_within, each_once, exchange, link, settle, still_stands};

/// A link that may be better is better within this of the obstacle's end: `links.climbAfter` is 45 s by default.
const CLIMBS: Duration = Duration::from_secs(60);

/// What a middlebox does.
#[derive(Debug, Default)]
struct Rules {
    /// Connections whose ClientHello offers HTTP/2 are reset.
    no_h2: AtomicBool,
    /// Connections are cut after so many ms; 0: never.
    cut_after_ms: AtomicU64,
    /// Bytes towards the peer pass every so many ms only; 0: at once.
    burst_every_ms: AtomicU64,
    connections: AtomicU64,
}

/// A middlebox between a port and an address, as long as the test runs.
fn middlebox(port: u16, to: &str, rules: &Arc<Rules>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let (to, rules): (SocketAddr, _) = (to.parse()?, Arc::clone(rules));
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let rules = Arc::clone(&rules);
            std::thread::spawn(move || {
                rules.connections.fetch_add(1, Ordering::Relaxed);
                // Where it fails the connection is over.
                let _over = pass(near, to, &rules);
            });
        }
    });
    Ok(())
}

fn pass(mut near: TcpStream, to: SocketAddr, rules: &Rules) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    let mut hello = vec![0; 4096];
    let length = near.read(&mut hello)?;
    let hello = &hello[..length];
    // The list of ALPN (RFC 7301) begins with the length of "h2".
    if rules.no_h2.load(Ordering::Relaxed) && hello.windows(3).any(|part| part == b"\x02h2") {
        return reset(&near);
    }
    let mut far = TcpStream::connect(to)?;
    far.set_nodelay(true)?;
    far.write_all(hello)?;
    let back = (far.try_clone()?, near.try_clone()?);
    std::thread::spawn(move || copy(back.0, back.1, None));
    let cut_after = Duration::from_millis(rules.cut_after_ms.load(Ordering::Relaxed));
    if !cut_after.is_zero() {
        let (near, far) = (near.try_clone()?, far.try_clone()?);
        std::thread::spawn(move || {
            std::thread::sleep(cut_after);
            for side in [near, far] {
                let _cut = side.shutdown(Shutdown::Both);
            }
        });
    }
    copy(near, far, Some(rules));
    Ok(())
}

/// Closes with a reset.
fn reset(socket: &TcpStream) -> std::io::Result<()> {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    Ok(())
}

/// Passes bytes on until one side ends; in bursts where the rules say so.
fn copy(mut from: TcpStream, mut to: TcpStream, rules: Option<&Rules>) {
    let mut bytes = vec![0; 64 * 1024];
    let began = Instant::now();
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        let every = rules.map_or(0, |rules| rules.burst_every_ms.load(Ordering::Relaxed));
        if every > 0 {
            let past = began.elapsed().as_millis() as u64 % every;
            std::thread::sleep(Duration::from_millis(every - past));
        }
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _over = to.shutdown(Shutdown::Write);
}

#[test]
fn where_http2_is_reset_a_link_stands_on_http1_and_climbs_when_it_may() -> anyhow::Result<()> {
    let (alice, bob, port) = apart()?;
    let rules = Arc::<Rules>::default();
    rules.no_h2.store(true, Ordering::Relaxed);
    middlebox(port, &bob.peer_address(), &rules)?;
    let (_bob, _alice) = (bob.start()?, alice.start()?);
    let settled = settle(&alice, "rest")?;
    exchange(&alice, &bob, 0, 10)?;

    rules.no_h2.store(false, Ordering::Relaxed);
    let climbed = await_rung_within(&alice, "stream", CLIMBS)?;
    exchange(&alice, &bob, 20, 10)?;
    each_once(&alice, 40)?;
    each_once(&bob, 40)?;
    figure(
        "http2 reset",
        &format!("on HTTP/1.1 after {settled:.1?}, on a stream {climbed:.1?} after the obstacle went"),
    )
}

#[test]
fn where_connections_are_cut_every_five_seconds_nothing_is_lost_and_the_link_climbs_when_it_may()
-> anyhow::Result<()> {
    let (alice, bob, port) = apart()?;
    let rules = Arc::<Rules>::default();
    rules.cut_after_ms.store(5_000, Ordering::Relaxed);
    middlebox(port, &bob.peer_address(), &rules)?;
    let (_bob, _alice) = (bob.start()?, alice.start()?);
    await_rung(&alice, "stream")?;
    exchange(&alice, &bob, 0, 5)?;
    let settled = settle(&alice, "exchange")?;
    let first = link(&alice).context("a link")?;
    for round in 1..=10 {
        std::thread::sleep(Duration::from_secs(2));
        exchange(&alice, &bob, round * 10, 5)?;
    }
    still_stands(&alice, &first)?;
    ensure!(rules.connections.load(Ordering::Relaxed) > 4, "they were cut");

    rules.cut_after_ms.store(0, Ordering::Relaxed);
    let climbed = await_rung_within(&alice, "stream", CLIMBS)?;
    exchange(&alice, &bob, 110, 5)?;
    each_once(&alice, 120)?;
    each_once(&bob, 120)?;
    figure(
        "cut every 5 s",
        &format!("on calls after {settled:.1?}, on a stream {climbed:.1?} after the obstacle went"),
    )
}

#[test]
fn where_bytes_are_held_back_and_released_in_bursts_a_link_stands_and_loses_nothing() -> anyhow::Result<()> {
    let (alice, bob, port) = apart()?;
    let rules = Arc::<Rules>::default();
    rules.burst_every_ms.store(1_000, Ordering::Relaxed);
    middlebox(port, &bob.peer_address(), &rules)?;
    let (_bob, _alice) = (bob.start()?, alice.start()?);
    let began = Instant::now();
    wait::until("a link", Duration::from_secs(20), || link(&alice))?;
    let settled = began.elapsed();
    ensure!(settled < Duration::from_secs(10), "it took {settled:?}");
    exchange(&alice, &bob, 0, 10)?;
    let first = link(&alice).context("a link")?;
    std::thread::sleep(Duration::from_secs(15));
    exchange(&alice, &bob, 20, 10)?;
    let later = still_stands(&alice, &first)?;
    each_once(&alice, 40)?;
    each_once(&bob, 40)?;
    figure("bursts of a second", &format!("on the rung '{}' after {settled:.1?}", later["transport"]))
}
