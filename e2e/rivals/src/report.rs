//! Figures of one rival, and the table that sets them side by side.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::namespace::Passed;
use crate::node::Happened;
use crate::plan::{Phase, Plan};

/// Which versions were built.
const LOCK: &str = include_str!("../Cargo.lock");

/// What the network and the kernel counted.
#[derive(Debug)]
pub struct Measured {
    /// Of each phase.
    pub costs: Vec<PhaseCost>,
    /// Anonymous resident memory per node at the end.
    pub memory_bytes: u64,
    /// Connections of a node, on average.
    pub links: f64,
    /// While nobody sends.
    pub idle: Idle,
}

/// Of one stretch of time.
#[derive(Debug)]
pub struct PhaseCost {
    /// How long it was.
    pub wall: Duration,
    /// What passed through the switch.
    pub passed: Passed,
    /// Processor time of all nodes.
    pub cpu: Duration,
    /// Processor time of the switch.
    pub network_cpu: Duration,
    /// Share of the machine's cores that was busy.
    pub busy: f64,
}

/// What a node costs while nobody sends.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// Bytes of IP packets per second.
    pub bytes_per_second: f64,
    /// Processor time per second, us.
    pub cpu_us_per_second: f64,
}

impl Idle {
    /// From a stretch in which nobody sent.
    pub fn new(cost: &PhaseCost, nodes: usize) -> Self {
        let node_seconds = cost.wall.as_secs_f64() * nodes as f64;
        Self {
            bytes_per_second: cost.passed.bytes as f64 / node_seconds,
            cpu_us_per_second: cost.cpu.as_secs_f64() * 1e6 / node_seconds,
        }
    }
}

/// One rival in one run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Which.
    pub contender: &'static str,
    /// What it ran with.
    pub config: String,
    /// A row for each payload length.
    pub payloads: Vec<Row>,
    /// Connections of a node, on average.
    pub links: f64,
    /// Anonymous resident memory per node at the end, MiB.
    pub memory_mib: f64,
    /// Of one node while nobody sends.
    pub idle: Idle,
}

/// One rival, one payload length.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Bytes of each payload.
    pub bytes: usize,
    /// Messages handed over.
    pub messages: usize,
    /// Messages a second, on average.
    pub rate: f64,
    /// Share of deliveries that came, of all that should.
    pub delivered: f64,
    /// Median over messages of the time until nine of ten nodes have it, ms.
    pub most_p50_ms: f64,
    /// Median over messages of the time from handing over to the delivery at the last node, ms.
    pub last_p50_ms: f64,
    /// Their 95th percentile.
    pub last_p95_ms: f64,
    /// Bytes of IP packets per delivered payload byte, everything counted.
    pub wire_per_payload: f64,
    /// The same without what passes while nobody sends.
    pub wire_per_payload_net: f64,
    /// Processor time of the nodes per delivery, us.
    pub cpu_per_delivery_us: f64,
    /// Processor time of the network per delivery, us: reading and writing packets, and TCP where it receives.
    pub network_cpu_per_delivery_us: f64,
    /// Share of the machine's cores that was busy.
    pub busy: f64,
    /// Share of packets that the switch delivered more than 5 ms late.
    pub late: f64,
    /// How late the latest of them was, ms.
    pub latest_ms: f64,
    /// Packets lost.
    pub dropped: u64,
}

impl Figures {
    /// From what was sent, what arrived and what it cost; the first phase is left out.
    pub fn new(
        contender: &'static str,
        config: String,
        plan: &Plan,
        measured: &Measured,
        happened: &Happened,
    ) -> Self {
        let sent: BTreeMap<u64, u64> = happened.sent.iter().copied().collect();
        let (mut arrivals, mut seen) = (HashMap::<u64, Vec<(usize, u64)>>::new(), HashSet::new());
        for (number, node, at) in &happened.got {
            if seen.insert((*number, *node)) {
                arrivals.entry(*number).or_default().push((*node, *at));
            }
        }
        let payloads = plan.phases.iter().zip(&measured.costs).skip(1);
        let payloads = payloads.map(|(phase, cost)| {
            let times = phase.sends.iter().filter_map(|send| {
                let sent = sent.get(&send.number)?;
                let others = arrivals.get(&send.number).into_iter().flatten();
                let others = others.filter(|(node, _)| *node != send.node);
                Some(others.map(|(_, at)| at.saturating_sub(*sent) as f64 / 1000.0).collect())
            });
            Row::new(phase, cost, &measured.idle, times.collect(), plan.nodes)
        });
        Self {
            contender,
            config,
            payloads: payloads.collect(),
            links: measured.links,
            memory_mib: measured.memory_bytes as f64 / (1024.0 * 1024.0),
            idle: measured.idle,
        }
    }

