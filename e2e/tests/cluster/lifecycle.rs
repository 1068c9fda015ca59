//! Growing, shrinking, an application beside its peer, the end of a namespace, what the namespace forbids.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sorcha_e2e::cluster::{ClusterNetwork, OPERATOR_NAMESPACE, check};
use sorcha_e2e::figure;
use sorcha_e2e::wait;

use crate::cluster_or_skip;

/// Whatever is done is done within this.
const DONE_MAX: Duration = Duration::from_secs(300);

#[test]
fn growing_to_ten_and_back_restarts_no_other_pod() -> anyhow::Result<()> {
    let test = "growing_to_ten_and_back_restarts_no_other_pod";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::start(cluster, "scaled", 3)?;
    let first = network.pods()?;
    let mut ids = Vec::new();
    for (at, peer) in network.peers(3).iter().enumerate() {
        ids.push(network.submit(peer, &format!("before {at}"))?);
    }
    let began = Instant::now();
    network.kubectl(&["scale", "spn/scaled", "--replicas=10"])?;
    let grown = network.await_pods(10, &[])?;
    network.await_ready()?;
    let grew = began.elapsed();
    check(grown[..3] == first[..], "growing changed the pods that were there")?;
    network.await_held(&network.peers(10), &ids)?;
    // Accepted by those that will leave.
    for peer in &network.peers(10)[3..] {
        ids.push(network.submit(peer, &format!("at {peer}"))?);
    }
    let began = Instant::now();
    network.kubectl(&["scale", "spn/scaled", "--replicas=3"])?;
    let left =
        wait::until("seven peers have left", DONE_MAX, || network.pods().ok().filter(|pods| pods.len() == 3));
    let left = left.with_context(|| network.story())?;
    network.await_ready()?;
    figure(
        test,
        &format!("3 to 10 in {:.1} s, 10 to 3 in {:.1} s", grew.as_secs_f64(), began.elapsed().as_secs_f64()),
    )?;
    check(left == first, "shrinking changed the pods that stay")?;
    network.await_held(&network.peers(3), &ids)
}

#[test]
fn an_application_speaks_to_its_peer_on_loopback() -> anyhow::Result<()> {
    let test = "an_application_speaks_to_its_peer_on_loopback";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::new(cluster, "application")?;
    let image = concat!("sorcha-peer:", env!("CARGO_PKG_VERSION"));
    // The program is only a client here: it reads what arrives at the peer beside it.
    let application = json!({
        "name": "application",
        "image": image,
        "args": ["tail", "--api", "127.0.0.1:7451"],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    });
    network.apply(&json!({"replicas": 2, "podTemplate": {"spec": {"containers": [application]}}}))?;
    network.await_ready()?;
    // From inside one application's container, to its own peer; each application reads it at its own.
    let began = Instant::now();
    let exec = ["exec", "application-peers-0", "-c", "application", "--", "/sorcha-peer"];
    let submit = ["submit", "--api", "127.0.0.1:7451", "--text", "for every application"];
    network.kubectl(&[&exec[..], &submit].concat())?;
    for peer in network.peers(2) {
        let read = wait::until(&format!("the application of {peer} reads it"), DONE_MAX, || {
            let log = network.kubectl(&["logs", &peer, "-c", "application"]).ok()?;
            log.contains("for every application").then_some(())
        });
        read.with_context(|| network.story())?;
    }
    figure(
        test,
        &format!(
            "submitted by one application and read by both, each at 127.0.0.1:7451, in {:.1} s",
            began.elapsed().as_secs_f64()
        ),
    )?;
    let pods = network.pods()?;
    check(pods.iter().all(|pod| pod.restarts == 0), "the peer was there before its application")
}

#[test]
fn a_namespace_ends_while_no_operator_runs() -> anyhow::Result<()> {
    let test = "a_namespace_ends_while_no_operator_runs";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::start(cluster, "abandoned", 2)?;
    cluster.upgrade(&["replicas=1"])?;
    let deployment = format!("deployment/{}", deployment(cluster)?);
    let scale =
        |replicas: &str| cluster.kubectl(&["scale", "-n", OPERATOR_NAMESPACE, &deployment, replicas])?.ok();
    scale("--replicas=0")?;
    let began = Instant::now();
    let said = cluster.kubectl(&["delete", "namespace", &network.namespace, "--wait=true", "--timeout=120s"]);
    let took = began.elapsed();
    scale("--replicas=1")?;
    said?.ok().context("the namespace does not end without the operator")?;
    figure(test, &format!("namespace gone in {:.1} s", took.as_secs_f64()))
}

fn deployment(cluster: &sorcha_e2e::cluster::Cluster) -> anyhow::Result<String> {
    let select = "app.kubernetes.io/name=sorcha-operator";
    let name = "jsonpath={.items[0].metadata.name}";
    let said =
        cluster.kubectl(&["get", "deployments", "-n", OPERATOR_NAMESPACE, "-l", select, "-o", name])?;
    Ok(said.ok()?.text())
}

#[test]
fn everything_runs_where_only_the_restricted_standard_is_allowed() -> anyhow::Result<()> {
    let test = "everything_runs_where_only_the_restricted_standard_is_allowed";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::start(cluster, "restricted", 1)?;
    // The standard is truly enforced: what asks for more is refused, there and beside the operator.
    for namespace in [network.namespace.as_str(), OPERATOR_NAMESPACE] {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "rootly", "namespace": namespace},
            "spec": {"containers": [{"name": "a", "image": "sorcha.invalid/a"}]},
        });
        let said = cluster.kubectl_with(&["create", "--dry-run=server"], &pod)?;
        check(
            said.code != Some(0) && said.err.contains("violates PodSecurity"),
            "a pod with root's rights is refused",
        )?;
    }
    Ok(())
}
