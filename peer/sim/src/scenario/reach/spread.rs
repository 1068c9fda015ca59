//! What is made of what was seen: who held what when, and what that cost.

use crate::ledger::{Count, Journey, KINDS, Kind};
use crate::queue::Micros;
use crate::world::World;

/// The reach that docs/design.md § 8 asks for by then.
pub(super) const REACH_BY: Micros = 3_000_000;
/// Points of the picture of reach over time.
const PICTURE_POINTS: u64 = 60;

/// Frames over all stretches, a stretch being one transaction's.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    sums: [Count; KINDS.len()],
    count: u64,
    pub(super) egress_max: u64,
}

/// Per transaction.
#[derive(Debug, Default)]
pub(super) struct Mean {
    pub(super) frames: f64,
    pub(super) bytes: f64,
}

impl Stretches {
    pub(super) fn add(&mut self, world: &World) {
        for (sum, kind) in self.sums.iter_mut().zip(KINDS) {
            let count = world.ledger().sent(kind);
            sum.frames += count.frames;
            sum.bytes += count.bytes;
        }
        self.count += 1;
        self.egress_max = self.egress_max.max(world.ledger().egress_max());
    }

    pub(super) fn per_transaction(&self, kinds: &[Kind]) -> Mean {
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

/// One transaction and whom it should reach: peers that had joined when it was submitted, are honest, and live to the end.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) journey: &'a Journey,
    pub(super) audience: Vec<usize>,
}

/// Who held what when.
#[derive(Debug)]
pub(super) struct Spread {
    /// Time to 90 % of the audience, ms; for transactions that reached them.
    pub(super) most: Vec<f64>,
    /// Time to the last of the audience, ms; for transactions that reached it.
    pub(super) last: Vec<f64>,
    /// Transactions that missed somebody to the end.
    pub(super) incomplete: usize,
    /// Share of (transaction, peer of its audience) within 3 s.
    pub(super) by_3_s: f64,
    /// The same at the end.
    pub(super) at_all: f64,
    /// (transaction, peer of its audience).
    pub(super) pairs: usize,
    /// The same share over time: ms, share.
    pub(super) over_time: Vec<(f64, f64)>,
}

impl Spread {
    pub(super) fn of(samples: &[Sample<'_>]) -> Self {
        let mut spread = Self {
            most: Vec::new(),
            last: Vec::new(),
            incomplete: 0,
            by_3_s: 0.0,
            at_all: 0.0,
            pairs: samples.iter().map(|sample| sample.audience.len()).sum::<usize>().max(1),
            over_time: Vec::new(),
        };
        let mut all: Vec<Micros> = Vec::with_capacity(spread.pairs);
        for Sample { journey, audience } in samples {
            let mut times: Vec<Micros> = audience
                .iter()
                .filter_map(|peer| journey.held.get(*peer).copied().flatten())
                .map(|at| at - journey.submitted)
                .collect();
            times.sort_unstable();
            let most = (audience.len() * 9).div_ceil(10).max(1);
            spread.most.extend(times.get(most - 1).map(|time| *time as f64 / 1e3));
            if times.len() == audience.len() {
                spread.last.extend(times.last().map(|time| *time as f64 / 1e3));
            } else {
                spread.incomplete += 1;
            }
            all.extend(times);
        }
        all.sort_unstable();
        let share = |count: usize| count as f64 / spread.pairs as f64;
        spread.by_3_s = share(all.partition_point(|time| *time <= REACH_BY));
        spread.at_all = share(all.len());
        // To where nearly all have it; what comes later is in the table.
        let until = all.get(all.len().saturating_sub(1) * 999 / 1000).copied().unwrap_or(0).min(REACH_BY);
        spread.over_time = (0..=PICTURE_POINTS)
            .map(|point| {
                let at = until * point / PICTURE_POINTS;
                (at as f64 / 1e3, share(all.partition_point(|time| *time <= at)))
            })
            .collect();
        spread
    }
}
