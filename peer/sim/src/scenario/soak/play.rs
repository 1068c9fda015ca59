//! Plays a plan: faults, then calm, then convergence, and at the end a peer that leaves.

use rand::Rng;
use rand::seq::IndexedRandom;
use sorcha_peer_core::config::Known;
use sorcha_peer_core::event::Input;
use sorcha_peer_core::types::Address;

use super::client::Client;
use super::mix::Mix;
use super::plan::{self, Act, BOOTSTRAP_PEERS, Draft};
use crate::adversary::Adversary;
use crate::check::{Checker, EFFECT_MAX, Property, counts};
use crate::disk::Trouble;
use crate::network::Conditions;
use crate::network::partition::Partition;
use crate::peers::address_of;
use crate::queue::Micros;
use crate::random;
use crate::world::World;

/// All stores must be equal, and all outboxes empty, this long after the last fault: 18 mean intervals of
/// reconciliation with random peers.
const CONVERGENCE_MAX: Micros = 180_000_000;
/// How often convergence is looked at, and bounds are.
const LOOK_EVERY: Micros = 500_000;
/// A supervisor kills a peer this long after telling it to stop.
const STOP_AFTER: Micros = 500_000;
/// In the calm clocks stray at most this far, ms: two of them stay within the core's five minutes.
const CALM_STRAY_MS_MAX: i64 = 120_000;
/// The core holds a transaction back that is published further than this from now, ms.
const HELD_BACK_MS: u64 = 300_000;
/// In the calm a peer is drained within this time: two rounds of reconciliation and some questions.
const DRAINED_MAX: Micros = 60_000_000;
/// In the calm a peer that left is forgotten by all within this time: news travel by pushes of records.
const FORGOTTEN_MAX: Micros = 20_000_000;

/// Plays everything; answers when all was healed, and when all had converged.
pub(super) fn play(
    world: &mut World,
    client: &mut Client,
    mix: &Mix,
    seed: u64,
    plan: &[(Micros, Act)],
) -> (Micros, Micros) {
    begin(world, mix, seed);
    let mut look = LOOK_EVERY;
    for (at, act) in plan {
        while look < *at {
            world.run_until(look);
            world.watch();
            look += LOOK_EVERY;
        }
        world.run_until(*at);
        apply(world, client, *act);
    }
    heal(world, client);
    let healed = world.now();
    let converged = converge(world, healed + CONVERGENCE_MAX + held_back(world));
    if mix.leave {
        leave(world, client, seed);
    }
    // An effect that nobody answers shows by then.
    let end = world.now() + EFFECT_MAX;
    world.run_until(end);
    // A malicious peer that held a transaction alone may have brought it out just now.
    converge(world, end + CONVERGENCE_MAX);
    world.finish();
    (healed, converged)
}

fn begin(world: &mut World, mix: &Mix, seed: u64) {
    let (peers, malicious) = (mix.peers, mix.malicious.len());
    for number in 0..peers {
        let bootstrap = (0..BOOTSTRAP_PEERS.min(peers)).filter(|other| *other != number).collect();
        world.add(bootstrap);
    }
    let first_late = plan::late(mix).start;
    let hidden = ((peers as f64 * mix.nat) as usize).min(first_late.saturating_sub(BOOTSTRAP_PEERS));
    for number in BOOTSTRAP_PEERS..BOOTSTRAP_PEERS + hidden {
        world.put_behind_nat(number);
    }
    for (number, malices) in (0..first_late).rev().take(malicious).zip(&mix.malicious) {
        let rng = random::child(seed, "soak adversary", number as u64);
        world.corrupt(number, Adversary::new(malices.clone(), rng));
    }
    for number in 0..first_late {
        world.start(number, &Known::default());
    }
}

fn apply(world: &mut World, client: &mut Client, act: Act) {
    let conditions = *world.network().conditions();
    let trouble = |world: &World, peer: usize| world.machines()[peer].disk.trouble();
    match act {
        Act::Submit(draft) => client.submit(world, draft),
        Act::Join(peer) => world.start(peer, &Known::default()),
        Act::Crash { peer, silent } => world.crash(peer, silent),
        Act::Trap { peer, moment } => world.set_trap(peer, moment),
        Act::Stop(peer) => {
            world.shut_down(peer, false);
            let killed = world.now() + STOP_AFTER;
            world.run_until(killed);
            world.crash(peer, false);
        }
        Act::Return(peer) => come_back(world, client, peer),
        Act::Partition { draw, one_way } => {
            let side = (0..world.machines().len()).map(|peer| (draw >> (peer % 64) & 1) as u8).collect();
            world.set_partition(Partition::new(side, one_way));
        }
        Act::Heal => world.set_partition(Partition::none()),
        Act::Drop(drop) => world.set_conditions(Conditions { drop, ..conditions }),
        Act::Loss(tcp_loss) => world.set_conditions(Conditions { tcp_loss, ..conditions }),
        Act::Full { peer, on } => world.set_trouble(peer, Trouble { full: on, ..trouble(world, peer) }),
        Act::WriteErrors { peer, on } => {
            world.set_trouble(peer, Trouble { writes_fail: on, ..trouble(world, peer) });
        }
        Act::ReadErrors { peer, on } => {
            world.set_trouble(peer, Trouble { reads_fail: on, ..trouble(world, peer) });
        }
        Act::Slow { peer, slowness } => world.set_trouble(peer, Trouble { slowness, ..trouble(world, peer) }),
        Act::BackUp(peer) => world.back_up(peer),
        Act::Replace { peer, by_backup } => world.replace_disk(peer, by_backup),
        Act::Clock { peer, ahead_ms } => world.set_wall_ahead(peer, ahead_ms),
        Act::Drain(peer) => world.tell(peer, Input::Drain { leaving: Vec::new(), leave: false }),
        Act::Resume(peer) => world.tell(peer, Input::Resume),
        Act::Bootstrap { peer, draw } => {
            let peers = world.machines().len() as u64;
            // One that exists, and one that does not.
            let addresses = vec![address_of((draw % peers) as usize), Address::new("10.255.255.255:7450")];
            world.tell(peer, Input::Bootstrap { addresses });
        }
    }
}

