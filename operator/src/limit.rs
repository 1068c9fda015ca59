//! How fast the API server is asked, and how much slower once it says that it is too fast. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// What is not used is saved up for so long, and may then go at once.
const SAVED: Duration = Duration::from_secs(1);
/// Answers 429 within this time are one sign, not many: requests of the same moment are refused together (a guess: an
/// API server that throttles asks for 1 s itself).
const ONE_SIGN: Duration = Duration::from_secs(1);
/// It never gets slower than this, requests a second: a network takes about 30, so everything still gets on (a guess).
const RATE_MIN: f64 = 10.0;
/// From nothing to the full rate again in this time (a guess: as long as the longest backoff).
const RECOVERY: Duration = Duration::from_secs(30);

/// A bucket of tokens that fills evenly and may be overdrawn: whoever takes more waits. The rate halves when the API
/// server throttles and comes back slowly, as TCP does it (AIMD: Chiu and Jain, 1989).
#[derive(Debug)]
pub struct Limit {
    /// Requests a second at most.
    most: f64,
    /// Requests a second now.
    rate: f64,
    /// When the rate was last brought up to date.
    counted: Instant,
    slowed: Option<Instant>,
    /// When the bucket would be full again (the theoretical arrival time of the generic cell rate algorithm, ITU-T
    /// I.371).
    full_at: Instant,
}

impl Limit {
    /// So many requests a second, and a second's worth at once.
    pub fn new(requests_per_second: u16, now: Instant) -> Self {
        let most = f64::from(requests_per_second.max(1));
        Self { most, rate: most, counted: now, slowed: None, full_at: now }
    }

    /// Takes one token. Returns how long to wait before the request.
    pub fn take(&mut self, now: Instant) -> Duration {
        self.recover(now);
        let full_at = self.full_at.max(now) + Duration::from_secs_f64(1.0 / self.rate);
        self.full_at = full_at;
        full_at.checked_sub(SAVED).unwrap_or(now).saturating_duration_since(now)
    }

    /// The API server says that it has too much to do.
    pub fn throttled(&mut self, now: Instant) {
        self.recover(now);
        if self.slowed.is_some_and(|before| now.saturating_duration_since(before) < ONE_SIGN) {
            return;
        }
        self.slowed = Some(now);
        self.rate = (self.rate / 2.0).max(RATE_MIN.min(self.most));
        // nothing that was saved up goes at once now
        self.full_at = self.full_at.max(now + SAVED);
    }

    fn recover(&mut self, now: Instant) {
        let share = now.saturating_duration_since(self.counted).as_secs_f64() / RECOVERY.as_secs_f64();
        self.rate = (self.rate + self.most * share).min(self.most);
        self.counted = self.counted.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many of those who ask every millisecond go within a time.
    fn goes(limit: &mut Limit, from: Instant, time: Duration) -> usize {
        let mut next = from;
        let mut gone = 0;
        while next < from + time {
            next += limit.take(next).max(Duration::from_millis(1));
            gone += 1;
        }
        gone
    }

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
    fn every_sign_halves_the_rate_and_time_brings_it_back() {
        let now = Instant::now();
        let mut limit = Limit::new(400, now);
        for _ in 0..100 {
            limit.throttled(now);
        }
        let gone = goes(&mut limit, now, SECOND / 10);
        assert!((18..=24).contains(&gone), "one sign, 200 a second and nothing saved: {gone} in 100 ms");
        let later = now + 60 * SECOND;
        assert!((395..=405).contains(&(0..400).filter(|_| limit.take(later).is_zero()).count()));
    }

    #[test]
    fn under_steady_throttling_it_gets_on_slowly() {
        let start = Instant::now();
        let mut limit = Limit::new(500, start);
        let mut now = start;
        let mut seconds = Vec::new();
        for _ in 0..30 {
            limit.throttled(now);
            seconds.push(goes(&mut limit, now, SECOND));
            now += SECOND;
        }
        assert!(seconds[8..].iter().all(|gone| (15..=45).contains(gone)), "{seconds:?}");
        let mut slow = Limit::new(2, start);
        slow.throttled(start);
        assert_eq!(slow.rate.to_bits(), 2.0_f64.to_bits(), "whoever sets less has less");
    }
}
