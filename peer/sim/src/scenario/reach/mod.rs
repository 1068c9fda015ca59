//! How fast, and at what cost, transactions reach everybody: the figures of docs/design.md § 3 and § 8.

mod faults;
mod spread;

use std::time::Instant;

use bytes::Bytes;
use rand::{Rng, RngCore};
use sorcha_peer_core::config::Known;
use sorcha_peer_core::types::TxId;

pub use self::faults::Faults;
use self::faults::{BOOTSTRAP_PEERS, JOINED_AFTER, Turnover, join};
use self::spread::{REACH_BY, Sample, Spread, Stretches};
use crate::ledger::{Journey, KINDS, Kind};
use crate::network::Conditions;
use crate::queue::Micros;
use crate::random;
use crate::report::{Conditions as Shown, KindReport, Quantiles, ReachReport, memory_peak_bytes};
use crate::world::{Settings, World};

/// Links have settled when their number has not changed for this long.
const SETTLED: Micros = 3_000_000;
/// Longest wait for links to settle.
const SETTLING_MAX: Micros = 300_000_000;
/// A pause between warm-up transactions: far enough apart that each is answered, near enough to stay unnoticed.
const WARM_UP_SPACING: Micros = 50_000;
/// After the last warm-up transaction everything comes to rest.
const REST: Micros = 3_000_000;
/// Newcomers join this long before the first transaction: a dial and a hello, no more.
const NEWCOMERS_BEFORE: Micros = 1_000_000;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Peers.
    pub peers: usize,
    /// Transactions measured.
    pub transactions: usize,
    /// Transactions sent before, so that estimates are warm.
    pub warm_up: usize,
    /// Length of each body, bytes.
    pub body_bytes: usize,
    /// Time between two measured transactions.
    pub spacing: Micros,
    /// Rounds of reconciliation waited for at the end.
    pub repair_rounds: u32,
    /// Peers know three others at first, instead of all records.
    pub cold: bool,
    /// Links stand from the beginning, made without the network: see [`World::start_linked`].
    pub warm_start: bool,
    /// What is wrong with peers.
    pub faults: Faults,
    /// The network; faults begin once all are linked.
    pub conditions: Conditions,
    /// Of the world; its conditions are those above.
    pub settings: Settings,
}

/// A run under way.
struct Run {
    world: World,
    turnover: Turnover,
    /// Live and honest from the beginning, and then the newcomers.
    live: Vec<usize>,
    newcomers: Vec<usize>,
}

