//! How long a peer that ended waits before it starts again.

use std::time::Duration;

use rand::Rng;

/// Before the first restart at most: short, so that one crash is hardly noticed. A guess.
const FIRST: Duration = Duration::from_millis(100);
/// At most, however often it failed. A guess: a person who mends the cause waits this long at worst.
const LONGEST: Duration = Duration::from_secs(30);
/// A peer that stayed up this long has recovered: its failures are forgotten. A guess.
const STABLE: Duration = Duration::from_secs(30);

/// Failures in a row of one peer.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The peer ended after `uptime`. Returns how long to wait: doubling from [`FIRST`] to [`LONGEST`], of which
    /// the second half is random, so that peers felled together do not return together.
    pub(super) fn after(&mut self, uptime: Duration, rng: &mut impl Rng) -> Duration {
        if uptime >= STABLE {
            self.failures = 0;
        }
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Failures since the peer was last stable.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// True when this many failures deserve the user's eye: the third, then every time their number doubles.
    pub(super) fn is_loop(&self) -> bool {
        self.failures >= 3 && self.failures.is_multiple_of(3) && (self.failures / 3).is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_forgotten_after_a_stable_time() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut backoff = Backoff::default();
        let mut loops = Vec::new();
        for failure in 0..30_u32 {
            let wait = backoff.after(Duration::from_millis(10), &mut rng);
            let whole = FIRST.saturating_mul(1 << failure.min(16)).min(LONGEST);
            assert!(wait <= whole && wait >= whole / 2, "failure {failure}: {wait:?} of {whole:?}");
            if backoff.is_loop() {
                loops.push(backoff.failures());
            }
        }
        assert_eq!(loops, [3, 6, 12, 24]);
        assert!(backoff.after(STABLE, &mut rng) <= FIRST);
        assert_eq!(backoff.failures(), 1);
    }
}
