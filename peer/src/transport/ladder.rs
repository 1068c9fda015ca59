//! Which rung to dial an address on: what worked there last, and when a better one is worth a try.
//!
//! A circuit breaker (Nygard, "Release It!") for each address: a rung that failed is left alone for a while, then tried
//! once. The while grows with the number of addresses that are below, so that trying costs the same whatever that is; where
//! one of them gets better, so may the others, and they try soon. A rung whose links come up and break again is left
//! alone for twice as long each time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sorcha_peer_core::event::Rung;
use sorcha_peer_core::types::Address;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::settings::Patience;
use crate::random;

/// Addresses remembered; beyond it those whose time has come are forgotten, then all.
const ADDRESSES_MAX: usize = 4_096;
/// A better rung that fails is left alone at most so many times as long as `links.climbAfter`: 15 min by default.
const CLIMB_TIMES_MAX: u32 = 20;
/// What is known of one address.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Where dials begin until `until`.
    rung: Rung,
    until: Instant,
    /// How often links of a better rung have come up and broken.
    broken: u32,
}

/// Of all addresses where the best rung did not do.
#[derive(Debug)]
pub(super) struct Ladder {
    steps: Mutex<HashMap<Address, Step>>,
    /// Best first, one at least.
    rungs: Vec<Rung>,
    patience: Patience,
    /// Somewhere it is worth a try sooner than it was.
    sooner: Notify,
}

impl Ladder {
    /// With these rungs, best first.
    ///
    /// # Panics
    ///
    /// Where there are none.
    pub(super) fn new(rungs: Vec<Rung>, patience: Patience) -> Self {
        assert!(rungs.is_sorted() && !rungs.is_empty(), "rungs come best first: {rungs:?}");
        Self { steps: Mutex::default(), rungs, patience, sooner: Notify::new() }
    }

    /// Whether links may stand on it.
    pub(super) fn has(&self, rung: Rung) -> bool {
        self.rungs.contains(&rung)
    }

    /// The rungs to try now, in this order.
    pub(super) fn plan(&self, address: &Address) -> Vec<Rung> {
        let steps = self.lock();
        let first = steps.get(address).filter(|step| Instant::now() < step.until).map(|step| step.rung);
        self.rungs.iter().copied().filter(|rung| first.is_none_or(|first| *rung >= first)).collect()
    }

    /// Those better than this one.
    pub(super) fn above(&self, rung: Rung) -> Vec<Rung> {
        self.rungs.iter().copied().filter(|better| *better < rung).collect()
    }

    /// Waits until a link to this address on a lower rung may look for a better one.
    pub(super) async fn time_to_climb(&self, address: &Address) {
        let unknown = Instant::now() + self.patience.climb;
        loop {
            let mut sooner = std::pin::pin!(self.sooner.notified());
            sooner.as_mut().enable();
            let until = self.lock().get(address).map_or(unknown, |step| step.until);
            tokio::select! {
                () = sleep_until(until) => return,
                () = sooner => {}
            }
        }
    }

    /// A better link to this address stands: what was in the way of others may have gone too.
    pub(super) fn climbed(&self, address: &Address) {
        let now = Instant::now();
        let mut steps = self.lock();
        for (_, step) in steps.iter_mut().filter(|(at, step)| *at != address && step.broken == 0) {
            // Not all at once.
            step.until = step.until.min(now + self.patience.climb.mul_f64(random::share() / 4.0));
        }
        self.sooner.notify_waiters();
    }

    /// A link came up there on this rung, the first of the plan that did.
    pub(super) fn works(&self, address: &Address, rung: Rung) {
        if self.rungs.first() != Some(&rung) {
            self.step_down(address, rung, false);
        } // Else it has to hold first.
    }

    /// Nothing came of this rung in time. Dials begin with the next one for a while; where it was the last, with the first.
    pub(super) fn silent(&self, address: &Address, rung: Rung) {
        match self.below(rung) {
            Some(lower) => self.step_down(address, lower, false),
            None => drop(self.lock().remove(address)),
        }
    }

    /// A link of this rung ended; `broke`: neither side had closed it.
    pub(super) fn ended(&self, address: &Address, rung: Rung, lived: Duration, broke: bool) {
        if broke && lived < self.patience.hold {
            if let Some(lower) = self.below(rung) {
                self.step_down(address, lower, true);
            }
        } else if self.rungs.first() == Some(&rung) && lived >= self.patience.hold {
            self.lock().remove(address);
        }
    }

    fn below(&self, rung: Rung) -> Option<Rung> {
        self.rungs.iter().copied().find(|lower| *lower > rung)
    }

