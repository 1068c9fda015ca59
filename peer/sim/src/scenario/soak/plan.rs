//! What is done to the world and when: follows from seed and mix before anything runs.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::mix::Mix;
use crate::peers::{MOMENTS, Moment};
use crate::queue::Micros;
use crate::random;

/// Peers that all begin with; they are honest, and nothing hides them.
pub(super) const BOOTSTRAP_PEERS: usize = 3;

/// One thing done to the world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Act {
    Submit(Draft),
    Join(usize),
    Crash { peer: usize, silent: bool },
    Trap { peer: usize, moment: Moment },
    Stop(usize),
    Return(usize),
    Partition { draw: u64, one_way: bool },
    Heal,
    Drop(f64),
    Loss(f64),
    Full { peer: usize, on: bool },
    WriteErrors { peer: usize, on: bool },
    ReadErrors { peer: usize, on: bool },
    Slow { peer: usize, slowness: u64 },
    BackUp(usize),
    Replace { peer: usize, by_backup: bool },
    Clock { peer: usize, ahead_ms: i64 },
    Drain(usize),
    Resume(usize),
    Bootstrap { peer: usize, draw: u64 },
}

impl Act {
    /// The kind of fault, for reports; `None` for what is no fault.
    pub(super) fn fault(&self) -> Option<&'static str> {
        Some(match self {
            Self::Join(_) => "late joins",
            Self::Crash { silent: true, .. } => "machines lost",
            Self::Crash { .. } => "crashes",
            Self::Stop(_) => "stops",
            Self::Partition { one_way: true, .. } => "one-way partitions",
            Self::Partition { .. } => "partitions",
            Self::Drop(share) if *share > 0.0 => "times of shedding",
            Self::Loss(share) if *share > 0.0 => "times of TCP loss",
            Self::Full { on: true, .. } => "full disks",
            Self::WriteErrors { on: true, .. } => "failing writes",
            Self::ReadErrors { on: true, .. } => "failing reads",
            Self::Slow { slowness: 2.., .. } => "slow disks",
            Self::Replace { by_backup: true, .. } => "disks restored",
            Self::Replace { .. } => "disks wiped",
            Self::Clock { .. } => "clock jumps",
            Self::Drain(_) => "drains",
            Self::Bootstrap { .. } => "other bootstraps",
            _ => return None,
        })
    }
}

/// A submission to be made; `number` gives its body and its key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Draft {
    pub(super) peer: usize,
    pub(super) number: u64,
    pub(super) bytes: usize,
    pub(super) keyed: bool,
}

/// Peers that join late, in their order: the last ones.
pub(super) fn late(mix: &Mix) -> std::ops::Range<usize> {
    let late = (mix.peers as f64 * mix.late) as usize;
    (mix.peers - late).max(BOOTSTRAP_PEERS.min(mix.peers))..mix.peers
}

/// Everything, in the order of its time.
pub(super) fn plan(seed: u64, mix: &Mix) -> Vec<(Micros, Act)> {
    let mut plan = Plan { seed, peers: mix.peers, length: mix.seconds * 1_000_000, acts: Vec::new() };
    plan.submissions(mix.submit_every_seconds);
    let mut joins = random::child(seed, "soak join", 0);
    for peer in late(mix) {
        let at = joins.random_range(0..plan.length);
        plan.acts.push((at, Act::Join(peer)));
    }
    plan.lives(mix);
    plan.weather(mix);
    plan.disks(mix);
    plan.clocks_and_operators(mix);
    plan.acts.sort_by_key(|(at, _)| *at);
    plan.acts
}

struct Plan {
    seed: u64,
    peers: usize,
    length: Micros,
    acts: Vec<(Micros, Act)>,
}

impl Plan {
    /// Adds what `act` draws at the times of a kind; it answers what is done at once, and what some time later.
    fn add(
        &mut self,
        kind: &str,
        every_seconds: f64,
        mut act: impl FnMut(&mut ChaCha8Rng, usize) -> (Act, Option<(Micros, Act)>),
    ) {
        if every_seconds == 0.0 {
            return;
        }
        let rng = &mut random::child(self.seed, kind, 0);
        for at in times(rng, self.length, (every_seconds * 1e6) as Micros) {
            let peer = rng.random_range(0..self.peers);
            let (now, later) = act(rng, peer);
            self.acts.push((at, now));
            self.acts.extend(later.map(|(after, act)| (at + after, act)));
        }
    }

