//! How fast, and at what cost, transactions reach everybody: the figures of docs/design.md § 3 and § 8.

use std::time::Instant;

use bytes::Bytes;
use rand::RngCore;
use rand::seq::SliceRandom;
use sorcha_peer_core::types::TxId;

use crate::ledger::{Count, Journey, KINDS, Kind};
use crate::network::Conditions;
use crate::queue::Micros;
use crate::random;
use crate::report::{Conditions as Shown, KindReport, Quantiles, ReachReport, memory_peak_bytes};
use crate::world::{Settings, World};

/// Peers that a cold start begins with.
const BOOTSTRAP_PEERS: usize = 3;
/// Links have settled when their number has not changed for this long.
const SETTLED: Micros = 3_000_000;
/// Longest wait for links to settle.
const SETTLING_MAX: Micros = 300_000_000;
/// A pause between warm-up transactions: far enough apart that each is answered, near enough to stay unnoticed.
const WARM_UP_SPACING: Micros = 50_000;
/// After the last warm-up transaction everything comes to rest.
const REST: Micros = 3_000_000;
/// The reach that docs/design.md § 8 asks for by then.
const REACH_BY: Micros = 3_000_000;

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
    /// Share of peers that die silently once all are linked.
    pub dead: f64,
    /// Share of peers behind a NAT; the bootstrap peers are not.
    pub nat: f64,
    /// Peers know three others at first, instead of all records.
    pub cold: bool,
    /// The network; faults begin once all are linked.
    pub conditions: Conditions,
    /// Of the world; its conditions are those above.
    pub settings: Settings,
}

impl Reach {
    /// Runs it.
    pub fn run(&self) -> ReachReport {
        let began = Instant::now();
        let seed = self.settings.seed;
        let calm = Conditions { drop: 0.0, tcp_loss: 0.0, ..self.conditions };
        let mut world = World::new(Settings { conditions: calm, ..self.settings.clone() });
        self.start(&mut world);
        let linked_after = settle(&mut world);

        let live = self.kill(&mut world);
        world.set_conditions(self.conditions);
        let mut bodies = random::child(seed, "bodies", 0);
        let mut origins = random::child(seed, "origins", 0);
        let mut submit = |world: &mut World| {
            let mut body = vec![0; self.body_bytes];
            bodies.fill_bytes(&mut body);
            let origin = live[(origins.next_u32() as usize) % live.len()];
            world.submit(origin, Bytes::from(body), "").expect("live peers run") as usize
        };
        for _ in 0..self.warm_up {
            submit(&mut world);
            let next = world.now() + WARM_UP_SPACING;
            world.run_until(next);
        }
        let rested = world.now() + REST;
        world.run_until(rested);

        let links: Vec<usize> = live.iter().map(|peer| world.network().open_ends(*peer).len()).collect();
        let mut tokens = Vec::new();
        let mut stretches = Stretches::default();
        for _ in 0..self.transactions {
            world.ledger_mut().begin_stretch();
            tokens.push(submit(&mut world));
            let next = world.now() + self.spacing;
            world.run_until(next);
            stretches.add(&world);
        }
        // The core spreads its rounds between half and one and a half of the interval.
        let interval = u64::try_from(self.settings.config.sync_interval.as_micros()).unwrap_or(u64::MAX);
        let rounds = interval.saturating_mul(u64::from(self.repair_rounds)).saturating_mul(3) / 2;
        let end = world.now().saturating_add(rounds).saturating_add(REACH_BY);
        world.run_until(end);

        let accepted: Vec<TxId> = tokens
            .iter()
            .filter_map(|token| world.ledger().submissions()[*token].reply.clone()?.ok())
            .collect();
        let journeys: Vec<&Journey> = accepted.iter().filter_map(|id| world.ledger().journey(id)).collect();
        let spread = Spread::of(&journeys, &live);
        let (peers, shares) = (live.len() as f64, (journeys.len() * live.len()).max(1) as f64);
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
                    let seconds = (world.now() as f64 / 1e6).max(1e-6) * self.peers as f64;
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
            dead: self.dead,
            nat: self.nat,
            tcp_loss: self.conditions.tcp_loss,
            bandwidth_bps: self.conditions.bandwidth_bps,
            cold: self.cold,
            seed,
        }
    }

    fn start(&self, world: &mut World) {
        for number in 0..self.peers {
            let bootstrap = (0..BOOTSTRAP_PEERS.min(self.peers)).filter(|other| *other != number).collect();
            world.add(if self.cold { bootstrap } else { Vec::new() });
        }
        let mut natted: Vec<usize> = (BOOTSTRAP_PEERS.min(self.peers)..self.peers).collect();
        natted.shuffle(&mut random::child(self.settings.seed, "nat", 0));
        for number in natted.into_iter().take((self.peers as f64 * self.nat) as usize) {
            world.put_behind_nat(number);
        }
        let known: Vec<_> = if self.cold {
            Vec::new()
        } else {
            (0..self.peers).map(|number| world.first_record(number)).collect()
        };
        for number in 0..self.peers {
            world.start(number, &known);
        }
    }

    /// Lets the share of peers die that was asked for; answers the others.
    fn kill(&self, world: &mut World) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.peers).collect();
        all.shuffle(&mut random::child(self.settings.seed, "dead", 0));
        let dead = ((self.peers as f64 * self.dead) as usize).min(self.peers - 1);
        for peer in all.drain(..dead) {
            world.crash(peer, true);
        }
        all.sort_unstable();
        all
    }
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

