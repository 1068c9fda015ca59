//! How long dials take at present, so that a busy machine is not taken for a closed road.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rung gets at least this long before the next is tried: a lost segment of a handshake is sent again after 1 s, and after 2 s more
/// (RFC 6298).
const PATIENCE_MIN: Duration = Duration::from_secs(4);
/// And at most this long.
const PATIENCE_MAX: Duration = Duration::from_secs(12);
/// So many times what dials took of late. Guess.
const TIMES: u32 = 4;

/// The mean of dials that came to a link, smoothed as a round trip of TCP is (RFC 6298 § 2).
#[derive(Debug, Default)]
pub(super) struct Pace {
    mean_us: AtomicU64,
}

impl Pace {
    /// A dial came to a link in this time.
    pub(super) fn took(&self, time: Duration) {
        let (mean, time) = (self.mean_us.load(Ordering::Relaxed), time.as_micros() as u64);
        // Two at the same time may lose one of both: it is a mean.
        self.mean_us.store(if mean == 0 { time } else { (7 * mean + time) / 8 }, Ordering::Relaxed);
    }

    /// How long a rung may take.
    pub(super) fn patience(&self) -> Duration {
        (Duration::from_micros(self.mean_us.load(Ordering::Relaxed)) * TIMES)
            .clamp(PATIENCE_MIN, PATIENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_dials_take_within_bounds() {
        let pace = Pace::default();
        assert_eq!(pace.patience(), PATIENCE_MIN);
        pace.took(Duration::from_secs(2));
        assert_eq!(pace.patience(), Duration::from_secs(8));
        (0..99).for_each(|_| pace.took(Duration::from_secs(60)));
        assert_eq!(pace.patience(), PATIENCE_MAX);
        (0..99).for_each(|_| pace.took(Duration::from_millis(1)));
        assert_eq!(pace.patience(), PATIENCE_MIN);
    }
}
