//! Which rung to dial an address on: what worked there last, and when a better one is worth a try.
//!
//! A circuit breaker (Nygard, "Release It!") for each address: a rung that failed is left alone for a while, then tried
//! once; where it fails again the while doubles.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sorcha_peer_core::event::Rung;
use sorcha_peer_core::types::Address;
use tokio::time::Instant;

/// Best first.
pub(super) const RUNGS: [Rung; 3] = [Rung::Stream, Rung::Exchange, Rung::Rest];
/// Addresses remembered; beyond it those whose time has come are forgotten, then all.
const ADDRESSES_MAX: usize = 4_096;
/// A better rung that fails is left alone at most so many times as long as the first time: 15 min by default.
const CLIMB_TIMES_MAX: u32 = 20;
/// A link that breaks sooner than this is a sign that its rung does not hold: middleboxes that cut long connections do so
/// after seconds. Guess.
const HOLDS_AFTER: Duration = Duration::from_secs(10);

/// What is known of one address.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Where dials begin until `until`.
    rung: Rung,
    until: Instant,
    /// How long the next failure of a better rung holds.
    pause: Duration,
}

/// Of all addresses where the best rung did not do.
#[derive(Debug)]
pub(super) struct Ladder {
    steps: Mutex<HashMap<Address, Step>>,
    climb_after: Duration,
}

impl Ladder {
    /// A better rung is tried again after `climb_after`.
    pub(super) fn new(climb_after: Duration) -> Self {
        Self { steps: Mutex::default(), climb_after }
    }

    /// The rungs to try now, in this order.
    pub(super) fn plan(&self, address: &Address) -> &'static [Rung] {
        let steps = self.lock();
        let first = steps.get(address).filter(|step| Instant::now() < step.until).map(|step| step.rung);
        let first = RUNGS.iter().position(|rung| Some(*rung) == first).unwrap_or(0);
        &RUNGS[first..]
    }

    /// When a link to this address on a lower rung may look for a better one.
    pub(super) fn climb_at(&self, address: &Address) -> Instant {
        self.lock().get(address).map_or_else(|| Instant::now() + self.climb_after, |step| step.until)
    }

    /// A link came up there on this rung, the first of the plan that did.
    pub(super) fn works(&self, address: &Address, rung: Rung) {
        if rung == Rung::Stream {
            return; // it has to hold first
        }
        self.step_down(address, rung);
    }

    /// Nothing came of this rung in time. Dials begin with the next one for a while; where it was the last, with the first.
    pub(super) fn silent(&self, address: &Address, rung: Rung) {
        match RUNGS.into_iter().find(|lower| *lower > rung) {
            Some(lower) => self.step_down(address, lower),
            None => drop(self.lock().remove(address)),
        }
    }

    /// A link of this rung ended; `broke`: neither side had closed it.
    pub(super) fn ended(&self, address: &Address, rung: Rung, lived: Duration, broke: bool) {
        if broke && lived < HOLDS_AFTER {
            if let Some(lower) = RUNGS.into_iter().find(|lower| *lower > rung) {
                self.step_down(address, lower);
            }
        } else if rung == Rung::Stream && lived >= HOLDS_AFTER {
            self.lock().remove(address);
        }
    }

    fn step_down(&self, address: &Address, rung: Rung) {
        let now = Instant::now();
        let mut steps = self.lock();
        if steps.len() >= ADDRESSES_MAX && !steps.contains_key(address) {
            steps.retain(|_, step| step.until > now);
            if steps.len() >= ADDRESSES_MAX {
                steps.clear();
            }
        }
        let step = steps.entry(address.clone()).or_insert(Step { rung, until: now, pause: self.climb_after });
        if step.rung != rung || step.until <= now {
            *step = Step {
                rung,
                until: now + step.pause,
                pause: (step.pause * 2).min(self.climb_after * CLIMB_TIMES_MAX),
            };
        }
    }

    /// Nothing in here breaks half way, so that a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_lower_rung_that_works_comes_first_until_it_is_time_to_climb() {
        let (ladder, address) = (Ladder::new(45 * SECOND), Address::new("a:1"));
        assert_eq!(ladder.plan(&address), RUNGS);
        ladder.works(&address, Rung::Rest);
        assert_eq!(ladder.plan(&address), [Rung::Rest]);
        tokio::time::advance(46 * SECOND).await;
        assert_eq!(ladder.plan(&address), RUNGS, "one try");
        ladder.works(&address, Rung::Rest);
        tokio::time::advance(46 * SECOND).await;
        assert_eq!(ladder.plan(&address), [Rung::Rest], "it failed again: twice the time");
        assert_eq!(ladder.plan(&Address::new("b:1")), RUNGS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rung_whose_links_break_soon_is_left_and_one_that_holds_is_forgiven() {
        let (ladder, address) = (Ladder::new(45 * SECOND), Address::new("a:1"));
        ladder.ended(&address, Rung::Stream, 5 * SECOND, false);
        ladder.ended(&address, Rung::Stream, 60 * SECOND, true);
        assert_eq!(ladder.plan(&address), RUNGS);
        ladder.ended(&address, Rung::Stream, 5 * SECOND, true);
        assert_eq!(ladder.plan(&address), [Rung::Exchange, Rung::Rest]);
        ladder.ended(&address, Rung::Exchange, SECOND, true);
        assert_eq!(ladder.plan(&address), [Rung::Rest]);
        ladder.ended(&address, Rung::Rest, SECOND, true);
        assert_eq!(ladder.plan(&address), [Rung::Rest], "there is none below");
        ladder.ended(&address, Rung::Stream, 11 * SECOND, true);
        assert_eq!(ladder.plan(&address), RUNGS);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_leads_down_and_from_the_last_rung_up_again() {
        let (ladder, address) = (Ladder::new(45 * SECOND), Address::new("a:1"));
        ladder.silent(&address, Rung::Stream);
        assert_eq!(ladder.plan(&address), [Rung::Exchange, Rung::Rest]);
        ladder.silent(&address, Rung::Exchange);
        assert_eq!(ladder.plan(&address), [Rung::Rest]);
        ladder.silent(&address, Rung::Rest);
        assert_eq!(ladder.plan(&address), RUNGS);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let ladder = Ladder::new(SECOND);
        for number in 0..3 * ADDRESSES_MAX {
            ladder.works(&Address::new(format!("a:{number}")), Rung::Rest);
        }
        assert!(ladder.lock().len() <= ADDRESSES_MAX);
    }
}
