//! SIGKILL at random moments under load: nothing that was acknowledged is lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sorcha_e2e::network::{Network, kill};
use sorcha_e2e::programs;

/// More by `SORCHA_CHAOS_ROUNDS=100 cargo xtask test chaos`.
fn rounds() -> u32 {
    std::env::var("SORCHA_CHAOS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[test]
fn sigkill_at_random_moments_loses_nothing_acknowledged() -> anyhow::Result<()> {
    let network = Network::start("chaos", 3)?;
    network.await_linked(3)?;
    let (acknowledged, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for origin in 0..3 {
            let (network, acknowledged, stop) = (&network, &acknowledged, &stop);
            scope.spawn(move || {
                for number in 0_u32.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // A refusal while the peer is down is no acknowledgement.
                    if let Ok(id) = network.submit(&format!("peers-{origin}"), &format!("{origin}/{number}"))
                    {
                        acknowledged.lock().expect("no holder panics").push(id);
                    }
                }
            });
        }
        let mut moment = 7_u64;
        for _ in 0..rounds() {
            moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(Duration::from_millis(300 + (moment >> 33) % 900));
            if let Ok(peers) = network.endpoints() {
                kill(peers[(moment >> 40) as usize % peers.len()].pid, Signal::KILL);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    network.await_linked(3)?;
    let ids = acknowledged.into_inner().expect("no holder panics");
    assert!(ids.len() > 10, "only {} were acknowledged", ids.len());
    let healing = Instant::now();
    for peer in network.endpoints()? {
        network.await_held(&peer.name, &ids, Duration::from_secs(60))?;
    }
    let count = ids.len();
    let directories: Vec<_> = network.endpoints()?.into_iter().map(|peer| peer.directory).collect();
    drop_and_check(network, &directories)?;
    // Printed with --nocapture and by the summary of failures.
    assert!(healing.elapsed() < Duration::from_secs(120), "{count} transactions healed too slowly");
    Ok(())
}

fn drop_and_check(mut network: Network, directories: &[std::path::PathBuf]) -> anyhow::Result<()> {
    network.signal(Signal::TERM);
    network.await_end()?;
    for directory in directories {
        let state = directory.join("state");
        programs::peer(&["store", "check", &state.to_string_lossy()])?.ok()?;
    }
    Ok(())
}