    fn step_down(&self, address: &Address, rung: Rung, broke: bool) {
        let now = Instant::now();
        let mut steps = self.lock();
        if steps.len() >= ADDRESSES_MAX && !steps.contains_key(address) {
            steps.retain(|_, step| step.until > now);
            if steps.len() >= ADDRESSES_MAX {
                steps.clear();
            }
        }
        let others = steps.iter().filter(|(at, step)| *at != address && step.until > now).count();
        let step = steps.entry(address.clone()).or_insert(Step { rung, until: now, broken: 0 });
        step.broken += u32::from(broke);
        if step.rung != rung || step.until <= now {
            let times = (others as u32).max(1 << step.broken.saturating_sub(1).min(5)).min(CLIMB_TIMES_MAX);
            (step.rung, step.until) = (rung, now + self.patience.climb * times);
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
    const RUNGS: [Rung; 3] = [Rung::Stream, Rung::Exchange, Rung::Rest];

    fn ladder() -> Ladder {
        Ladder::new(RUNGS.to_vec(), Patience::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lower_rung_that_works_comes_first_until_it_is_time_to_climb() {
        let (ladder, address) = (ladder(), Address::new("a:1"));
        assert_eq!(ladder.plan(&address), RUNGS);
        for _ in 0..5 {
            ladder.works(&address, Rung::Rest);
            assert_eq!(ladder.plan(&address), [Rung::Rest]);
            tokio::time::advance(46 * SECOND).await;
            assert_eq!(ladder.plan(&address), RUNGS, "one try");
        }
        assert_eq!(ladder.plan(&Address::new("b:1")), RUNGS);
    }

    #[tokio::test(start_paused = true)]
    async fn many_below_try_as_often_as_few_and_soon_where_one_has_climbed() {
        let ladder = ladder();
        let addresses: Vec<Address> = (0..10).map(|number| Address::new(format!("a:{number}"))).collect();
        let ready = || addresses.iter().filter(|at| ladder.plan(at) == RUNGS);
        let (mut tries, seconds) = (0, 7200);
        for _ in 0..seconds {
            ready().for_each(|address| {
                tries += 1;
                ladder.works(address, Rung::Rest);
            });
            tokio::time::advance(SECOND).await;
        }
        assert!(
            (seconds / 60..seconds / 30).contains(&tries),
            "one alone would try {} times, ten {tries}",
            seconds / 45
        );
        for address in &addresses {
            ladder.works(address, Rung::Rest);
        }
        let waits = ladder.time_to_climb(&addresses[1]);
        let climbs = async {
            tokio::task::yield_now().await;
            ladder.climbed(&addresses[0]);
        };
        let began = Instant::now();
        tokio::join!(waits, climbs);
        assert!(began.elapsed() <= 12 * SECOND, "{:?}", began.elapsed());
        tokio::time::advance(12 * SECOND).await;
        assert!(ready().count() >= 9, "all others");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rung_whose_links_break_soon_is_left_for_longer_each_time_and_one_that_holds_is_forgiven() {
        let (ladder, address) = (ladder(), Address::new("a:1"));
        ladder.ended(&address, Rung::Stream, 5 * SECOND, false);
        ladder.ended(&address, Rung::Stream, 60 * SECOND, true);
        assert_eq!(ladder.plan(&address), RUNGS);
        for times in [1, 2, 4, 8, 16, 20, 20] {
            ladder.ended(&address, Rung::Stream, 5 * SECOND, true);
            tokio::time::advance((45 * times - 1) * SECOND).await;
            assert_eq!(ladder.plan(&address), [Rung::Exchange, Rung::Rest], "{times}");
            tokio::time::advance(SECOND).await;
            assert_eq!(ladder.plan(&address), RUNGS, "{times}");
        }
        ladder.ended(&address, Rung::Exchange, SECOND, true);
        assert_eq!(ladder.plan(&address), [Rung::Rest]);
        ladder.ended(&address, Rung::Rest, SECOND, true);
        assert_eq!(ladder.plan(&address), [Rung::Rest], "there is none below");
        ladder.ended(&address, Rung::Stream, 11 * SECOND, true);
        assert_eq!(ladder.plan(&address), RUNGS);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_leads_down_and_from_the_last_rung_up_again() {
        let (ladder, address) = (ladder(), Address::new("a:1"));
        ladder.silent(&address, Rung::Stream);
        assert_eq!(ladder.plan(&address), [Rung::Exchange, Rung::Rest]);
        ladder.silent(&address, Rung::Exchange);
        assert_eq!(ladder.plan(&address), [Rung::Rest]);
        ladder.silent(&address, Rung::Rest);
        assert_eq!(ladder.plan(&address), RUNGS);
    }

    #[tokio::test(start_paused = true)]
    async fn rungs_that_are_left_out_are_not_tried() {
        let (ladder, address) =
            (Ladder::new(vec![Rung::Stream, Rung::Rest], Patience::default()), Address::new("a:1"));
        ladder.ended(&address, Rung::Stream, SECOND, true);
        assert_eq!((ladder.plan(&address), ladder.above(Rung::Rest)), (vec![Rung::Rest], vec![Rung::Stream]));
        let ladder = Ladder::new(vec![Rung::Rest], Patience::default());
        ladder.works(&address, Rung::Rest);
        ladder.silent(&address, Rung::Rest);
        assert_eq!((ladder.plan(&address), ladder.above(Rung::Rest)), (vec![Rung::Rest], vec![]));
        assert!(ladder.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let ladder = ladder();
        for number in 0..3 * ADDRESSES_MAX {
            ladder.works(&Address::new(format!("a:{number}")), Rung::Rest);
        }
        assert!(ladder.lock().len() <= ADDRESSES_MAX);
    }
}
