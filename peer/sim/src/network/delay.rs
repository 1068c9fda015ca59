//! How long a frame travels: a stable base per directed pair, and a little jitter per frame.

use std::f64::consts::TAU;

use crate::queue::Micros;
use crate::random::{Purpose, unit};

/// A frame takes up to this share of the base longer. Guess: queues on a path that is not congested.
const JITTER_SHARE_MAX: f64 = 0.05;

/// Lognormal one-way delays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay {
    /// Mean over pairs, ms.
    pub mean_ms: f64,
    /// Standard deviation of the delay's logarithm.
    pub sigma: f64,
}

impl Delay {
    /// Base delay from peer `from` to peer `to`; always the same for one seed.
    pub fn base(&self, seed: u64, from: usize, to: usize) -> Micros {
        if from == to {
            return 50; // through the loopback interface; order of magnitude, measured
        }
        let (a, b) = (from as u64, to as u64);
        // Box-Muller; 1 - u keeps the logarithm finite.
        let radius = (-2.0 * (1.0 - unit(seed, Purpose::PairDelay, a, b, 0)).ln()).sqrt();
        let normal = radius * (TAU * unit(seed, Purpose::PairDelay, a, b, 1)).cos();
        // The mean of a lognormal is exp(mu + sigma^2 / 2).
        let mu = (self.mean_ms * 1000.0).max(1.0).ln() - self.sigma * self.sigma / 2.0;
        (mu + self.sigma * normal).exp() as Micros
    }

    /// Delay of frame number `draw` of a direction with this base.
    pub fn of_frame(base: Micros, seed: u64, direction: u64, draw: u64) -> Micros {
        base + (base as f64 * JITTER_SHARE_MAX * unit(seed, Purpose::Jitter, direction, 0, draw)) as Micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_what_was_asked_for_and_a_pair_keeps_its_delay() {
        let delay = Delay { mean_ms: 60.0, sigma: 0.5 };
        let all: Vec<f64> = (0..20_000).map(|to| delay.base(1, 20_000, to) as f64).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64 / 1000.0;
        assert!((59.0..61.0).contains(&mean), "{mean}");
        assert_eq!(delay.base(1, 3, 4), delay.base(1, 3, 4));
        assert_ne!(delay.base(1, 3, 4), delay.base(1, 4, 3));
    }

    #[test]
    fn without_spread_all_pairs_are_equal() {
        let delay = Delay { mean_ms: 20.0, sigma: 0.0 };
        assert!((0..100).all(|to| (19_999..=20_000).contains(&delay.base(9, 100, to))));
    }
}