    /// The run in the middle, figure by figure.
    pub fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| quantile(&mut runs.iter().map(figure).collect::<Vec<_>>(), 0.5);
        let rows = (0..runs[0].payloads.len()).map(|number| {
            let rows: Vec<&Row> = runs.iter().map(|run| &run.payloads[number]).collect();
            Row::median(&rows)
        });
        Self {
            contender: runs[0].contender,
            config: runs[0].config.clone(),
            payloads: rows.collect(),
            links: of(|run| run.links),
            memory_mib: of(|run| run.memory_mib),
            idle: Idle {
                bytes_per_second: of(|run| run.idle.bytes_per_second),
                cpu_us_per_second: of(|run| run.idle.cpu_us_per_second),
            },
        }
    }
}

impl Row {
    /// `times`: of each message, from handing over to each delivery, ms.
    fn new(phase: &Phase, cost: &PhaseCost, idle: &Idle, times: Vec<Vec<f64>>, nodes: usize) -> Self {
        let others = nodes - 1;
        let (mut last, mut most, mut deliveries) = (Vec::new(), Vec::new(), 0);
        for mut times in times {
            times.sort_by(f64::total_cmp);
            deliveries += times.len();
            // What has not arrived has arrived late: it never makes a figure better.
            let at = |share: f64| {
                times.get((others as f64 * share).ceil() as usize - 1).copied().unwrap_or(f64::INFINITY)
            };
            last.push(at(1.0));
            most.push(at(0.9));
        }
        let payload = (deliveries.max(1) * phase.bytes) as f64;
        let at_rest = idle.bytes_per_second * nodes as f64 * cost.wall.as_secs_f64();
        let per_delivery = |cpu: Duration| cpu.as_secs_f64() * 1e6 / deliveries.max(1) as f64;
        Self {
            bytes: phase.bytes,
            messages: phase.sends.len(),
            rate: phase.rate,
            delivered: deliveries as f64 / (phase.sends.len() * others).max(1) as f64,
            most_p50_ms: quantile(&mut most, 0.5),
            last_p50_ms: quantile(&mut last, 0.5),
            last_p95_ms: quantile(&mut last, 0.95),
            wire_per_payload: cost.passed.bytes as f64 / payload,
            wire_per_payload_net: (cost.passed.bytes as f64 - at_rest) / payload,
            cpu_per_delivery_us: per_delivery(cost.cpu),
            network_cpu_per_delivery_us: per_delivery(cost.network_cpu),
            busy: cost.busy,
            late: cost.passed.late as f64 / cost.passed.packets.max(1) as f64,
            latest_ms: cost.passed.latest.as_secs_f64() * 1000.0,
            dropped: cost.passed.dropped,
        }
    }

    fn median(rows: &[&Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            quantile(&mut rows.iter().map(|row| figure(row)).collect::<Vec<_>>(), 0.5)
        };
        Self {
            bytes: rows[0].bytes,
            messages: rows[0].messages,
            rate: rows[0].rate,
            delivered: of(|row| row.delivered),
            most_p50_ms: of(|row| row.most_p50_ms),
            last_p50_ms: of(|row| row.last_p50_ms),
            last_p95_ms: of(|row| row.last_p95_ms),
            wire_per_payload: of(|row| row.wire_per_payload),
            wire_per_payload_net: of(|row| row.wire_per_payload_net),
            cpu_per_delivery_us: of(|row| row.cpu_per_delivery_us),
            network_cpu_per_delivery_us: of(|row| row.network_cpu_per_delivery_us),
            busy: of(|row| row.busy),
            late: of(|row| row.late),
            latest_ms: of(|row| row.latest_ms),
            dropped: rows.iter().map(|row| row.dropped).max().unwrap_or(0),
        }
    }
}

