//! Random faults over a small network, and a checker that watches: what must hold, holds whatever fails.
//!
//! The plan of faults follows from the seed before anything runs. Peers join late, crash, stop and come
//! back; none leaves for good (a leaver's undelivered transactions leave with it).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bytes::Bytes;
use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;

use crate::check::{Checker, Property, Violation};
use crate::network::Conditions;
use crate::network::partition::Partition;
use crate::queue::Micros;
use crate::random;
use crate::report::{SoakReport, SoakRun, memory_peak_bytes};
use crate::world::{Planted, Settings, World};

/// Fewest and most peers, where the number is left to the seed.
const PEERS: std::ops::RangeInclusive<usize> = 8..=30;
/// Peers that all begin with.
const BOOTSTRAP_PEERS: usize = 3;
/// All stores must be equal this long after the last fault: several rounds of reconciliation with random peers.
const CONVERGENCE_MAX: Micros = 180_000_000;
/// How often convergence is looked at.
const LOOK_EVERY: Micros = 500_000;
/// A supervisor kills a peer this long after telling it to stop.
const STOP_AFTER: Micros = 500_000;
/// Wall clocks stray at most this far, ms: two of them stay within the core's five minutes.
const WALL_STRAY_MS_MAX: i64 = 120_000;

/// What to run.
#[derive(Debug, Clone)]
pub struct Soak {
    /// First seed.
    pub seed: u64,
    /// How many seeds from there.
    pub seeds: u64,
    /// Peers; `None` leaves it to the seed.
    pub peers: Option<usize>,
    /// How long faults are made, virtual seconds.
    pub seconds: u64,
    /// A fault that the checker must catch.
    pub planted: Option<Planted>,
    /// Of each world; its seed is the run's.
    pub settings: Settings,
}

/// One thing done to the world.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Submit(Draft),
    Join(usize),
    Crash { peer: usize, silent: bool },
    Stop(usize),
    Return(usize),
    Partition { draw: u64, one_way: bool },
    Heal,
    Drop(f64),
    Loss(f64),
    Full { peer: usize, full: bool },
    Clock { peer: usize, ahead_ms: i64 },
}

/// A submission to be made; `number` gives its body and its key.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Draft {
    peer: usize,
    number: u64,
    bytes: usize,
    keyed: bool,
}

impl Soak {
    /// Runs all seeds.
    pub fn run(&self) -> SoakReport {
        let began = Instant::now();
        let runs = (self.seed..self.seed.saturating_add(self.seeds)).map(|seed| self.run_one(seed)).collect();
        SoakReport { runs, real_s: began.elapsed().as_secs_f64(), memory_peak_bytes: memory_peak_bytes() }
    }

    fn run_one(&self, seed: u64) -> SoakRun {
        let peers = self.peers.unwrap_or_else(|| random::child(seed, "soak peers", 0).random_range(PEERS));
        let plan = plan(seed, peers, self.seconds * 1_000_000);
        let settings = Settings {
            seed,
            planted: self.planted,
            checked: true,
            through_wire: true,
            ..self.settings.clone()
        };
        let mut world = World::new(settings);
        let mut client = Client::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| play(&mut world, &mut client, peers, &plan)));
        let mut violations = world.checker().map(Checker::violations).unwrap_or_default().to_vec();
        let healed_at = panicked.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            violations.push(Violation {
                property: Property::NoPanic,
                at: world.now(),
                detail: text.to_owned(),
            });
            world.now()
        });
        SoakRun {
            seed,
            peers,
            submitted: world.ledger().submissions().len(),
            acknowledged: world.checker().map_or(0, |checker| checker.acknowledged().len()),
            faults: plan.iter().filter(|(_, act)| !matches!(act, Act::Submit(_))).count(),
            converged_after_s: (world.now() - healed_at) as f64 / 1e6,
            events: world.trace().events(),
            trace: world.trace().digest(),
            violations: violations.iter().map(ToString::to_string).collect(),
            evidence: world.ledger().evidence().clone(),
            reproduce: self.command(seed),
        }
    }

    fn command(&self, seed: u64) -> String {
        let peers = self.peers.map_or(String::new(), |peers| format!(" --peers {peers}"));
        let plant = if self.planted.is_some() { " --plant answer-before-durable" } else { "" };
        let seconds = self.seconds;
        format!("sorcha-peer-sim soak --seed {seed} --seeds 1 --seconds {seconds}{peers}{plant}")
    }
}

/// Plays the plan, heals everything and waits for convergence; answers when all was healed.
fn play(world: &mut World, client: &mut Client, peers: usize, plan: &[(Micros, Act)]) -> Micros {
    for number in 0..peers {
        let bootstrap = (0..BOOTSTRAP_PEERS.min(peers)).filter(|other| *other != number).collect();
        world.add(bootstrap);
    }
    let late: Vec<usize> = plan.iter().filter_map(|(_, act)| joiner(act)).collect();
    for number in (0..peers).filter(|number| !late.contains(number)) {
        world.start(number, &[]);
    }
    for (at, act) in plan {
        world.run_until(*at);
        apply(world, client, *act);
    }
    world.set_conditions(Conditions { drop: 0.0, tcp_loss: 0.0, ..*world.network().conditions() });
    world.set_partition(Partition::none());
    for number in 0..peers {
        world.set_full(number, false);
        come_back(world, client, number);
    }
    let healed = world.now();
    while world.now() < healed + CONVERGENCE_MAX {
        let next = world.now() + LOOK_EVERY;
        world.run_until(next);
        let idle = world.ledger().submissions().iter().all(|submission| {
            submission.reply.is_some() || world.machines()[submission.peer].epoch != submission.epoch
        });
        if idle && world.checker().is_some_and(|checker| checker.has_converged(world.machines())) {
            break;
        }
    }
    world.finish();
    healed
}

