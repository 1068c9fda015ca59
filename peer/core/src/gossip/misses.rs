//! How often a push goes missing, and what follows from it: heads per row, waves of announcements, waits (docs/design.md § 3.4).
//!
//! The estimate is of one way from an origin over one head. It counts only transactions whose push never
//! arrived: counting what was fetched would mistake lateness for loss, and drift.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::types::{Time, TxId};
use crate::view::Size;

/// Weight of one transaction in the estimate (docs/design.md § 3.4).
const GAIN: f64 = 0.05;
/// Share of peers that all pushes together may miss. docs/design.md § 3.4 has whole numbers of heads with at most 0.1: with 20 % of
/// frames dropped that is three, 2.4 copies, more than the bar of 2.2, and with two the slowest tenth waits for announcements. A
/// mean over rows between the two meets both bars (simulated, 1,000 peers at 60 ms: 0.085 2.21 copies, 0.14 2.16, p95 to 90 % of
/// them 260 and 269 ms).
const MISSED_MAX: f64 = 0.14;
/// Heads beyond the first for each missed push, whatever is enough: where a tenth is missed, the tenth that comes last does not all
/// wait for announcements (docs/design.md § 3.4).
const HEADS_FOR_MISSED: f64 = 2.5;
/// From this estimate on announcements are repeated and waited for less (docs/design.md § 3.4).
const LOSSY_MIN: f64 = 0.1;
/// Heads per row at most (docs/design.md § 3.4): a third still helps, a fourth costs more than announcements do.
const HEADS_MAX: f64 = 3.0;
/// A push that comes later than this after the transaction counts as missing. Guess: ten times what two hops take
/// on a WAN.
const JUDGED_AFTER: Duration = Duration::from_secs(3);
/// Transactions that wait for their verdict; beyond it they are not counted. 3 s at 1,000 transactions/s.
const JUDGING_MAX: usize = 4096;

/// The estimate, and what is still to be counted.
#[derive(Debug, Default)]
pub(crate) struct Misses {
    estimate: f64,
    pushed: BTreeMap<TxId, bool>,
    order: VecDeque<(Time, TxId)>,
}

impl Misses {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 2] {
        [
            Size { name: "transactions to be judged", len: self.order.len(), max: JUDGING_MAX },
            Size { name: "transactions judged by their pushes", len: self.pushed.len(), max: JUDGING_MAX },
        ]
    }

    /// A transaction has come; `pushed`: by a push, not by repair.
    pub(crate) fn received(&mut self, id: TxId, pushed: bool, now: Time) {
        self.judge(now);
        if self.order.len() < JUDGING_MAX && self.pushed.insert(id, pushed).is_none() {
            self.order.push_back((now + JUDGED_AFTER, id));
        }
    }

    /// A push of it has come, if only now.
    pub(crate) fn pushed(&mut self, id: &TxId) {
        if let Some(pushed) = self.pushed.get_mut(id) {
            *pushed = true;
        }
    }

    fn judge(&mut self, now: Time) {
        while let Some((due, id)) = self.order.front().copied()
            && due <= now
        {
            self.order.pop_front();
            let missed = f64::from(u8::from(self.pushed.remove(&id) == Some(false)));
            // Over rows the origin's heads are one of two whole numbers.
            let (heads, above) = (self.heads().floor(), self.heads().fract());
            let expected =
                (1.0 - above) * self.estimate.powf(heads) + above * self.estimate.powf(heads + 1.0);
            self.estimate = (self.estimate + GAIN * (missed - expected)).clamp(0.0, 1.0);
        }
    }

    /// Heads that an origin gives a transaction to in each row, on average over rows: so many that few enough peers miss
    /// all their pushes.
    pub(crate) fn heads(&self) -> f64 {
        let enough = MISSED_MAX.ln() / self.estimate.clamp(0.001, 0.99).ln();
        enough.max(1.0 + HEADS_FOR_MISSED * self.estimate).min(HEADS_MAX)
    }

    /// One way in ten or more fails.
    pub(crate) fn is_lossy(&self) -> bool {
        self.estimate >= LOSSY_MIN
    }

    /// How much a push is to be waited for: 0 where none is missed, 1 from half of that on. Announcements may be asked for sooner than
    /// their waves need to be repeated.
    pub(crate) fn lossiness(&self) -> f64 {
        (self.estimate / (LOSSY_MIN / 2.0)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TxId {
        TxId::of_header(&number.to_le_bytes())
    }

    /// Feeds transactions of which this share misses each way, over as many ways as there are heads.
    fn after(count: u64, lost: f64) -> Misses {
        let mut misses = Misses::default();
        let mut debt = 0.0;
        for number in 0..count {
            let (heads, above) = (misses.heads().floor(), misses.heads().fract());
            debt += (1.0 - above) * lost.powf(heads) + above * lost.powf(heads + 1.0);
            let missed = debt >= 1.0;
            debt -= f64::from(u8::from(missed));
            misses.received(id(number), !missed, Time::from_micros(number * 1_000_000));
        }
        misses
    }

    #[test]
    fn heads_follow_what_is_lost() {
        for (lost, heads) in [(0.0, 1.0), (0.05, 1.0), (0.2, 1.5), (0.36, 1.92), (0.55, 3.0), (0.9, 3.0)] {
            let misses = after(2000, lost);
            let found = misses.heads();
            assert!((found - heads).abs() < 0.2, "{lost}: {found}, estimated {}", misses.estimate);
            assert_eq!(misses.is_lossy(), lost >= 0.1, "{lost}: estimated {}", misses.estimate);
        }
    }

    #[test]
    fn a_late_push_is_no_miss() {
        let mut misses = Misses::default();
        for number in 0..100 {
            misses.received(id(number), false, Time::ZERO);
            misses.pushed(&id(number));
        }
        misses.judge(Time::ZERO + JUDGED_AFTER);
        assert_eq!((misses.estimate, misses.pushed.len()), (0.0, 0));
    }

    #[test]
    fn what_waits_for_its_verdict_keeps_under_its_bound() {
        let mut misses = Misses::default();
        for number in 0..2 * JUDGING_MAX as u64 {
            misses.received(id(number), false, Time::ZERO);
        }
        assert_eq!((misses.pushed.len(), misses.order.len()), (JUDGING_MAX, JUDGING_MAX));
    }
}