/// Prints all rivals, one payload length after the other, then what they ran with.
pub fn table(all: &[Figures]) {
    let Some(first) = all.first() else { return };
    for (number, row) in first.payloads.iter().enumerate() {
        println!("\npayload of {} bytes, {} messages, {} a second", row.bytes, row.messages, row.rate);
        println!(
            "{:<16} {:>11} {:>11} {:>11} {:>10} {:>14} {:>10} {:>13} {:>13} {:>7} {:>7} {:>8}",
            "",
            "90 % p50 ms",
            "last p50 ms",
            "last p95 ms",
            "delivered",
            "bytes/payload",
            "at rest −",
            "CPU/delivery",
            "its network",
            "busy",
            "late",
            "dropped"
        );
        for figures in all {
            let row = &figures.payloads[number];
            println!(
                "{:<16} {:>11.1} {:>11.1} {:>11.1} {:>8.2} % {:>14.2} {:>10.2} {:>10.0} us {:>10.0} us {:>5.0} % {:>5.1} % {:>8}",
                figures.contender,
                row.most_p50_ms,
                row.last_p50_ms,
                row.last_p95_ms,
                row.delivered * 100.0,
                row.wire_per_payload,
                row.wire_per_payload_net,
                row.cpu_per_delivery_us,
                row.network_cpu_per_delivery_us,
                row.busy * 100.0,
                row.late * 100.0,
                row.dropped,
            );
        }
    }
    println!(
        "\n{:<16} {:>10} {:>13} {:>18} {:>16}",
        "a node", "links", "memory", "at rest, bytes/s", "at rest, CPU"
    );
    for figures in all {
        println!(
            "{:<16} {:>10.1} {:>9.1} MiB {:>18.0} {:>11.0} us/s",
            figures.contender,
            figures.links,
            figures.memory_mib,
            figures.idle.bytes_per_second,
            figures.idle.cpu_us_per_second
        );
    }
    println!();
    for figures in all {
        println!("{}: {}", figures.contender, figures.config);
    }
}

/// The version of a package that this program is built with.
pub fn version(package: &str) -> String {
    let entry = LOCK.split("[[package]]").find_map(|entry| {
        let rest = entry.trim_start().strip_prefix(&format!("name = \"{package}\"\nversion = \""))?;
        rest.split('"').next()
    });
    entry.unwrap_or("?").to_owned()
}

/// Nearest rank.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::plan::Wishes;

    #[test]
    fn what_does_not_arrive_makes_no_figure_better() {
        let wishes = Wishes { nodes: 3, dials: 1, payloads: vec![(100, 10.0)], messages: 1, seed: 1 };
        let plan = Plan::new(&wishes, PathBuf::new());
        let send = plan.phases[1].sends[0];
        let others: Vec<usize> = (0..3).filter(|node| *node != send.node).collect();
        let cost = || PhaseCost {
            wall: Duration::from_secs(2),
            passed: Passed { bytes: 400, packets: 4, ..Passed::default() },
            cpu: Duration::from_micros(20),
            network_cpu: Duration::ZERO,
            busy: 0.1,
        };
        let idle = Idle { bytes_per_second: 10.0, cpu_us_per_second: 0.0 };
        let measured = Measured { costs: vec![cost(), cost()], memory_bytes: 1, links: 2.0, idle };
        let mut happened = Happened {
            sent: vec![(send.number, 1_000)],
            got: vec![
                (send.number, others[0], 3_000),
                (send.number, others[0], 9_000),
                (send.number, send.node, 1_001),
            ],
        };
        let row = |happened: &Happened| {
            Figures::new("one", String::new(), &plan, &measured, happened).payloads[0].clone()
        };
        let half = row(&happened);
        happened.got.push((send.number, others[1], 4_000));
        let whole = row(&happened);
        assert!(half.last_p50_ms.is_infinite() && (half.delivered - 0.5).abs() < 1e-9);
        assert!((whole.last_p50_ms - 3.0).abs() < 1e-9 && (whole.wire_per_payload - 2.0).abs() < 1e-9);
        // Three nodes at rest pass 60 bytes in two seconds.
        assert!((whole.wire_per_payload_net - 1.7).abs() < 1e-9);
        assert!((whole.cpu_per_delivery_us - 10.0).abs() < 1e-9);
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        assert!(version("iroh-gossip").starts_with("0."));
        assert_eq!(version("no-such-package"), "?");
    }
}