impl Reach {
    /// Runs it.
    pub fn run(&self) -> ReachReport {
        let began = Instant::now();
        let seed = self.settings.seed;
        let calm = Conditions { drop: 0.0, tcp_loss: 0.0, ..self.conditions };
        let mut world = World::new(Settings {
            conditions: calm,
            records_frozen: self.faults.views > 0.0,
            ..self.settings.clone()
        });
        self.start(&mut world);
        let linked_after = if self.warm_start { world.now() } else { settle(&mut world) };

        let live = self.faults.kill(&mut world, seed);
        world.set_conditions(self.conditions);
        let turnover = Turnover::new(self.faults.churn_per_minute, self.peers, seed);
        let mut run = Run { world, turnover, live, newcomers: Vec::new() };
        let (tokens, stretches, links) = self.measure(&mut run);
        // The core spreads its rounds between half and one and a half of the interval.
        let interval = u64::try_from(self.settings.config.sync_interval.as_micros()).unwrap_or(u64::MAX);
        let rounds = interval.saturating_mul(u64::from(self.repair_rounds)).saturating_mul(3) / 2;
        let end = run.world.now().saturating_add(rounds).saturating_add(REACH_BY);
        run.turnover.end();
        run.turnover.run_until(&mut run.world, end);

        let world = &run.world;
        let accepted: Vec<TxId> = tokens
            .iter()
            .filter_map(|token| world.ledger().submissions()[*token].reply.clone()?.ok())
            .collect();
        let journeys: Vec<&Journey> = accepted.iter().filter_map(|id| world.ledger().journey(id)).collect();
        let samples: Vec<Sample<'_>> = journeys
            .iter()
            .map(|journey| Sample { journey, audience: audience(world, journey.submitted) })
            .collect();
        let spread = Spread::of(&samples);
        let (peers, shares) = (run.live.len() as f64, spread.pairs as f64);
        let copies = |sum: u64| sum as f64 / self.body_bytes.max(1) as f64 / shares;
        let links_sum: usize = links.iter().sum();
        // Flooding: the origin sends to all its links, everyone else to all but the one it came by.
        let flooding = links_sum as f64 - (peers - 1.0);
        let gossip =
            stretches.per_transaction(&[Kind::Push, Kind::Announce, Kind::Fetch, Kind::Chunk]).frames;
        let hops_count: u64 = journeys.iter().map(|journey| journey.hops_count).sum();
        let notices = stretches.per_transaction(&[Kind::Announce, Kind::Fetch]);
        ReachReport {
            conditions: self.shown(seed),
            accepted: journeys.len(),
            linked_after_s: linked_after as f64 / 1e6,
            reach_90_ms: Quantiles::of(spread.most),
            reach_last_ms: Quantiles::of(spread.last),
            incomplete: spread.incomplete,
            reach_3_s: spread.by_3_s,
            reach_repaired: spread.at_all,
            reach_over_time: spread.over_time,
            replaced: run.turnover.replaced,
            copies_sent: copies(journeys.iter().map(|journey| journey.payload_sent).sum()),
            copies_arrived: copies(journeys.iter().map(|journey| journey.payload_arrived).sum()),
            notice_frames: notices.frames / peers,
            notice_bytes: notices.bytes / peers,
            hops_mean: journeys.iter().map(|journey| journey.hops_sum).sum::<u64>() as f64
                / hops_count.max(1) as f64,
            hops_max: journeys.iter().map(|journey| journey.hops_max).max().unwrap_or(0),
            links_mean: links_sum as f64 / peers,
            links_max: links.iter().copied().max().unwrap_or(0),
            egress_frames_max: stretches.egress_max,
            saved: 1.0 - gossip / flooding.max(1.0),
            kinds: KINDS
                .iter()
                .map(|kind| {
                    let sum = stretches.per_transaction(&[*kind]);
                    KindReport {
                        kind: kind.as_str(),
                        frames_per_peer: sum.frames / peers,
                        bytes_per_peer: sum.bytes / peers,
                    }
                })
                .collect(),
            evidence: world.ledger().evidence().clone(),
            wakes: world
                .ledger()
                .wakes()
                .iter()
                .map(|(why, count)| {
                    // A warm start wakes nobody.
                    let awake = world.now() - if self.warm_start { linked_after } else { 0 };
                    let seconds = (awake as f64 / 1e6).max(1e-6) * self.peers as f64;
                    (format!("{why:?}").to_lowercase(), *count as f64 / seconds)
                })
                .collect(),
            events: world.trace().events(),
            virtual_s: world.now() as f64 / 1e6,
            real_s: began.elapsed().as_secs_f64(),
            memory_peak_bytes: memory_peak_bytes(),
            trace: world.trace().digest(),
        }
    }

