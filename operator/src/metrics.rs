//! Figures for Prometheus about the operator itself and its networks.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::observe::NetworkKey;
use crate::pass::{Found, Look};

/// Networks of which figures are given one by one; the sums count all (three series each: 3,000 at most).
const NETWORKS_MAX: usize = 1000;
/// Conditions of networks that are counted; what a later plan adds is counted by adding it here.
const CONDITIONS: [&str; 5] = ["Ready", "Progressing", "Degraded", "CertificatesReady", "Linked"];
/// Upper bounds of durations in seconds: a look without requests takes microseconds, one with a drain seconds.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// All figures.
pub struct Metrics {
    registry: Registry,
    leader: IntGauge,
    waiting: IntGauge,
    looks: IntCounterVec,
    look_seconds: Histogram,
    errors: IntCounterVec,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    conditions: IntGaugeVec,
    networks: IntGauge,
    wanted: IntGaugeVec,
    ready: IntGaugeVec,
    certificates: IntGaugeVec,
    memory: IntGauge,
    found: Mutex<BTreeMap<NetworkKey, Found>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let by_network = ["namespace", "network"];
        let build = gauges(&registry, "build_info", "Version of the operator; always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            leader: gauge(&registry, "leader", "Whether this replica acts (1) or waits (0)."),
            waiting: gauge(&registry, "queue_length", "Networks that wait to be looked at."),
            looks: counters(&registry, "reconciles_total", "Looks at networks, by result.", &["result"]),
            look_seconds: histogram(
                &registry,
                "reconcile_duration_seconds",
                "Time of one look at one network.",
            ),
            errors: counters(
                &registry,
                "reconcile_errors_total",
                "Looks that ended early, by stage and class of the error.",
                &["stage", "class"],
            ),
            requests: counters(
                &registry,
                "api_requests_total",
                "Requests to the API server; code is `none` where there was no answer.",
                &["verb", "resource", "code"],
            ),
            request_seconds: histograms(
                &registry,
                "api_request_duration_seconds",
                "Time until the API server began to answer.",
                &["verb"],
            ),
            networks: gauge(&registry, "networks", "Networks that this replica looks after."),
            conditions: gauges(
                &registry,
                "networks_by_condition",
                "Networks by condition and whether it holds.",
                &["condition", "status"],
            ),
            wanted: gauges(
                &registry,
                "network_peers_wanted",
                "Peers that the manifest asks for.",
                &by_network,
            ),
            ready: gauges(&registry, "network_peers_ready", "Peers that are ready.", &by_network),
            certificates: gauges(
                &registry,
                "network_certificate_expiry_timestamp_seconds",
                "End of the first of the network's certificates to end, as Unix time.",
                &by_network,
            ),
            memory: plain(&registry, "process_resident_memory_bytes", "Resident memory."),
            found: Mutex::default(),
            registry,
        }
    }

    /// Whether this replica acts. One that does not knows no networks.
    pub fn lead(&self, leads: bool) {
        self.leader.set(leads.into());
        if !leads {
            self.lock().clear();
        }
    }

    /// A look has ended.
    pub fn look(&self, key: &NetworkKey, look: &Look, took: Duration) {
        self.look_seconds.observe(took.as_secs_f64());
        let result = if look.error.is_some() { "error" } else { "ok" };
        self.looks.with_label_values(&[result]).inc();
        if let Some(error) = &look.error {
            self.errors.with_label_values(&[error.stage(), error.class().word()]).inc();
        }
        let mut found = self.lock();
        match (&look.found, look.next) {
            (Some(figures), _) => {
                found.insert(key.clone(), figures.clone());
            }
            (None, None) => {
                found.remove(key);
            }
            (None, Some(_)) => {}
        }
    }

    /// A request has been answered, or not.
    pub fn request(&self, verb: &'static str, resource: &'static str, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.requests.with_label_values(&[verb, resource, &code]).inc();
        self.request_seconds.with_label_values(&[verb]).observe(took.as_secs_f64());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NetworkKey, Found>> {
        self.found.lock().expect("nobody panics while holding it")
    }

    /// As text for Prometheus. `waiting` is the length of the queue.
    pub fn text(&self, waiting: usize) -> Vec<u8> {
        self.waiting.set(waiting as i64);
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        self.fill();
        let mut text = Vec::new();
        // writing to memory cannot fail
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    fn fill(&self) {
        let found = self.lock();
        self.networks.set(found.len() as i64);
        for (condition, status) in CONDITIONS.into_iter().flat_map(|it| [(it, true), (it, false)]) {
            let holds =
                |figures: &&Found| figures.conditions.iter().any(|it| *it.0 == *condition && it.1 == status);
            let count = found.values().filter(holds).count();
            let status = if status { "true" } else { "false" };
            self.conditions.with_label_values(&[condition, status]).set(count as i64);
        }
        for gauges in [&self.wanted, &self.ready, &self.certificates] {
            gauges.reset();
        }
        for (key, figures) in found.iter().take(NETWORKS_MAX) {
            let labels = [&*key.namespace, &*key.name];
            self.wanted.with_label_values(&labels).set(figures.wanted.into());
            self.ready.with_label_values(&labels).set(figures.ready.into());
            if let Some(end) = figures.certificate_end_unix_ms {
                self.certificates.with_label_values(&labels).set(end / 1000);
            }
        }
    }
}

/// Second field of /proc/self/statm, in pages.
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as i64)
}

const NAMED: &str = "names and labels are constants of this file, each registered once";

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("sorcha_operator_{name}"), help)
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect(NAMED);
    collector
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::with_opts(options(name, help)).expect(NAMED))
}

fn plain(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help).expect(NAMED))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(options(name, help), labels).expect(NAMED))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(options(name, help), labels).expect(NAMED))
}

fn buckets(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::from(options(name, help)).buckets(SECONDS.to_vec())
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    register(registry, Histogram::with_opts(buckets(name, help)).expect(NAMED))
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    register(registry, HistogramVec::new(buckets(name, help), labels).expect(NAMED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_networks_come_and_go() {
        let metrics = Metrics::new();
        let key = NetworkKey { namespace: "a".into(), name: "ledger".into() };
        let found = Found {
            wanted: 3,
            ready: 2,
            certificate_end_unix_ms: Some(1_767_225_600_000),
            conditions: vec![("Ready".to_owned(), false)],
        };
        let next = Some(crate::queue::Next::After(Duration::from_secs(1)));
        let look = Look { next, writes: 0, found: Some(found), error: None };
        metrics.look(&key, &look, Duration::from_millis(3));
        let text = String::from_utf8(metrics.text(4)).expect("text");
        for line in [
            "sorcha_operator_network_peers_ready{namespace=\"a\",network=\"ledger\"} 2",
            "sorcha_operator_networks_by_condition{condition=\"Ready\",status=\"false\"} 1",
            "sorcha_operator_network_certificate_expiry_timestamp_seconds{namespace=\"a\",network=\"ledger\"} 1767225600",
            "sorcha_operator_queue_length 4",
            "sorcha_operator_reconciles_total{result=\"ok\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let gone = Look { next: None, writes: 0, found: None, error: None };
        metrics.look(&key, &gone, Duration::from_millis(1));
        assert!(!String::from_utf8(metrics.text(0)).expect("text").contains("ledger"));
    }
}
