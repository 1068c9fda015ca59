//! What Prometheus makes of operator and peer: the real one, where it is installed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use sorcha_e2e::peer::Solo;
use sorcha_e2e::ports::free_ports;
use sorcha_e2e::{plain, skip, wait};

use crate::space::{SOON, on_newest_server};

/// How often it scrapes.
const CONFIGURATION: &str = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n";

/// Both programs, of one Debian package.
fn is_installed() -> bool {
    ["prometheus", "promtool"].iter().all(|program| {
        let asked =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    })
}

/// A process that ends with its test.
struct Prometheus {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Prometheus {
    fn start(targets: &[(&str, String)]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sorcha-prometheus-").tempdir()?;
        let job = |(job, target): &(&str, String)| {
            format!("- job_name: {job}\n  static_configs: [{{ targets: ['{target}'] }}]\n")
        };
        let jobs: Vec<String> = targets.iter().map(job).collect();
        let configuration = format!("{CONFIGURATION}{}", jobs.concat());
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, configuration)?;
        let [port, ..] = free_ports()?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, port, directory })
    }

    /// The samples that a query finds.
    fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let said = Command::new("promtool")
            .args(["query", "instant", "--format=json", &format!("http://127.0.0.1:{}", self.port), query])
            .output()?;
        anyhow::ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        Ok(serde_json::from_slice(&said.stdout)?)
    }

    /// Waits until a query finds the value; panics of Prometheus are in its log.
    fn finds(&self, query: &str, value: &str) -> anyhow::Result<()> {
        let mut last = None;
        wait::until("Prometheus finds it", Duration::from_secs(30), || {
            let found = self.query(query);
            let is_there = found.as_ref().is_ok_and(|samples| {
                !samples.is_empty() && samples.iter().all(|sample| sample["value"][1] == value)
            });
            last = Some(found);
            is_there.then_some(())
        })
        .with_context(|| {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            format!("{query} is not {value} but {last:?}; {log}")
        })
    }
}

/// Fails where promtool finds anything to say.
fn is_clean(whose: &str, metrics: &str) -> anyhow::Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut promtool.stdin.take().context("it is piped")?, metrics.as_bytes())?;
    let said = promtool.wait_with_output()?;
    let words = [said.stdout, said.stderr].concat();
    anyhow::ensure!(
        said.status.success() && words.is_empty(),
        "promtool on the metrics of {whose}: {}",
        String::from_utf8_lossy(&words)
    );
    Ok(())
}

#[test]
fn prometheus_scrapes_operator_and_peer() -> anyhow::Result<()> {
    if !is_installed() {
        skip!("prometheus_scrapes_operator_and_peer", "no prometheus and promtool here (Debian: prometheus)");
    }
    on_newest_server("prometheus_scrapes_operator_and_peer", |space| {
        space.network("a", &json!({ "replicas": 1 }))?;
        let operator = space.operator()?;
        space.await_ready("a")?;
        let solo = Solo::prepare("solo-0")?;
        let _peer = solo.start()?;
        solo.submit("measured")?.ok()?;

        let prometheus = Prometheus::start(&[("operator", operator.admin()), ("peer", solo.admin())])?;
        prometheus.finds("up{job=\"operator\"}", "1")?;
        prometheus.finds("up{job=\"peer\"}", "1")?;
        prometheus.finds("sorcha_operator_networks", "1")?;
        prometheus.finds("sorcha_operator_leader", "1")?;
        prometheus.finds("sorcha_operator_network_peers_ready{network=\"a\"}", "1")?;
        // alone in its network: nobody else holds what it took
        prometheus.finds("sorcha_peer_outbox_transactions", "1")?;

        let (_, metrics) = wait::until("the operator answers", SOON, || operator.ask("/metrics"))?;
        is_clean("the operator", &metrics)?;
        let (_, metrics) = wait::until("the peer answers", SOON, || plain::ask(&solo.admin(), "/metrics"))?;
        is_clean("a peer", &metrics)
    })
}
