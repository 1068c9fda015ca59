//! When to try again: exponential backoff with jitter, one per address or peer.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::types::Time;

/// First wait after a failed dial: a network whose processes start together is linked well within 3 s. Guess.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest wait: a peer that comes back is dialled within half a minute. Guess.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longest wait at first for an address that somebody configured: where a whole network starts at once, names
/// come into being seconds after the peers that ask for them (Kubernetes keeps "no such name" for 5 s).
const SOON_MAX: Duration = Duration::from_secs(2);
/// Failures until that ends: about half a minute.
const SOON_FAILURES: u32 = 18;
/// Doublings until `RETRY_MAX` is reached for certain.
const DOUBLINGS_MAX: u32 = 8;

/// When to try again: exponential backoff with jitter.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Retry {
    failures: u32,
    next: Time,
}

impl Retry {
    /// Waits between half and the whole of the doubled backoff.
    pub(crate) fn failed(&mut self, now: Time, rng: &mut ChaCha8Rng) {
        let doubled = RETRY_MIN.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX)).min(RETRY_MAX);
        self.wait(doubled, now, rng);
    }

    /// As [`Retry::failed`], with short waits for the first half minute.
    pub(crate) fn failed_at_first(&mut self, now: Time, rng: &mut ChaCha8Rng) {
        if self.failures < SOON_FAILURES {
            let doubled = RETRY_MIN.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX)).min(SOON_MAX);
            self.wait(doubled, now, rng);
        } else {
            self.wait(RETRY_MAX, now, rng);
        }
    }

    fn wait(&mut self, doubled: Duration, now: Time, rng: &mut ChaCha8Rng) {
        self.failures = self.failures.saturating_add(1);
        let jitter = rng.random_range(0..=doubled.as_micros() as u64 / 2);
        self.next = now + doubled / 2 + Duration::from_micros(jitter);
    }

    /// No attempt before `next`, whatever the failures say.
    pub(crate) fn hold_until(&mut self, next: Time) {
        self.next = self.next.max(next);
    }

    /// It worked, or there is news that it may.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Earliest next attempt.
    pub(crate) fn next(&self) -> Time {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_vary() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut retry = Retry::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            retry.failed(Time::ZERO, &mut rng);
            waits.push(retry.next().since(Time::ZERO));
        }
        assert!(waits[0] >= RETRY_MIN / 2 && waits[0] <= RETRY_MIN, "{:?}", waits[0]);
        assert!(waits.iter().all(|wait| *wait <= RETRY_MAX));
        assert!(waits[11] >= RETRY_MAX / 2);
        assert_ne!(waits[10], waits[11]);
    }

    #[test]
    fn a_configured_address_is_tried_every_other_second_for_half_a_minute() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut retry, mut now) = (Retry::default(), Time::ZERO);
        while retry.failures() < SOON_FAILURES {
            retry.failed_at_first(now, &mut rng);
            assert!(retry.next().since(now) <= SOON_MAX);
            now = retry.next();
        }
        assert!(now > Time::ZERO + Duration::from_secs(18), "{now:?}");
        retry.failed_at_first(now, &mut rng);
        assert!(retry.next().since(now) >= RETRY_MAX / 2);
    }
}
