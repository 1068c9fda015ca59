//! The short ones: installation, the first network, `helm test`, an upgrade of the chart.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sorcha_e2e::cluster::{ClusterNetwork, OPERATOR_NAMESPACE, RELEASE, Traffic, check, clone};
use sorcha_e2e::figure;
use sorcha_e2e::wait;

use crate::{cluster_or_skip, node_or_skip};

/// From `helm install` to a network that is Ready, images present (the bar).
const READY_MAX: Duration = Duration::from_secs(60);

#[test]
fn smoke_1_the_quickstart_is_ready_within_a_minute_and_a_transaction_reaches_all() -> anyhow::Result<()> {
    let test = "smoke_1_the_quickstart_is_ready_within_a_minute_and_a_transaction_reaches_all";
    let cluster = cluster_or_skip!(test);
    let installed = cluster.install()?;
    // As people do it: the file as it is, in the namespace that they are in.
    let network = ClusterNetwork::new(cluster, "quickstart")?;
    let began = Instant::now();
    network.kubectl(&["apply", "-f", &clone("crds/examples/quickstart.yaml")])?;
    let ready = network.kubectl(&["wait", "--for=condition=Ready", "spn/quickstart", "--timeout=240s"]);
    let took = began.elapsed();
    ready.with_context(|| network.story())?;
    figure(
        test,
        &format!(
            "helm install {:.1} s, five peers ready {:.1} s after kubectl apply",
            installed.as_secs_f64(),
            took.as_secs_f64()
        ),
    )?;
    check(installed + took < READY_MAX, "installation and quickstart took longer than a minute")?;
    let pods = network.pods()?;
    check(pods.len() == 5 && pods.iter().all(|pod| pod.is_ready), "Ready means five ready pods")?;

    let began = Instant::now();
    let said = cluster.exec(
        &network.namespace,
        "quickstart-peers-4",
        &["submit", "--text", "from a pod", "-o", "json"],
    )?;
    let id = said.ok()?.json()?["id"].as_str().context("submit prints an id")?.to_owned();
    for peer in network.peers(5) {
        let args = ["tail", "--count", "1", "--timeout", "30s", "-o", "json"];
        let line = cluster.exec(&network.namespace, &peer, &args)?.ok()?.json()?;
        check(line["id"] == id.as_str(), "every pod shows the same transaction")?;
    }
    figure(
        test,
        &format!(
            "submitted in one pod and read in all five in {:.1} s, six kubectl exec",
            began.elapsed().as_secs_f64()
        ),
    )
}

#[test]
fn smoke_2_helm_test_passes() -> anyhow::Result<()> {
    let test = "smoke_2_helm_test_passes";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let began = Instant::now();
    // No `--logs`: the chart removes a pod that has succeeded, and prints what it said itself.
    let said = cluster.helm(&["test", RELEASE, "-n", OPERATOR_NAMESPACE, "--timeout", "300s"])?;
    figure(test, &format!("helm test {:.1} s", began.elapsed().as_secs_f64()))?;
    said.ok().with_context(|| cluster.operator_log().unwrap_or_default())?;
    Ok(())
}

#[test]
fn smoke_3_an_upgrade_of_the_chart_keeps_every_pod_of_a_network() -> anyhow::Result<()> {
    let test = "smoke_3_an_upgrade_of_the_chart_keeps_every_pod_of_a_network";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::start(cluster, "upgrade", 3)?;
    let before = network.pods()?;
    let operators = operator_pods(cluster)?;
    // Everything that a new version of the chart may bring: other flags, and another image for new networks.
    cluster.upgrade(&["log.level=info\\,sorcha_operator=debug", "peerImage.tag=0.0.0-not-there"])?;
    let replaced = wait::until("the old operator has gone", Duration::from_secs(120), || {
        let now = operator_pods(cluster).ok()?;
        (!now.is_empty() && !now.iter().any(|pod| operators.contains(pod))).then_some(())
    });
    replaced?;
    // It has looked at the network: it brings a change of the manifest.
    network.change(&json!({"replicas": 4}))?;
    let grown = wait::until("a fourth peer is made", Duration::from_secs(120), || {
        network.pods().ok().filter(|pods| pods.len() == 4 && pods.iter().all(|pod| pod.is_ready))
    });
    let after = grown.with_context(|| network.story())?;
    cluster.upgrade(&[])?;
    check(after[..3] == before[..], "an upgrade changed pods of a network")?;
    check(
        after[3].images == before[0].images,
        "a network keeps the image that it was deployed with, also for new peers",
    )
}

#[test]
fn smoke_4_an_upgrade_from_an_earlier_chart_keeps_every_pod_running() -> anyhow::Result<()> {
    let test = "smoke_4_an_upgrade_from_an_earlier_chart_keeps_every_pod_running";
    let cluster = node_or_skip!(test);
    let outcome = upgrade_from_before(test, cluster);
    // Whatever happened, the tests after this one find the chart as it is.
    cluster.upgrade(&[])?;
    outcome
}

fn upgrade_from_before(test: &str, cluster: &'static sorcha_e2e::cluster::Cluster) -> anyhow::Result<()> {
    cluster.install_before(&["replicas=2"])?;
    let network = ClusterNetwork::new(cluster, "earlier")?;
    network.apply(&json!({"replicas": 3}))?;
    // The operator is that of today, and the earlier definition lacks much of what it says: pods are looked at.
    let before = network.await_pods(3, &[])?;
    let peers = network.peers(3);
    let operators = operator_pods(cluster)?;
    let traffic = Traffic::start(&network, &peers)?;
    let began = Instant::now();
    cluster.upgrade_as_documented()?;
    let took = began.elapsed();
    wait::until("the old operators have gone", Duration::from_secs(120), || {
        let now = operator_pods(cluster).ok()?;
        (now.len() == 2 && !now.iter().any(|pod| operators.contains(pod))).then_some(())
    })?;
    // Only the new definition knows pools, and only the new operator makes them.
    network.change(&json!({"pools": [{"name": "more", "replicas": 1}]}))?;
    let grown = wait::until("the new operator makes a pool", Duration::from_secs(120), || {
        network.pods().ok().filter(|pods| pods.len() == 4 && pods.iter().all(|pod| pod.is_ready))
    });
    let report = traffic.stop();
    let after = grown.with_context(|| network.story())?;
    network.await_ready()?;
    figure(test, &format!("helm upgrade {:.1} s; {report}", took.as_secs_f64()))?;
    let kept = before.iter().all(|pod| after.contains(pod));
    check(kept, "the upgrade changed pods of a network")?;
    check(report.seconds_without == 0, "there were seconds in which no peer accepted")?;
    network.await_held(&peers, &report.ids).with_context(|| network.story())?;
    figure(
        test,
        &format!(
            "3 pods kept with uid and restarts, 0 of {} acknowledged lost at {peers:?}",
            report.ids.len()
        ),
    )
}

fn operator_pods(cluster: &sorcha_e2e::cluster::Cluster) -> anyhow::Result<Vec<String>> {
    let select = "app.kubernetes.io/name=sorcha-operator";
    let names = "jsonpath={.items[*].metadata.name}";
    // Not what `helm test` left.
    let running = "--field-selector=status.phase=Running";
    let said =
        cluster.kubectl(&["get", "pods", "-n", OPERATOR_NAMESPACE, "-l", select, running, "-o", names])?;
    Ok(said.ok()?.text().split_whitespace().map(str::to_owned).collect())
}
