//! What is wrong with peers, as opposed to the network: some are dead, hidden, mistaken, dishonest, new, or come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sorcha_peer_core::config::Known;
use sorcha_peer_core::envelope::SignedRecord;

use crate::peers::Withholding;
use crate::queue::Micros;
use crate::random;
use crate::world::World;

/// Peers that others begin with; they stay, can be dialled, and are honest.
pub(super) const BOOTSTRAP_PEERS: usize = 3;
/// A peer that started this long ago counts as a receiver: it has had time to join. Guess: a few round trips and dials.
pub(super) const JOINED_AFTER: Micros = 5_000_000;

/// Shares of peers, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// They die silently once all are linked.
    pub dead: f64,
    /// They are behind a NAT: they dial and cannot be dialled.
    pub nat: f64,
    /// Everyone misses this share of the roster from beginning to end; such a share sees half as many rows, and another
    /// such share twice as many.
    pub views: f64,
    /// They take transactions and pass none on; half of them announce what they will not give, half announce nothing.
    pub withholding: f64,
    /// They are replaced per minute by newcomers; half say goodbye, half die silently.
    pub churn_per_minute: f64,
    /// They join, knowing three others, just before the measurement; half of the transactions are theirs.
    pub newcomers: f64,
}

impl Faults {
    /// Gives every machine its part, before any is started.
    pub(super) fn cast(&self, world: &mut World, seed: u64) {
        let peers = world.machines().len();
        let some = |kind: &str, share: f64| {
            let mut all: Vec<usize> = (BOOTSTRAP_PEERS.min(peers)..peers).collect();
            all.shuffle(&mut random::child(seed, kind, 0));
            all.truncate((peers as f64 * share) as usize);
            all
        };
        for peer in some("nat", self.nat) {
            world.put_behind_nat(peer);
        }
        for (at, peer) in some("withholding", self.withholding).into_iter().enumerate() {
            let how = if at % 2 == 0 { Withholding::Lying } else { Withholding::Silent };
            world.let_withhold(peer, how);
        }
    }

    /// What a peer knows at its start, of all records, where views differ.
    pub(super) fn known(&self, peer: usize, all: &[Arc<SignedRecord>], seed: u64) -> Known {
        let mut rng = random::child(seed, "views", peer as u64);
        all.iter().filter(|_| !rng.random_bool(self.views)).cloned().collect::<Vec<_>>().into()
    }

    /// The row count that a peer sees where `rows` is right; `None`: as it follows from its roster.
    pub(super) fn rows(&self, peer: usize, rows: u32, seed: u64) -> Option<u32> {
        if self.views <= 0.0 || rows <= 1 {
            return None;
        }
        let lot: f64 = random::child(seed, "rows", peer as u64).random();
        if lot < self.views {
            Some((rows / 2).max(1))
        } else if lot < 2.0 * self.views {
            Some(rows * 2)
        } else {
            None
        }
    }

    /// Lets the dead die; answers the peers that live and are honest.
    pub(super) fn kill(&self, world: &mut World, seed: u64) -> Vec<usize> {
        let peers = world.machines().len();
        let mut all: Vec<usize> = (0..peers).collect();
        all.shuffle(&mut random::child(seed, "dead", 0));
        let dead = ((peers as f64 * self.dead) as usize).min(peers - 1);
        for peer in all.drain(..dead) {
            world.crash(peer, true);
        }
        all.retain(|peer| world.machines()[*peer].withholds.is_none());
        all.sort_unstable();
        all
    }
}

/// Peers that come and go while transactions are measured.
#[derive(Debug)]
pub(super) struct Turnover {
    rng: ChaCha8Rng,
    /// Between two replacements; 0: nobody comes or goes.
    interval: Micros,
    next: Micros,
    /// Whose transactions are measured: they stay.
    pub(super) origins: BTreeSet<usize>,
    /// Replaced so far.
    pub(super) replaced: usize,
    /// When the peers that were told to stop end.
    ending: Vec<(Micros, usize)>,
}

/// A supervisor gives a peer that was told to stop this long.
const STOPPING: Micros = 1_000_000;

impl Turnover {
    pub(super) fn new(per_minute: f64, peers: usize, seed: u64) -> Self {
        let each = per_minute * peers as f64;
        Self {
            rng: random::child(seed, "churn", 0),
            interval: if each > 0.0 { (60e6 / each) as Micros } else { 0 },
            next: Micros::MAX,
            origins: BTreeSet::new(),
            replaced: 0,
            ending: Vec::new(),
        }
    }

    /// From now on peers are replaced.
    pub(super) fn begin(&mut self, now: Micros) {
        if self.interval > 0 {
            self.next = now + self.interval;
        }
    }

    /// From now on nobody else comes or goes.
    pub(super) fn end(&mut self) {
        self.next = Micros::MAX;
    }

    /// Lets everything happen up to `until`.
    pub(super) fn run_until(&mut self, world: &mut World, until: Micros) {
        loop {
            let ending = self.ending.first().map_or(Micros::MAX, |(at, _)| *at);
            let next = self.next.min(ending);
            if next > until {
                break;
            }
            world.run_until(next);
            if ending <= self.next {
                let (_, peer) = self.ending.remove(0);
                world.crash(peer, false);
            } else {
                self.replace(world);
                self.next += self.interval;
            }
        }
        world.run_until(until);
    }

    fn replace(&mut self, world: &mut World) {
        let machines = world.machines();
        let may_go: Vec<usize> = (BOOTSTRAP_PEERS..machines.len())
            .filter(|peer| machines[*peer].runs() && !self.origins.contains(peer))
            .filter(|peer| !self.ending.iter().any(|(_, ending)| ending == peer))
            .collect();
        let Some(at) = may_go.len().checked_sub(1).map(|last| self.rng.random_range(0..=last)) else {
            return;
        };
        if self.rng.random_bool(0.5) {
            world.shut_down(may_go[at], true);
            self.ending.push((world.now() + STOPPING, may_go[at]));
        } else {
            world.crash(may_go[at], true);
        }
        join(world);
        self.replaced += 1;
    }
}

/// Another peer comes, knowing those to begin with; answers its number.
pub(super) fn join(world: &mut World) -> usize {
    let peer = world.add((0..BOOTSTRAP_PEERS.min(world.machines().len())).collect());
    world.start(peer, &Known::default());
    peer
}
