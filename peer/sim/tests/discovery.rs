//! Peers that start together and know a few addresses each find all others.

use sorcha_peer_core::config::Known;
use sorcha_peer_sim::network::Conditions;
use sorcha_peer_sim::network::delay::Delay;
use sorcha_peer_sim::world::{Settings, World};

const SECOND: u64 = 1_000_000;

/// How many of all others each knows so long after the last one's start; each begins with two addresses.
fn known(peers: usize, seed: u64, within: u64, after: u64) -> Vec<usize> {
    let delay = Delay { mean_ms: 20.0, ..Conditions::default().delay };
    let conditions = Conditions { delay, ..Conditions::default() };
    let mut world = World::new(Settings { seed, conditions, ..Settings::default() });
    for peer in 0..peers {
        // The one before, so that all hang together, and somebody else.
        let other = (peer * 7 + seed as usize * 13 + 3) % peers;
        let addresses = [peer.saturating_sub(1), other];
        world.add(addresses.into_iter().filter(|address| *address != peer).collect());
    }
    for peer in 0..peers {
        // In an order of their own, so that most dial some that do not run yet.
        let turn = (peer * 19 + seed as usize) % peers;
        world.run_until(world.now().max(within * peer as u64 / peers as u64));
        world.start(turn, &Known::default());
    }
    world.run_until(world.now() + after);
    let status = |core: &sorcha_peer_core::Peer| core.status().peers_known;
    world.machines().iter().map(|machine| machine.core.as_ref().map_or(0, status)).collect()
}

#[test]
fn peers_that_start_together_know_each_other_soon() {
    for seed in 1..=5 {
        for within in [0, SECOND, 10 * SECOND] {
            let known = known(51, seed, within, 30 * SECOND);
            let strangers: Vec<_> = known.iter().filter(|known| **known < 50).collect();
            assert!(strangers.is_empty(), "seed {seed}, started within {within} us: {strangers:?} of 50");
        }
    }
}

#[test]
fn a_hundred_and_one_know_each_other_within_half_a_minute() {
    let known = known(101, 1, 2 * SECOND, 30 * SECOND);
    assert!(known.iter().all(|known| *known == 100), "{known:?}");
}
