//! Round-trip times of one link, and the waits that follow from them.

use std::time::Duration;

/// Round-trip time after RFC 6298 § 2.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rtt {
    smoothed_us: u64,
    variation_us: u64,
}

impl Rtt {
    /// One was measured.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        let us = rtt.as_micros() as u64;
        if self.smoothed_us == 0 {
            (self.smoothed_us, self.variation_us) = (us.max(1), us / 2);
        } else {
            self.variation_us = (3 * self.variation_us + self.smoothed_us.abs_diff(us)) / 4;
            self.smoothed_us = ((7 * self.smoothed_us + us) / 8).max(1);
        }
    }

    /// Smoothed, once measured.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        (self.smoothed_us > 0).then(|| Duration::from_micros(self.smoothed_us))
    }

    /// How long to wait before another is asked too: shorter than `timeout`, since asking twice costs little. Guess:
    /// three answers of four come within one and a half times the mean (lognormal delays, sigma 0.5).
    pub(crate) fn answer(&self) -> Duration {
        self.smoothed().map_or_else(|| self.timeout(), |smoothed| smoothed * 3 / 2)
    }

    /// How long to wait for an answer: smoothed + 4 variations; 1 s while nothing is measured (RFC 6298 § 2.1).
    pub(crate) fn timeout(&self) -> Duration {
        if self.smoothed_us == 0 {
            Duration::from_secs(1)
        } else {
            Duration::from_micros(self.smoothed_us + 4 * self.variation_us)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_smoothed_after_rfc_6298() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), Duration::from_secs(1));
        rtt.sample(Duration::from_millis(100));
        assert_eq!(rtt.timeout(), Duration::from_millis(300));
        rtt.sample(Duration::from_millis(200));
        assert_eq!(rtt.smoothed(), Some(Duration::from_micros(112_500)));
    }
}