fn come_back(world: &mut World, client: &mut Client, peer: usize) {
    if !world.machines()[peer].runs() && !world.machines()[peer].gone {
        world.start(peer, &Known::default());
        client.retry(world, peer);
    }
}

/// Every fault ends. What is malicious stays so.
fn heal(world: &mut World, client: &mut Client) {
    world.set_conditions(Conditions { drop: 0.0, tcp_loss: 0.0, ..*world.network().conditions() });
    world.set_partition(Partition::none());
    for number in 0..world.machines().len() {
        world.set_trouble(number, Trouble::default());
        let ahead = world.machines()[number].wall_ahead_ms;
        if ahead.abs() > CALM_STRAY_MS_MAX {
            world.set_wall_ahead(number, ahead.signum() * CALM_STRAY_MS_MAX);
        }
        world.disarm(number);
        world.tell(number, Input::Resume);
        come_back(world, client, number);
    }
}

/// How long the latest publication is still held back somewhere.
fn held_back(world: &World) -> Micros {
    let latest = world.machines().iter().filter_map(|machine| machine.disk.store().latest()).max();
    // The clock that is furthest behind releases last.
    let now = world.machines().iter().map(|machine| machine.now(world.now()).wall).min();
    let ahead =
        latest.zip(now).map_or(0, |(latest, now)| latest.as_unix_ms().saturating_sub(now.as_unix_ms()));
    ahead.saturating_sub(HELD_BACK_MS) * 1000
}

fn converge(world: &mut World, until: Micros) -> Micros {
    while world.now() < until {
        step(world);
        let idle = world.ledger().submissions().iter().all(|submission| {
            submission.reply.is_some() || world.machines()[submission.peer].epoch != submission.epoch
        });
        if idle && world.checker().is_some_and(|checker: &Checker| checker.has_converged(world.machines())) {
            break;
        }
    }
    world.now()
}

fn step(world: &mut World) {
    let next = world.now() + LOOK_EVERY;
    world.run_until(next);
    world.watch();
}

/// One peer is cut off, accepts something, is drained, comes back, and leaves.
fn leave(world: &mut World, client: &mut Client, seed: u64) {
    let mut rng = random::child(seed, "soak leave", 0);
    let staying: Vec<usize> = (0..world.machines().len())
        .filter(|number| counts(&world.machines()[*number]) && world.machines()[*number].runs())
        .collect();
    let Some(leaver) = staying.choose(&mut rng).copied().filter(|_| staying.len() > 2) else { return };
    let side = (0..world.machines().len()).map(|peer| u8::from(peer == leaver)).collect();
    world.set_partition(Partition::new(side, false));
    for number in 0..3 {
        let draft = Draft {
            peer: leaver,
            number: u64::MAX - number,
            bytes: rng.random_range(1..2_000),
            keyed: false,
        };
        client.submit(world, draft);
    }
    step(world);
    world.tell(leaver, Input::Drain { leaving: Vec::new(), leave: true });
    for _ in 0..4 {
        step(world);
        is_drained(world, leaver);
    }
    world.set_partition(Partition::none());
    let until = world.now() + DRAINED_MAX;
    while !is_drained(world, leaver) {
        if world.now() >= until {
            let detail = format!("peer {leaver} has not drained within {} s", DRAINED_MAX / 1_000_000);
            return world.violated(Property::LeaverForgotten, &[leaver], detail);
        }
        step(world);
    }
    world.shut_down(leaver, true);
    let killed = world.now() + STOP_AFTER;
    world.run_until(killed);
    world.take_away(leaver);
    forgotten(world, leaver);
    let until = world.now() + CONVERGENCE_MAX;
    converge(world, until);
}

/// Whether a peer says that it is drained; then what it holds must be held elsewhere: it may be by one that is malicious and
/// keeps it to itself, for one that stays is all that a drain promises.
fn is_drained(world: &mut World, leaver: usize) -> bool {
    if !world.drain_of(leaver).is_some_and(|drain| drain.drained) {
        return false;
    }
    let machines = world.machines();
    let mut others = machines.iter().filter(|other| !other.gone && other.number != leaver);
    let left_behind = machines[leaver]
        .disk
        .store()
        .ids()
        .find(|id| !others.clone().any(|other| other.disk.store().holds(id)))
        .copied();
    if let (Some(id), Some(_)) = (left_behind, others.next()) {
        let detail = format!("peer {leaver} says that it is drained, and only it holds {id}");
        world.violated(Property::DrainedIsElsewhere, &[leaver], detail);
    }
    true
}

fn forgotten(world: &mut World, leaver: usize) {
    let until = world.now() + FORGOTTEN_MAX;
    let id = world.machines()[leaver].id;
    loop {
        let knows = world.machines().iter().find(|machine| {
            let peers = machine.core.as_ref().map(sorcha_peer_core::peer::Peer::peers).unwrap_or_default();
            counts(machine) && peers.iter().any(|peer| peer.id == id)
        });
        let Some(knows) = knows.map(|machine| machine.number) else { return };
        if world.now() >= until {
            let seconds = FORGOTTEN_MAX / 1_000_000;
            let detail = format!("peer {knows} still knows peer {leaver}, which left {seconds} s ago");
            return world.violated(Property::LeaverForgotten, &[knows, leaver], detail);
        }
        step(world);
    }
}
