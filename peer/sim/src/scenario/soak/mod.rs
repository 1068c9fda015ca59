//! Random faults over a small network, and a checker that watches: what must hold, holds whatever fails.
//!
//! The plan of faults follows from seed and [`mix`] before anything runs. Peers join late, crash at chosen moments, are
//! stopped and drained, lose their disks, come back; some are malicious; at the end one may leave for good.

mod client;
pub mod mix;
mod plan;
mod play;
pub mod report;

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sorcha_peer_core::config::Config;

use self::client::Client;
use self::mix::Mix;
use self::report::{SoakReport, SoakRun, ViolationReport};
use crate::check::{Checker, Property, Violation};
use crate::network::Conditions;
use crate::plant::Plant;
use crate::report::memory_peak_bytes;
use crate::trace::Trace;
use crate::world::{Settings, World};

/// One peer in so many is of an older version, which reads plain bodies alone.
const PLAIN_EVERY: usize = 5;

/// So soon certificates travel by reference: whole and referred to, known and unknown, all within a short run.
const REFERENCES_AFTER: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug, Clone)]
pub struct Soak {
    /// First seed.
    pub seed: u64,
    /// How many seeds from there.
    pub seeds: u64,
    /// Peers; `None` leaves it to the seed.
    pub peers: Option<usize>,
    /// How long faults are made, virtual seconds.
    pub seconds: u64,
    /// What fails, and the file that it came from; `None` leaves it to the seed.
    pub mix: Option<(PathBuf, Mix)>,
    /// A fault that the checker must catch; the first seed that catches it is the last.
    pub planted: Option<Plant>,
    /// Where all events are written.
    pub trace: Option<PathBuf>,
    /// Of each world; its seed is the run's.
    pub settings: Settings,
}

impl Soak {
    /// Runs all seeds; with a plant, until it is caught.
    pub fn run(&self) -> std::io::Result<SoakReport> {
        let began = Instant::now();
        let mut runs = Vec::new();
        for seed in self.seed..self.seed.saturating_add(self.seeds) {
            let run = self.run_one(seed)?;
            let catches = |plant: Plant| {
                run.violations.iter().any(|found| plant.properties().contains(&found.property))
            };
            let caught = self.planted.is_some_and(catches);
            runs.push(run);
            if caught {
                break;
            }
        }
        let (real_s, memory_peak_bytes) = (began.elapsed().as_secs_f64(), memory_peak_bytes());
        Ok(SoakReport { planted: self.planted, runs, real_s, memory_peak_bytes })
    }

    /// The mix of a seed's run.
    pub fn mix_of(&self, seed: u64) -> Mix {
        match &self.mix {
            Some((_, mix)) => mix.clone(),
            None => Mix::of_seed(seed, self.peers, self.seconds),
        }
    }

    fn run_one(&self, seed: u64) -> std::io::Result<SoakRun> {
        let mix = self.mix_of(seed);
        let plan = plan::plan(seed, &mix);
        let bandwidth_bps = mix.bandwidth_mbps * 1_000_000;
        let references_after = Some(REFERENCES_AFTER);
        let settings = Settings {
            config: Config { references_after, ..self.settings.config.clone() },
            seed,
            planted: self.planted,
            checked: true,
            through_wire: true,
            plain_every: PLAIN_EVERY,
            conditions: Conditions { bandwidth_bps, ..self.settings.conditions },
            ..self.settings.clone()
        };
        let file = self.trace.as_ref().map(File::create).transpose()?;
        let mut world = World::new(settings);
        world.set_trace(Trace::remembering(file));
        let mut client = Client::default();
        let panicked =
            catch_unwind(AssertUnwindSafe(|| play::play(&mut world, &mut client, &mix, seed, &plan)));
        let mut violations = world.checker().map(Checker::violations).unwrap_or_default().to_vec();
        let (healed, converged) = panicked.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            let (property, at, detail) = (Property::NoPanic, world.now(), text.to_owned());
            violations.push(Violation { property, at, peers: Vec::new(), detail });
            (world.now(), world.now())
        });
        let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
        for kind in plan.iter().filter_map(|(_, act)| act.fault()) {
            *faults.entry(kind).or_default() += 1;
        }
        faults.insert("crashes at chosen moments", world.trapped());
        faults.insert("frames shed", world.network().shed());
        faults.insert("malicious peers", mix.malicious.len() as u64);
        faults.retain(|_, count| *count > 0);
        let last_events = world.last_events();
        let report = |(number, violation): (usize, &Violation)| ViolationReport {
            property: violation.property,
            sentence: violation.to_string(),
            last_events: last_events.get(number).cloned().unwrap_or_default(),
        };
        Ok(SoakRun {
            seed,
            peers: mix.peers,
            submitted: world.ledger().submissions().len(),
            acknowledged: world.checker().map_or(0, |checker| checker.acknowledged().len()),
            faults,
            converged_after_s: (converged - healed) as f64 / 1e6,
            virtual_s: world.now() as f64 / 1e6,
            events: world.trace().events(),
            trace: world.trace().digest(),
            violations: violations.iter().enumerate().map(report).collect(),
            evidence: world.ledger().evidence().clone(),
            reproduce: self.command(seed),
        })
    }

    fn command(&self, seed: u64) -> String {
        let mut words = vec![format!("sorcha-peer-sim soak --seed {seed} --seeds 1")];
        words.push(match &self.mix {
            Some((file, _)) => format!("--file {}", file.display()),
            None => format!("--seconds {}", self.seconds),
        });
        if let (Some(peers), None) = (self.peers, &self.mix) {
            words.push(format!("--peers {peers}"));
        }
        words.extend(self.planted.map(|plant| format!("--plant {}", plant.as_str())));
        words.join(" ")
    }
}
