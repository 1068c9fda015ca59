//! Runs one rival over a network and a plan, and takes the figures.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::contender::Contender;
use crate::cost::{self, Cores};
use crate::namespace::Namespace;
use crate::node::{Happened, READY_WITHIN, now_us};
use crate::plan::{Plan, Wishes};
use crate::report::{Figures, Idle, Measured, PhaseCost};
use crate::talk::Talk;

/// How the nodes run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Processes; nodes are spread evenly.
    pub processes: usize,
    /// One-way delay.
    pub delay: Duration,
    /// Time for meshes to form before the run.
    pub settle: Duration,
}

/// The start lies this far ahead, so that every process has heard of it.
const AHEAD: Duration = Duration::from_secs(1);
/// How long is looked at a network in which nobody sends.
const IDLE: Duration = Duration::from_secs(5);
/// A process answers within this.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Processes of one rival.
struct Fleet(Vec<Talk>);

/// Everything that is counted, at one moment.
struct Look {
    at: Instant,
    passed: crate::namespace::Passed,
    nodes: Duration,
    network: Duration,
    cores: Cores,
}

/// One rival, one run.
pub fn run(contender: Contender, wishes: &Wishes, setting: &Setting, directory: &Path) -> Result<Figures> {
    let directory = directory.join(contender.name());
    std::fs::create_dir_all(&directory)?;
    let plan = Plan::new(wishes, directory.clone());
    contender.prepare(&plan)?;
    let file = directory.join("plan.json");
    std::fs::write(&file, serde_json::to_vec(&plan)?)?;

    let mut namespace = Namespace::new(plan.nodes, setting.delay)?;
    let mut fleet = Fleet::start(&namespace, contender, plan.nodes, &file, setting)?;
    std::thread::sleep(setting.settle);
    let before = look(&mut namespace, &fleet)?;
    std::thread::sleep(IDLE);
    let idle = cost(&before, &look(&mut namespace, &fleet)?);
    let links = fleet.links()?;

    let begin = now_us() + AHEAD.as_micros() as u64;
    for process in &mut fleet.0 {
        process.tell(&format!("go {begin}"))?;
    }
    let mut costs = Vec::new();
    for phase in &plan.phases {
        sleep_until(begin + phase.begins.as_micros() as u64);
        let before = look(&mut namespace, &fleet)?;
        sleep_until(begin + phase.ends.as_micros() as u64);
        costs.push(cost(&before, &look(&mut namespace, &fleet)?));
    }
    let measured = Measured {
        costs,
        memory_bytes: fleet.memory()? / plan.nodes as u64,
        links: links as f64 / plan.nodes as f64,
        idle: Idle::new(&idle, plan.nodes),
    };
    let config = contender.config(&plan)?.replace(&*directory.to_string_lossy(), "…");
    Ok(Figures::new(contender.name(), config, &plan, &measured, &fleet.logs()?))
}

fn look(namespace: &mut Namespace, fleet: &Fleet) -> Result<Look> {
    let switch = namespace.switch_pid().context("the switch runs")?;
    Ok(Look {
        at: Instant::now(),
        passed: namespace.passed()?,
        nodes: cost::cpu(fleet.0.iter().map(Talk::pid))?,
        network: cost::cpu([switch])?,
        cores: Cores::now()?,
    })
}

fn cost(before: &Look, after: &Look) -> PhaseCost {
    PhaseCost {
        wall: after.at - before.at,
        passed: after.passed.since(before.passed),
        cpu: after.nodes.saturating_sub(before.nodes),
        network_cpu: after.network.saturating_sub(before.network),
        busy: after.cores.busy_since(before.cores),
    }
}

impl Fleet {
    fn start(
        namespace: &Namespace,
        contender: Contender,
        nodes: usize,
        plan: &Path,
        setting: &Setting,
    ) -> Result<Self> {
        let mut fleet = Self(Vec::new());
        let each = nodes.div_ceil(setting.processes);
        let mut first = 0;
        while first < nodes {
            let count = each.min(nodes - first);
            let mut command = namespace.command()?;
            command.args(["node", "--contender", contender.name(), "--plan"]).arg(plan);
            command.args(["--first", &first.to_string(), "--count", &count.to_string()]);
            fleet.0.push(Talk::start(command, &format!("a process of {}", contender.name()))?);
            first += count;
        }
        let deadline = Instant::now() + READY_WITHIN + ANSWERS_WITHIN;
        for process in &mut fleet.0 {
            let line = process.hear(deadline.saturating_duration_since(Instant::now()))?;
            ensure!(line.trim() == "ready", "a process of {} says '{line}'", contender.name());
        }
        Ok(fleet)
    }

    /// Resident memory of all processes, bytes.
    fn memory(&self) -> Result<u64> {
        self.0.iter().map(|process| cost::memory(process.pid())).sum()
    }

    fn links(&mut self) -> Result<u64> {
        let mut links = 0;
        for process in &mut self.0 {
            links += process.ask("links", ANSWERS_WITHIN)?.trim().parse::<u64>()?;
        }
        Ok(links)
    }

    /// What all of them wrote down.
    fn logs(&mut self) -> Result<Happened> {
        let mut all = Happened::default();
        for process in &mut self.0 {
            let text = process.ask("log", ANSWERS_WITHIN)?;
            let log: Happened = serde_json::from_str(&text).context("the log does not read")?;
            all.sent.extend(log.sent);
            all.got.extend(log.got);
        }
        Ok(all)
    }
}

fn sleep_until(unix_us: u64) {
    std::thread::sleep(Duration::from_micros(unix_us.saturating_sub(now_us())));
}
