//! How long to wait after a failure, by its class and by how often it failed.

use std::time::Duration;

use rand::Rng;

use crate::api::Class;

/// After a conflict: somebody else wrote at the same moment and may do so again (a guess).
const CONFLICT: Duration = Duration::from_millis(50);
/// First wait while the API server does not work (a guess: a restart of it takes seconds).
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait while the API server does not work. After an outage the last network comes back this late at worst.
const LONGEST: Duration = Duration::from_secs(30);
/// First wait after a refusal: whoever must change something needs minutes, the API server may need seconds (a
/// namespace that is made a moment later).
const REFUSED: Duration = Duration::from_secs(5);
/// Longest wait after a refusal. A change of the manifest ends it at once.
const REFUSED_LONGEST: Duration = Duration::from_secs(300);
/// Longest that an API server may ask us to wait.
const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(120);

/// Failures in a row of one network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure of this class. Returns how long to wait: doubling, of which the second half is random, so
    /// that networks which failed together do not return together.
    pub fn after(&mut self, class: Class, rng: &mut impl Rng) -> Duration {
        let doubled = |first: Duration| first.saturating_mul(1 << self.failures.min(16));
        let whole = match class {
            Class::Conflict => doubled(CONFLICT).min(LONGEST),
            Class::Busy { retry_after_s: Some(seconds) } => {
                let asked = Duration::from_secs(seconds.into()).min(RETRY_AFTER_LONGEST);
                // at least what was asked for
                return asked + doubled(FIRST).min(asked.max(FIRST)).mul_f64(rng.random_range(0.0..=1.0));
            }
            Class::Busy { retry_after_s: None } | Class::Unavailable => doubled(FIRST).min(LONGEST),
            Class::Refused => doubled(REFUSED).min(REFUSED_LONGEST),
        };
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A time of which the last tenth is random, for what recurs.
pub fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.9..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn an_outage_is_asked_less_and_less_often() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        let mut waited = Duration::ZERO;
        let mut attempts = 0;
        while waited < Duration::from_secs(300) {
            waited += backoff.after(Class::Unavailable, &mut rng);
            attempts += 1;
        }
        assert!((14..=28).contains(&attempts), "{attempts} attempts in five minutes");
        backoff.reset();
        assert!(backoff.after(Class::Unavailable, &mut rng) <= FIRST);
    }

    #[test]
    fn a_busy_server_gets_the_time_that_it_asks_for() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            let wait = backoff.after(Class::Busy { retry_after_s: Some(3) }, &mut rng);
            assert!((3.0..=6.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
        assert!(
            backoff.after(Class::Busy { retry_after_s: Some(10_000) }, &mut rng) <= 2 * RETRY_AFTER_LONGEST
        );
    }

    #[test]
    fn a_conflict_is_tried_again_at_once_and_a_refusal_seldom() {
        let mut rng = StdRng::seed_from_u64(3);
        assert!(Backoff::default().after(Class::Conflict, &mut rng) <= CONFLICT);
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..10).map(|_| backoff.after(Class::Refused, &mut rng)).collect();
        assert!(waits[0] >= REFUSED / 2 && waits[9] >= REFUSED_LONGEST / 2 && waits[9] <= REFUSED_LONGEST);
    }
}
