//! Which faults a run is made of, and how often: drawn from a seed, or read from a file.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use crate::adversary::{MALICES, Malice};
use crate::random;

/// Fewest and most peers, where the number is left to the seed.
const PEERS: std::ops::RangeInclusive<usize> = 8..=30;
/// Peers of a file at most.
pub const PEERS_MAX: usize = 200;
/// Length at most, virtual seconds: a day.
pub const SECONDS_MAX: u64 = 86_400;

/// What fails, and how often. Every `...EverySeconds` is the mean time between two faults of the kind anywhere in the
/// network; 0: never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Mix {
    /// Peers, 3 to 200.
    pub peers: usize,
    /// How long faults are made, virtual seconds, 1 to 86,400.
    pub seconds: u64,
    /// A transaction is submitted somewhere.
    pub submit_every_seconds: f64,
    /// A peer crashes, three in ten with their machine.
    pub crash_every_seconds: f64,
    /// A peer crashes between two steps that belong together.
    pub moment_every_seconds: f64,
    /// A peer is stopped as a supervisor does it.
    pub stop_every_seconds: f64,
    /// The network falls apart, one in five times in one direction only.
    pub partition_every_seconds: f64,
    /// Frames are shed.
    pub drop_every_seconds: f64,
    /// TCP segments are lost.
    pub loss_every_seconds: f64,
    /// A disk is full for a while.
    pub full_every_seconds: f64,
    /// A disk is 10 to 200 times as slow for a while.
    pub slow_every_seconds: f64,
    /// A disk refuses to write for a while.
    pub write_errors_every_seconds: f64,
    /// A disk refuses to read for a while.
    pub read_errors_every_seconds: f64,
    /// A disk is replaced by an empty one.
    pub wipe_every_seconds: f64,
    /// A disk is replaced by an older copy of itself.
    pub restore_every_seconds: f64,
    /// A wall clock jumps.
    pub clock_every_seconds: f64,
    /// Wall clocks stray at most so far from the true time; the core holds back what is more than 300 s ahead.
    pub clock_stray_seconds: u64,
    /// A peer is drained for a while.
    pub drain_every_seconds: f64,
    /// A peer is given other bootstrap addresses.
    pub bootstrap_every_seconds: f64,
    /// Share of the peers that join while faults are made.
    pub late: f64,
    /// Share of the peers behind a NAT.
    pub nat: f64,
    /// What each peer can send, megabits per second; 0: no bound.
    pub bandwidth_mbps: u64,
    /// Malicious peers, one for each list of what it does.
    pub malicious: Vec<Vec<Malice>>,
    /// At the end one peer is drained and leaves.
    pub leave: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            peers: 8,
            seconds: 60,
            submit_every_seconds: 0.25,
            crash_every_seconds: 0.0,
            moment_every_seconds: 0.0,
            stop_every_seconds: 0.0,
            partition_every_seconds: 0.0,
            drop_every_seconds: 0.0,
            loss_every_seconds: 0.0,
            full_every_seconds: 0.0,
            slow_every_seconds: 0.0,
            write_errors_every_seconds: 0.0,
            read_errors_every_seconds: 0.0,
            wipe_every_seconds: 0.0,
            restore_every_seconds: 0.0,
            clock_every_seconds: 0.0,
            clock_stray_seconds: 120,
            drain_every_seconds: 0.0,
            bootstrap_every_seconds: 0.0,
            late: 0.0,
            nat: 0.0,
            bandwidth_mbps: 0,
            malicious: Vec::new(),
            leave: false,
        }
    }
}

impl Mix {
    /// The mix of a seed: most kinds of faults, each at a rate of its own.
    pub fn of_seed(seed: u64, peers: Option<usize>, seconds: u64) -> Self {
        let rng = &mut random::child(seed, "soak mix", 0);
        let peers = peers.unwrap_or_else(|| random::child(seed, "soak peers", 0).random_range(PEERS));
        // Seven kinds in ten; the others never, so that a fault is also seen without them.
        let mut every =
            |mean: f64| if rng.random_bool(0.7) { mean * rng.random_range(0.5..2.0) } else { 0.0 };
        let mut mix = Self {
            peers,
            seconds,
            crash_every_seconds: every(5.0),
            moment_every_seconds: every(4.0),
            stop_every_seconds: every(20.0),
            partition_every_seconds: every(20.0),
            drop_every_seconds: every(12.0),
            loss_every_seconds: every(15.0),
            full_every_seconds: every(8.0),
            slow_every_seconds: every(12.0),
            write_errors_every_seconds: every(20.0),
            read_errors_every_seconds: every(20.0),
            wipe_every_seconds: every(40.0),
            restore_every_seconds: every(30.0),
            clock_every_seconds: every(8.0),
            drain_every_seconds: every(25.0),
            bootstrap_every_seconds: every(30.0),
            ..Self::default()
        };
        mix.late = if rng.random_bool(0.7) { 0.2 } else { 0.0 };
        mix.nat = if rng.random_bool(0.3) { rng.random_range(0.1..0.4) } else { 0.0 };
        mix.bandwidth_mbps = if rng.random_bool(0.2) { rng.random_range(5..50) } else { 0 };
        mix.clock_stray_seconds = if rng.random_bool(0.25) { 600 } else { 120 };
        mix.leave = rng.random_bool(0.3);
        if rng.random_bool(0.4) {
            let number = rng.random_range(1..=(peers / 6).max(1));
            for _ in 0..number {
                let mut does: Vec<Malice> =
                    (0..rng.random_range(1..=3)).filter_map(|_| MALICES.choose(rng).copied()).collect();
                does.sort_unstable();
                does.dedup();
                mix.malicious.push(does);
            }
        }
        mix
    }