    fn submissions(&mut self, every_seconds: f64) {
        let mut number = 0;
        self.add("soak submit", every_seconds, |rng, peer| {
            let bytes = match rng.random_range(0..10) {
                0 => 0,
                1 => rng.random_range(5_000..200_000),
                _ => rng.random_range(1..3_000),
            };
            number += 1;
            (Act::Submit(Draft { peer, number, bytes, keyed: rng.random_bool(0.4) }), None)
        });
    }

    fn lives(&mut self, mix: &Mix) {
        self.add("soak crash", mix.crash_every_seconds, |rng, peer| {
            let back = rng.random_range(500_000..20_000_000);
            (Act::Crash { peer, silent: rng.random_bool(0.3) }, Some((back, Act::Return(peer))))
        });
        self.add("soak moment", mix.moment_every_seconds, |rng, peer| {
            let moment = *MOMENTS.choose(rng).expect("there are some");
            let back = rng.random_range(500_000..10_000_000);
            (Act::Trap { peer, moment }, Some((back, Act::Return(peer))))
        });
        self.add("soak stop", mix.stop_every_seconds, |rng, peer| {
            (Act::Stop(peer), Some((rng.random_range(1_000_000..10_000_000), Act::Return(peer))))
        });
    }

    fn weather(&mut self, mix: &Mix) {
        self.add("soak partition", mix.partition_every_seconds, |rng, _| {
            let cut = Act::Partition { draw: rng.random(), one_way: rng.random_bool(0.2) };
            (cut, Some((rng.random_range(1_000_000..30_000_000), Act::Heal)))
        });
        self.add("soak drop", mix.drop_every_seconds, |rng, _| {
            let share = rng.random_range(0.05..0.5);
            (Act::Drop(share), Some((rng.random_range(1_000_000..10_000_000), Act::Drop(0.0))))
        });
        self.add("soak loss", mix.loss_every_seconds, |rng, _| {
            let share = rng.random_range(0.01..0.2);
            (Act::Loss(share), Some((rng.random_range(1_000_000..10_000_000), Act::Loss(0.0))))
        });
    }

    fn disks(&mut self, mix: &Mix) {
        let after = |rng: &mut ChaCha8Rng| rng.random_range(1_000_000..15_000_000);
        self.add("soak full", mix.full_every_seconds, |rng, peer| {
            (Act::Full { peer, on: true }, Some((after(rng), Act::Full { peer, on: false })))
        });
        self.add("soak slow", mix.slow_every_seconds, |rng, peer| {
            let slowness = rng.random_range(10..200);
            (Act::Slow { peer, slowness }, Some((after(rng), Act::Slow { peer, slowness: 1 })))
        });
        self.add("soak write errors", mix.write_errors_every_seconds, |rng, peer| {
            (Act::WriteErrors { peer, on: true }, Some((after(rng), Act::WriteErrors { peer, on: false })))
        });
        self.add("soak read errors", mix.read_errors_every_seconds, |rng, peer| {
            (Act::ReadErrors { peer, on: true }, Some((after(rng), Act::ReadErrors { peer, on: false })))
        });
        self.add("soak wipe", mix.wipe_every_seconds, |_, peer| {
            (Act::Replace { peer, by_backup: false }, Some((1_000_000, Act::Return(peer))))
        });
        let mut restored = Vec::new();
        self.add("soak restore", mix.restore_every_seconds, |rng, peer| {
            let after = rng.random_range(2_000_000..20_000_000);
            restored.push(peer);
            (Act::BackUp(peer), Some((after, Act::Replace { peer, by_backup: true })))
        });
        let length = self.length;
        for peer in restored {
            // Also where it has not come back by other acts until then.
            self.acts.push((length, Act::Return(peer)));
        }
    }

    fn clocks_and_operators(&mut self, mix: &Mix) {
        let stray = mix.clock_stray_seconds as i64 * 1000;
        self.add("soak clock", mix.clock_every_seconds, |rng, peer| {
            (Act::Clock { peer, ahead_ms: rng.random_range(-stray..=stray) }, None)
        });
        self.add("soak drain", mix.drain_every_seconds, |rng, peer| {
            (Act::Drain(peer), Some((rng.random_range(1_000_000..10_000_000), Act::Resume(peer))))
        });
        self.add("soak bootstrap", mix.bootstrap_every_seconds, |rng, peer| {
            (Act::Bootstrap { peer, draw: rng.random() }, None)
        });
    }
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
