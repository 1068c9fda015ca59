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

#[test]
fn a_network_begins_with_one_address_that_has_room_for_a_part_of_it() {
    const PEERS: usize = 200;
    const LINKS_MAX: usize = 100;
    let mut settings = Settings::default();
    settings.config.links_max = LINKS_MAX;
    let mut world = World::new(settings);
    for peer in 0..PEERS {
        world.add((peer > 0).then_some(0).into_iter().collect());
    }
    for peer in 0..PEERS {
        world.run_until(world.now().max(5 * SECOND * peer as u64 / PEERS as u64));
        world.start(peer, &Known::default());
    }
    let mut seed_links = 0;
    for _ in 0..120 {
        world.run_until(world.now() + SECOND);
        let status = |peer: usize| world.machines()[peer].core.as_ref().expect("it runs").status();
        seed_links = status(0).peers_linked;
        if (0..PEERS).all(|peer| status(peer).peers_known == PEERS - 1) {
            world.run_until(world.now() + 30 * SECOND);
            let links = |peer: usize| world.machines()[peer].core.as_ref().unwrap().status().peers_linked;
            let mean = (0..PEERS).map(links).sum::<usize>() / PEERS;
            assert!(links(0) < mean * 3 / 2, "the address keeps {} links, the mean is {mean}", links(0));
            return;
        }
    }
    let known = |peer: usize| world.machines()[peer].core.as_ref().unwrap().status().peers_known;
    let known: Vec<_> = (0..PEERS).map(known).collect();
    panic!("not all know all after two minutes, {seed_links} links at the address: {known:?}");
}

#[test]
fn the_dead_are_forgotten_by_all_within_a_minute_and_nobody_else_is() {
    const PEERS: usize = 120;
    const STAY: usize = 80;
    for silent in [false, true] {
        // As the transport waits for a connection (`CONNECT_WITHIN`).
        let conditions = Conditions { dial_timeout: 3 * SECOND, ..Conditions::default() };
        let mut world = World::new(Settings { conditions, ..Settings::default() });
        for peer in 0..PEERS {
            world.add((0..3).filter(|address| *address != peer).collect());
        }
        for peer in 0..PEERS {
            world.start(peer, &Known::default());
        }
        world.run_until(world.now() + 40 * SECOND);
        for peer in STAY..PEERS {
            world.crash(peer, silent);
        }
        world.run_until(world.now() + 60 * SECOND);
        let known = |peer: usize| world.machines()[peer].core.as_ref().expect("it runs").status().peers_known;
        let others: Vec<usize> = (0..STAY).map(known).filter(|known| *known != STAY - 1).collect();
        assert!(others.is_empty(), "silent: {silent}: {others:?} instead of {}", STAY - 1);
    }
}
