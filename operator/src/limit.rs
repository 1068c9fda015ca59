//! How fast the API server is asked. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of tokens that fills evenly and may be overdrawn: whoever takes more waits.
#[derive(Debug)]
pub struct Limit {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again (the theoretical arrival time of the generic cell rate algorithm, ITU-T
    /// I.371).
    full_at: Instant,
    /// Nothing goes before this.
    not_before: Instant,
}

impl Limit {
    /// So many requests a second, and a second's worth at once.
    pub fn new(requests_per_second: u16, now: Instant) -> Self {
        let rate = u32::from(requests_per_second.max(1));
        Self { interval: Duration::from_secs(1) / rate, burst: rate, full_at: now, not_before: now }
    }

    /// Takes one token. Returns how long to wait before the request.
    pub fn take(&mut self, now: Instant) -> Duration {
        let full_at = self.full_at.max(now) + self.interval;
        self.full_at = full_at;
        let allowed = full_at.checked_sub(self.interval * self.burst).unwrap_or(now);
        allowed.max(self.not_before).saturating_duration_since(now)
    }

    /// The API server asks for a pause.
    pub fn pause(&mut self, pause: Duration, now: Instant) {
        self.not_before = self.not_before.max(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_evenly() {
        let now = Instant::now();
        let mut limit = Limit::new(10, now);
        let waits: Vec<u128> = (0..13).map(|_| limit.take(now).as_millis()).collect();
        assert_eq!(waits[..10], [0; 10]);
        assert_eq!(waits[10..], [100, 200, 300]);
        let later = now + Duration::from_secs(60);
        assert_eq!(
            (0..10).map(|_| limit.take(later).as_millis()).sum::<u128>(),
            0,
            "no more than a burst is saved"
        );
        assert_eq!(limit.take(later).as_millis(), 100);
    }

    #[test]
    fn a_pause_holds_all_requests() {
        let now = Instant::now();
        let mut limit = Limit::new(10, now);
        limit.pause(Duration::from_secs(3), now);
        limit.pause(Duration::from_secs(1), now);
        assert_eq!(limit.take(now).as_secs(), 3);
        assert_eq!(limit.take(now + Duration::from_secs(3)).as_secs(), 0);
    }
}