    /// Reads a file's text; the error is a sentence.
    pub fn read(text: &str) -> Result<Self, String> {
        let mix: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        mix.check()?;
        Ok(mix)
    }

    /// As text for a file.
    pub fn write(&self) -> String {
        serde_saphyr::to_string(self).expect("numbers, words and lists can be written")
    }

    /// Says what is out of range.
    fn check(&self) -> Result<(), String> {
        if !(3..=PEERS_MAX).contains(&self.peers) {
            return Err(format!("peers is {}; write 3 to {PEERS_MAX}", self.peers));
        }
        if !(1..=SECONDS_MAX).contains(&self.seconds) {
            return Err(format!("seconds is {}; write 1 to {SECONDS_MAX}", self.seconds));
        }
        for (name, share) in [("late", self.late), ("nat", self.nat)] {
            if !(0.0..=0.9).contains(&share) {
                return Err(format!("{name} is {share}; write a share from 0 to 0.9"));
            }
        }
        if self.malicious.len() * 3 > self.peers {
            return Err(format!(
                "{} of {} peers are malicious; at most a third may be",
                self.malicious.len(),
                self.peers
            ));
        }
        for (name, seconds) in self.rates() {
            if seconds != 0.0 && !(0.01..=86_400.0).contains(&seconds) {
                return Err(format!("{name} is {seconds}; write 0 for never, or 0.01 to 86400"));
            }
        }
        Ok(())
    }

    /// Every kind of fault that comes again and again, with its word in reports and its mean distance.
    pub fn rates(&self) -> [(&'static str, f64); 16] {
        [
            ("submitEverySeconds", self.submit_every_seconds),
            ("crashEverySeconds", self.crash_every_seconds),
            ("momentEverySeconds", self.moment_every_seconds),
            ("stopEverySeconds", self.stop_every_seconds),
            ("partitionEverySeconds", self.partition_every_seconds),
            ("dropEverySeconds", self.drop_every_seconds),
            ("lossEverySeconds", self.loss_every_seconds),
            ("fullEverySeconds", self.full_every_seconds),
            ("slowEverySeconds", self.slow_every_seconds),
            ("writeErrorsEverySeconds", self.write_errors_every_seconds),
            ("readErrorsEverySeconds", self.read_errors_every_seconds),
            ("wipeEverySeconds", self.wipe_every_seconds),
            ("restoreEverySeconds", self.restore_every_seconds),
            ("clockEverySeconds", self.clock_every_seconds),
            ("drainEverySeconds", self.drain_every_seconds),
            ("bootstrapEverySeconds", self.bootstrap_every_seconds),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_as_it_was_written() {
        for seed in 0..50 {
            let mix = Mix::of_seed(seed, None, 60);
            assert_eq!(Mix::read(&mix.write()), Ok(mix.clone()), "{}", mix.write());
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_name_and_range() {
        for (text, said) in [
            ("peers: 2\n", "peers is 2; write 3 to 200"),
            ("late: 1.5\n", "late is 1.5"),
            ("crashEverySeconds: 0.001\n", "crashEverySeconds is 0.001"),
            ("crashEveryMinutes: 1\n", "crashEveryMinutes"),
            ("malicious: [[silence], [silence], [silence]]\n", "3 of 8 peers are malicious"),
            ("malicious: [[kindness]]\n", "kindness"),
        ] {
            let error = Mix::read(text).expect_err("it is wrong");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn seeds_make_every_kind_of_fault() {
        let mixes: Vec<Mix> = (0..60).map(|seed| Mix::of_seed(seed, None, 60)).collect();
        for kind in 0..16 {
            assert!(mixes.iter().any(|mix| mix.rates()[kind].1 > 0.0));
        }
        for malice in MALICES {
            assert!(mixes.iter().any(|mix| mix.malicious.iter().flatten().any(|known| *known == malice)));
        }
        assert!(mixes.iter().any(|mix| mix.nat > 0.0 && mix.leave));
    }
}