/// Frames over all stretches, a stretch being one transaction's.
#[derive(Debug, Default)]
struct Stretches {
    sums: [Count; KINDS.len()],
    count: u64,
    egress_max: u64,
}

#[derive(Debug, Default)]
struct Mean {
    frames: f64,
    bytes: f64,
}

impl Stretches {
    fn add(&mut self, world: &World) {
        for (sum, kind) in self.sums.iter_mut().zip(KINDS) {
            let count = world.ledger().sent(kind);
            sum.frames += count.frames;
            sum.bytes += count.bytes;
        }
        self.count += 1;
        self.egress_max = self.egress_max.max(world.ledger().egress_max());
    }

    fn per_transaction(&self, kinds: &[Kind]) -> Mean {
        let mut mean = Mean::default();
        for (sum, kind) in self.sums.iter().zip(KINDS) {
            if kinds.contains(&kind) {
                mean.frames += sum.frames as f64 / self.count.max(1) as f64;
                mean.bytes += sum.bytes as f64 / self.count.max(1) as f64;
            }
        }
        mean
    }
}

/// Who held what when.
struct Spread {
    /// Time to 90 % of the live peers, ms; for transactions that reached them.
    most: Vec<f64>,
    /// Time to the last live peer, ms; for transactions that reached it.
    last: Vec<f64>,
    /// Transactions that missed a live peer to the end.
    incomplete: usize,
    /// Share of (transaction, live peer) within 3 s.
    by_3_s: f64,
    /// The same at the end.
    at_all: f64,
}

impl Spread {
    fn of(journeys: &[&Journey], live: &[usize]) -> Self {
        let mut spread = Self { most: Vec::new(), last: Vec::new(), incomplete: 0, by_3_s: 0.0, at_all: 0.0 };
        let most = (live.len() * 9).div_ceil(10);
        let (mut early, mut held) = (0, 0);
        for journey in journeys {
            let mut times: Vec<Micros> = live
                .iter()
                .filter_map(|peer| journey.held.get(*peer).copied().flatten())
                .map(|at| at - journey.submitted)
                .collect();
            times.sort_unstable();
            early += times.partition_point(|time| *time <= REACH_BY);
            held += times.len();
            spread.most.extend(times.get(most - 1).map(|time| *time as f64 / 1e3));
            if times.len() == live.len() {
                spread.last.extend(times.last().map(|time| *time as f64 / 1e3));
            } else {
                spread.incomplete += 1;
            }
        }
        let pairs = (journeys.len() * live.len()).max(1) as f64;
        spread.by_3_s = f64::from(early as u32) / pairs;
        spread.at_all = held as f64 / pairs;
        spread
    }
}
