//! What scenarios found, for people and programs: tables, JSON, YAML.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

/// Median, tail and worst of a sample, nearest rank; all zero for an empty one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Worst.
    pub max: f64,
}

impl Quantiles {
    /// Of a sample in any order.
    pub fn of(mut sample: Vec<f64>) -> Self {
        sample.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (sample.len() as f64 * share).ceil().max(1.0) as usize;
            sample.get(rank - 1).copied().unwrap_or(0.0)
        };
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

/// Under which conditions figures were taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are those of the flags")]
pub struct Conditions {
    pub peers: usize,
    pub transactions: usize,
    pub warm_up: usize,
    pub body_bytes: usize,
    pub delay_ms: f64,
    pub sigma: f64,
    pub drop: f64,
    pub repair_rounds: u32,
    pub dead: f64,
    pub nat: f64,
    pub views: f64,
    pub withholding: f64,
    pub churn_per_minute: f64,
    pub newcomers: f64,
    pub tcp_loss: f64,
    pub bandwidth_bps: u64,
    pub cold: bool,
    pub warm_start: bool,
    pub seed: u64,
}

/// Frames of one kind, per peer and transaction.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindReport {
    /// Kind.
    pub kind: &'static str,
    /// Frames per live peer and transaction.
    pub frames_per_peer: f64,
    /// Bytes per live peer and transaction.
    pub bytes_per_peer: f64,
}

/// What `reach` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReachReport {
    /// Under which conditions.
    pub conditions: Conditions,
    /// Transactions accepted.
    pub accepted: usize,
    /// When links had settled, virtual seconds; with a warm start, when peers were left to the network.
    pub linked_after_s: f64,
    /// Submission until 90 % of live peers hold it durably, ms.
    pub reach_90_ms: Quantiles,
    /// Submission until the last live peer holds it durably, ms; complete transactions only.
    pub reach_last_ms: Quantiles,
    /// Transactions that missed a live peer to the end.
    pub incomplete: usize,
    /// Share of live peers that hold a transaction 3 s after its submission.
    pub reach_3_s: f64,
    /// The same at the end, after the rounds of reconciliation that were asked for.
    pub reach_repaired: f64,
    /// Share of live peers that hold a transaction by then, over time: ms, share.
    pub reach_over_time: Vec<(f64, f64)>,
    /// Peers that were replaced while transactions were measured.
    pub replaced: usize,
    /// Body copies sent per live peer and transaction.
    pub copies_sent: f64,
    /// Of these, arrived.
    pub copies_arrived: f64,
    /// Announce and fetch frames per live peer and transaction.
    pub notice_frames: f64,
    /// Their bytes.
    pub notice_bytes: f64,
    /// Mean hops of first copies.
    pub hops_mean: f64,
    /// Most hops of a first copy.
    pub hops_max: u32,
    /// Mean links of a live peer.
    pub links_mean: f64,
    /// Most links of a live peer.
    pub links_max: usize,
    /// Most gossip frames that one peer sent for one transaction.
    pub egress_frames_max: u64,
    /// Share of frames saved against flooding over the same links.
    pub saved: f64,
    /// Frames by kind.
    pub kinds: Vec<KindReport>,
    /// Evidence that peers reported, by kind.
    pub evidence: BTreeMap<&'static str, u64>,
    /// How often a peer was woken per virtual second, by reason.
    pub wakes: BTreeMap<String, f64>,
    /// Events in the trace.
    pub events: u64,
    /// Duration in the simulation, s.
    pub virtual_s: f64,
    /// Duration on this machine, s.
    pub real_s: f64,
    /// Most memory of this process so far, bytes; 0 where the system does not say.
    pub memory_peak_bytes: u64,
    /// Hash over the trace.
    pub trace: String,
}