    /// Warms up, lets newcomers in, and sends what is measured: tokens, frames, links of each live peer before.
    fn measure(&self, run: &mut Run) -> (Vec<usize>, Stretches, Vec<usize>) {
        let seed = self.settings.seed;
        let mut bodies = random::child(seed, "bodies", 0);
        let mut origins = random::child(seed, "origins", 0);
        let mut submit = |world: &mut World, from: &[usize]| {
            let mut body = vec![0; self.body_bytes];
            bodies.fill_bytes(&mut body);
            let origin = from[(origins.next_u32() as usize) % from.len()];
            (origin, world.submit(origin, Bytes::from(body), "").expect("live peers run") as usize)
        };
        for _ in 0..self.warm_up {
            submit(&mut run.world, &run.live);
            let next = run.world.now() + WARM_UP_SPACING;
            run.world.run_until(next);
        }
        let rested = run.world.now() + REST;
        run.world.run_until(rested);
        for _ in 0..(self.peers as f64 * self.faults.newcomers) as usize {
            run.newcomers.push(join(&mut run.world));
        }
        if !run.newcomers.is_empty() {
            let begin = run.world.now() + NEWCOMERS_BEFORE;
            run.world.run_until(begin);
        }
        run.turnover.begin(run.world.now());

        let links = run.live.iter().map(|peer| run.world.network().open_ends(*peer).len()).collect();
        let mut lots = random::child(seed, "lots", 0);
        let (mut tokens, mut stretches) = (Vec::new(), Stretches::default());
        for _ in 0..self.transactions {
            run.world.ledger_mut().begin_stretch();
            let world = &run.world;
            let mut from = if !run.newcomers.is_empty() && lots.random_bool(0.5) {
                run.newcomers.clone()
            } else {
                run.live.clone()
            };
            from.retain(|peer| world.machines()[*peer].runs());
            let (origin, token) = submit(&mut run.world, &from);
            run.turnover.origins.insert(origin);
            tokens.push(token);
            let next = run.world.now() + self.spacing;
            run.turnover.run_until(&mut run.world, next);
            stretches.add(&run.world);
        }
        (tokens, stretches, links)
    }

    fn shown(&self, seed: u64) -> Shown {
        Shown {
            peers: self.peers,
            transactions: self.transactions,
            warm_up: self.warm_up,
            body_bytes: self.body_bytes,
            delay_ms: self.conditions.delay.mean_ms,
            sigma: self.conditions.delay.sigma,
            drop: self.conditions.drop,
            repair_rounds: self.repair_rounds,
            dead: self.faults.dead,
            nat: self.faults.nat,
            views: self.faults.views,
            withholding: self.faults.withholding,
            churn_per_minute: self.faults.churn_per_minute,
            newcomers: self.faults.newcomers,
            tcp_loss: self.conditions.tcp_loss,
            bandwidth_bps: self.conditions.bandwidth_bps,
            cold: self.cold,
            warm_start: self.warm_start,
            seed,
        }
    }

    fn start(&self, world: &mut World) {
        let seed = self.settings.seed;
        for number in 0..self.peers {
            let bootstrap = (0..BOOTSTRAP_PEERS.min(self.peers)).filter(|other| *other != number).collect();
            world.add(if self.cold || self.faults.churn_per_minute > 0.0 { bootstrap } else { Vec::new() });
        }
        self.faults.cast(world, seed);
        let all: Vec<_> = if self.cold {
            Vec::new()
        } else {
            (0..self.peers).map(|number| world.first_record(number)).collect()
        };
        let shared = Known::from(all.clone());
        let known = |number| {
            let differ = self.faults.views > 0.0;
            if differ { self.faults.known(number, &all, seed) } else { shared.clone() }
        };
        if self.warm_start {
            return world.start_linked(known);
        }
        for number in 0..self.peers {
            if number > 0 && self.faults.views > 0.0 {
                // The first one sees it right.
                let rows = world.machines()[0].core.as_ref().map_or(1, |core| core.status().rows);
                let rows = self.faults.rows(number, rows, seed);
                world.let_see_rows(number, rows);
            }
            world.start(number, &known(number));
        }
    }
}

/// Peers that had joined then, are honest, and still run.
fn audience(world: &World, at: Micros) -> Vec<usize> {
    let joined = |peer: &usize| {
        let machine = &world.machines()[*peer];
        let in_time = machine.started == 0 || machine.started + JOINED_AFTER <= at;
        machine.runs() && machine.withholds.is_none() && in_time
    };
    (0..world.machines().len()).filter(joined).collect()
}

/// Runs until the number of links has been the same for a while; answers since when.
fn settle(world: &mut World) -> Micros {
    let began = world.now();
    let (mut links, mut since) = (0, began);
    while world.now() - began < SETTLING_MAX {
        let next = world.now() + SETTLED / 6;
        world.run_until(next);
        let now: usize = (0..world.machines().len()).map(|peer| world.network().open_ends(peer).len()).sum();
        if now != links {
            (links, since) = (now, world.now());
        } else if world.now() - since >= SETTLED {
            break;
        }
    }
    since - began
}