fn joiner(act: &Act) -> Option<usize> {
    if let Act::Join(peer) = act { Some(*peer) } else { None }
}

fn apply(world: &mut World, client: &mut Client, act: Act) {
    let conditions = *world.network().conditions();
    match act {
        Act::Submit(draft) => client.submit(world, draft),
        Act::Join(peer) => world.start(peer, &[]),
        Act::Crash { peer, silent } => world.crash(peer, silent),
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
        Act::Full { peer, full } => world.set_full(peer, full),
        Act::Clock { peer, ahead_ms } => world.set_wall_ahead(peer, ahead_ms),
    }
}

fn come_back(world: &mut World, client: &mut Client, peer: usize) {
    if !world.machines()[peer].runs() {
        world.start(peer, &[]);
        client.retry(world, peer);
    }
}

/// The application: submits, and tries again under the same key where it got no answer.
#[derive(Debug, Default)]
struct Client {
    /// Keyed submissions with their latest token.
    keyed: Vec<(Draft, u64)>,
}

impl Client {
    fn submit(&mut self, world: &mut World, draft: Draft) {
        let key = if draft.keyed { format!("key-{}", draft.number) } else { String::new() };
        let mut body = vec![0; draft.bytes];
        random::child(draft.number, "soak body", draft.peer as u64).fill_bytes(&mut body);
        let token = world.submit(draft.peer, Bytes::from(body), &key);
        if let (true, Some(token)) = (draft.keyed, token) {
            self.keyed.push((draft, token));
        }
    }

    /// The peer is back: what it did not answer is submitted again, and now and then what it did.
    fn retry(&mut self, world: &mut World, peer: usize) {
        let (again, keep) = std::mem::take(&mut self.keyed).into_iter().partition(|(draft, token)| {
            let answered = matches!(world.ledger().submissions()[*token as usize].reply, Some(Ok(_)));
            draft.peer == peer && (!answered || draft.number % 4 == 0)
        });
        self.keyed = keep;
        let again: Vec<(Draft, u64)> = again;
        for (draft, _) in again {
            self.submit(world, draft);
        }
    }
}

/// The faults of a run, in the order of their times.
fn plan(seed: u64, peers: usize, length: Micros) -> Vec<(Micros, Act)> {
    let mut acts: Vec<(Micros, Act)> = Vec::new();
    let rng = |kind| random::child(seed, kind, 0);
    let any = |rng: &mut ChaCha8Rng| rng.random_range(0..peers);

    let mut submits = rng("soak submit");
    for (number, at) in (0..).zip(times(&mut submits, length, 250_000)) {
        let bytes = match submits.random_range(0..10) {
            0 => 0,
            1 => submits.random_range(5_000..200_000),
            _ => submits.random_range(1..3_000),
        };
        let draft = Draft { peer: any(&mut submits), number, bytes, keyed: submits.random_bool(0.4) };
        acts.push((at, Act::Submit(draft)));
    }
    let mut joins = rng("soak join");
    for peer in peers - peers / 5..peers {
        acts.push((joins.random_range(0..length), Act::Join(peer)));
    }
    let mut crashes = rng("soak crash");
    for at in times(&mut crashes, length, 5_000_000) {
        let peer = any(&mut crashes);
        acts.push((at, Act::Crash { peer, silent: crashes.random_bool(0.3) }));
        acts.push((at + crashes.random_range(500_000..20_000_000), Act::Return(peer)));
    }
    let mut stops = rng("soak stop");
    for at in times(&mut stops, length, 20_000_000) {
        let peer = any(&mut stops);
        acts.push((at, Act::Stop(peer)));
        acts.push((at + stops.random_range(1_000_000..10_000_000), Act::Return(peer)));
    }
    let mut cuts = rng("soak partition");
    for at in times(&mut cuts, length, 20_000_000) {
        acts.push((at, Act::Partition { draw: cuts.random(), one_way: cuts.random_bool(0.2) }));
        acts.push((at + cuts.random_range(1_000_000..30_000_000), Act::Heal));
    }
    let mut drops = rng("soak drop");
    for at in times(&mut drops, length, 12_000_000) {
        acts.push((at, Act::Drop(drops.random_range(0.05..0.5))));
        acts.push((at + drops.random_range(1_000_000..10_000_000), Act::Drop(0.0)));
    }
    let mut losses = rng("soak loss");
    for at in times(&mut losses, length, 15_000_000) {
        acts.push((at, Act::Loss(losses.random_range(0.01..0.2))));
        acts.push((at + losses.random_range(1_000_000..10_000_000), Act::Loss(0.0)));
    }
    let mut disks = rng("soak disk");
    for at in times(&mut disks, length, 8_000_000) {
        let peer = any(&mut disks);
        acts.push((at, Act::Full { peer, full: true }));
        acts.push((at + disks.random_range(1_000_000..15_000_000), Act::Full { peer, full: false }));
    }
    let mut clocks = rng("soak clock");
    for at in times(&mut clocks, length, 8_000_000) {
        let ahead_ms = clocks.random_range(-WALL_STRAY_MS_MAX..=WALL_STRAY_MS_MAX);
        acts.push((at, Act::Clock { peer: any(&mut clocks), ahead_ms }));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// Times of a Poisson process with this mean distance.
fn times(rng: &mut ChaCha8Rng, length: Micros, mean: Micros) -> Vec<Micros> {
    let mut times = Vec::new();
    let mut at = 0;
    loop {
        let unit: f64 = rng.random();
        at += (-(1.0 - unit).ln() * mean as f64) as Micros + 1;
        if at >= length {
            return times;
        }
        times.push(at);
    }
}