impl ReachReport {
    /// The report as a table.
    pub fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        let c = &self.conditions;
        writeln!(
            out,
            "{} peers, {} transactions of {} B after {} for warming up; one-way delay lognormal, mean {} ms, sigma {}; \
             dropped {} %, dead {} %, behind NAT {} %, TCP loss {} %, missing in each view {} %, withholding {} %, \
             replaced {} % a minute, newcomers {} %; seed {}",
            c.peers,
            c.transactions,
            c.body_bytes,
            c.warm_up,
            c.delay_ms,
            c.sigma,
            percent(c.drop),
            percent(c.dead),
            percent(c.nat),
            percent(c.tcp_loss),
            percent(c.views),
            percent(c.withholding),
            percent(c.churn_per_minute),
            percent(c.newcomers),
            c.seed,
        )?;
        writeln!(out)?;
        writeln!(out, "{:<44}{:>9}{:>9}{:>9}{:>9}", "", "p50", "p95", "p99", "max")?;
        for (name, q) in [
            ("to 90 % of live peers, ms", &self.reach_90_ms),
            ("to the last live peer, ms", &self.reach_last_ms),
        ] {
            writeln!(out, "{name:<44}{:>9.1}{:>9.1}{:>9.1}{:>9.1}", q.p50, q.p95, q.p99, q.max)?;
        }
        writeln!(out)?;
        let rows = [
            (
                "transactions accepted / incomplete at the end",
                format!("{} / {}", self.accepted, self.incomplete),
            ),
            ("reach at 3 s", format!("{:.3} %", self.reach_3_s * 100.0)),
            ("reach after rounds of repair", format!("{:.3} %", self.reach_repaired * 100.0)),
            (
                "payload copies per peer, sent / arrived",
                format!("{:.3} / {:.3}", self.copies_sent, self.copies_arrived),
            ),
            (
                "announce and fetch per peer and transaction",
                format!("{:.1} frames, {:.0} B", self.notice_frames, self.notice_bytes),
            ),
            ("hops, mean / most", format!("{:.2} / {}", self.hops_mean, self.hops_max)),
            ("links per peer, mean / most", format!("{:.1} / {}", self.links_mean, self.links_max)),
            ("largest egress for one transaction", format!("{} frames", self.egress_frames_max)),
            ("frames saved against flooding", format!("{:.1} %", self.saved * 100.0)),
            if c.warm_start {
                ("linked at the start", "yes, a warm start".to_owned())
            } else {
                ("links settled after", format!("{:.1} s", self.linked_after_s))
            },
            ("duration, virtual / real", format!("{:.1} s / {:.1} s", self.virtual_s, self.real_s)),
            ("memory at most", format!("{:.0} MiB", self.memory_peak_bytes as f64 / f64::from(1 << 20))),
            ("trace", format!("{} over {} events", self.trace, self.events)),
        ];
        for (name, value) in rows {
            writeln!(out, "{name:<48}{value}")?;
        }
        writeln!(out)?;
        writeln!(out, "{:<20}{:>16}{:>16}", "per peer and transaction", "frames", "bytes")?;
        for kind in &self.kinds {
            writeln!(out, "{:<24}{:>16.2}{:>16.1}", kind.kind, kind.frames_per_peer, kind.bytes_per_peer)?;
        }
        let wakes: Vec<String> = self.wakes.iter().map(|(why, rate)| format!("{why} {rate:.2}")).collect();
        writeln!(out)?;
        writeln!(out, "wake-ups per peer and virtual second: {}", wakes.join(", "))?;
        for (kind, count) in &self.evidence {
            writeln!(out, "evidence of kind {kind}: {count}")?;
        }
        Ok(())
    }
}

/// The process's memory at its highest (VmHWM), bytes; 0 where the system does not say.
pub fn memory_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_take_the_nearest_rank() {
        let q = Quantiles::of((1..=100).rev().map(f64::from).collect());
        assert_eq!(q, Quantiles { p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 });
        assert_eq!(Quantiles::of(vec![7.0]), Quantiles { p50: 7.0, p95: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
