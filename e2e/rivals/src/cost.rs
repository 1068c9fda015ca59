//! What the kernel counts of processes and cores: proc(5).

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Processor time of processes so far, user and system.
pub fn cpu(pids: impl IntoIterator<Item = u32>) -> Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a process has ended")?;
        let fields = stat.rsplit_once(')').context("no stat")?.1;
        // Fields 14 and 15, the 12th and 13th after the name.
        let words = fields.split_whitespace().skip(11).take(2);
        ticks += words.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Anonymous resident memory of a process, bytes: without the program's own pages, which are one file for all rivals.
pub fn memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("a process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(numbers(line).next().context("a figure")? * 1024)
}

/// Ticks of all cores together.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    idle: u64,
    all: u64,
}

impl Cores {
    /// Since the machine started.
    pub fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no cpu line")?;
        // user nice system idle iowait irq softirq steal; guests are in user.
        let ticks: Vec<u64> = numbers(line).take(8).collect();
        Ok(Self { idle: ticks.iter().skip(3).take(2).sum(), all: ticks.iter().sum() })
    }

    /// Share of all cores that was busy, whoever kept them so.
    pub fn busy_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        1.0 - self.idle.saturating_sub(earlier.idle) as f64 / all as f64
    }
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_costs_something() {
        let before = (cpu([std::process::id()]).unwrap(), Cores::now().unwrap());
        let until = std::time::Instant::now() + Duration::from_millis(100);
        while std::time::Instant::now() < until {}
        let spent = cpu([std::process::id()]).unwrap() - before.0;
        assert!(spent >= Duration::from_millis(50), "{spent:?}");
        let busy = Cores::now().unwrap().busy_since(before.1);
        assert!((0.0..=1.0).contains(&busy), "{busy}");
        assert!(memory(std::process::id()).unwrap() > 10_000);
    }
}
