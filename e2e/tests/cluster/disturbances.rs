//! Under constant use, everything that happens to pods and to what runs them: nothing acknowledged is lost, and there
//! is always a peer that accepts.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sorcha_e2e::cluster::{Cluster, ClusterNetwork, OPERATOR_NAMESPACE, Traffic, check, kill_peer};
use sorcha_e2e::figure;
use sorcha_e2e::wait;

use crate::{cluster_or_skip, node_or_skip};

/// Peers of each network.
const PEERS: u32 = 3;

/// Whatever is done is done within this.
const DONE_MAX: Duration = Duration::from_secs(240);

/// A network in constant use, something done to it, and the two promises checked.
fn under_traffic(
    test: &str,
    cluster: &'static Cluster,
    name: &str,
    disturb: impl FnOnce(&ClusterNetwork) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    cluster.install()?;
    let network = ClusterNetwork::start(cluster, name, PEERS)?;
    let peers = network.peers(PEERS);
    let traffic = Traffic::start(&network, &peers)?;
    let warm = wait::until("traffic flows", DONE_MAX, || (traffic.count() > 10).then_some(()));
    let done = warm.and_then(|()| disturb(&network));
    // What comes after it must flow too.
    std::thread::sleep(Duration::from_secs(2));
    let report = traffic.stop();
    figure(test, &report.to_string())?;
    done.with_context(|| network.story())?;
    network.await_held(&peers, &report.ids).with_context(|| network.story())?;
    figure(test, &format!("0 of {} acknowledged lost at {PEERS} peers", report.ids.len()))?;
    check(report.seconds_without == 0, "there were seconds in which no peer accepted")
}

/// The second name that the image has on the test node.
const NEXT_IMAGE: &str = "sorcha-peer:next";

fn give_next_image(cluster: &Cluster) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let whole = |name: &str| format!("docker.io/library/{name}");
    cluster.tag_image(&whole(&format!("sorcha-peer:{version}")), &whole(NEXT_IMAGE))
}

#[test]
fn a_change_of_the_image_replaces_one_pod_after_the_other() -> anyhow::Result<()> {
    let test = "a_change_of_the_image_replaces_one_pod_after_the_other";
    let cluster = node_or_skip!(test);
    give_next_image(cluster)?;
    under_traffic(test, cluster, "image", |network| {
        let before = network.pods()?;
        let began = Instant::now();
        network.change(&json!({"image": NEXT_IMAGE}))?;
        let after = network.await_pods(PEERS as usize, &before)?;
        network.await_ready()?;
        figure(test, &format!("{PEERS} pods replaced in {:.1} s", began.elapsed().as_secs_f64()))?;
        let all = after.iter().all(|pod| pod.images.values().any(|image| image == NEXT_IMAGE));
        check(all, "every pod runs the new image")
    })
}

#[test]
fn a_change_of_the_configuration_replaces_one_pod_after_the_other() -> anyhow::Result<()> {
    let test = "a_change_of_the_configuration_replaces_one_pod_after_the_other";
    let cluster = cluster_or_skip!(test);
    under_traffic(test, cluster, "config", |network| {
        let before = network.pods()?;
        let began = Instant::now();
        network.change(&json!({"discovery": {"heartbeatInterval": "2s"}}))?;
        network.await_pods(PEERS as usize, &before)?;
        network.await_ready()?;
        figure(test, &format!("{PEERS} pods replaced in {:.1} s", began.elapsed().as_secs_f64()))
    })
}

#[test]
fn pods_are_evicted_one_at_a_time() -> anyhow::Result<()> {
    let test = "pods_are_evicted_one_at_a_time";
    let cluster = cluster_or_skip!(test);
    under_traffic(test, cluster, "evicted", |network| {
        let before = network.pods()?;
        let mut refused = 0_u32;
        // All at once, as a drain of a node does: the disruption budget lets one go at a time.
        let mut left: Vec<String> = before.iter().map(|pod| pod.name.clone()).collect();
        wait::until("every pod has been evicted", DONE_MAX, || {
            left.retain(|pod| match evict(network, pod) {
                Ok(taken) => {
                    refused += u32::from(!taken);
                    !taken
                }
                Err(_) => true,
            });
            left.is_empty().then_some(())
        })?;
        network.await_pods(PEERS as usize, &before)?;
        network.await_ready()?;
        figure(test, &format!("{refused} evictions had to wait for the budget"))?;
        check(refused > 0, "the disruption budget held nothing back")
    })
}

/// Whether it was taken; not while the disruption budget forbids it.
fn evict(network: &ClusterNetwork, pod: &str) -> anyhow::Result<bool> {
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": network.namespace},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", network.namespace);
    let said = network.cluster.kubectl_with(&["create", "--raw", &path], &eviction)?;
    if said.code != Some(0) && said.err.contains("disruption budget") {
        return Ok(false);
    }
    said.ok()?;
    Ok(true)
}

#[test]
fn killed_and_deleted_pods_come_back_with_what_they_had() -> anyhow::Result<()> {
    let test = "killed_and_deleted_pods_come_back_with_what_they_had";
    let cluster = cluster_or_skip!(test);
    under_traffic(test, cluster, "killed", |network| {
        for (at, pod) in network.pods()?.into_iter().enumerate() {
            // A crash of the program on the test node; elsewhere, and at the last, the pod without a grace period.
            if cluster.is_own() && at + 1 < PEERS as usize {
                kill_peer(&pod.name)?;
                wait::until("the container is started again", DONE_MAX, || {
                    let pods = network.pods().ok()?;
                    let now = pods.into_iter().find(|now| now.name == pod.name)?;
                    (now.restarts > pod.restarts && now.is_ready).then_some(())
                })?;
            } else {
                network.kubectl(&["delete", "pod", &pod.name, "--grace-period=0", "--force"])?;
                network.await_pods(PEERS as usize, &[pod])?;
            }
        }
        network.await_ready()
    })
}

#[test]
fn an_operator_that_is_killed_goes_on_where_it_was() -> anyhow::Result<()> {
    let test = "an_operator_that_is_killed_goes_on_where_it_was";
    let cluster = cluster_or_skip!(test);
    under_traffic(test, cluster, "operatorless", |network| {
        let before = network.pods()?;
        network.change(&json!({"discovery": {"heartbeatInterval": "3s"}}))?;
        wait::until("the first pod is replaced", DONE_MAX, || {
            let pods = network.pods().ok()?;
            pods.iter().any(|pod| before.iter().all(|old| old.uid != pod.uid)).then_some(())
        })?;
        let began = Instant::now();
        let select = "app.kubernetes.io/name=sorcha-operator";
        let kill = ["delete", "pods", "-n", OPERATOR_NAMESPACE, "-l", select, "--grace-period=0", "--force"];
        cluster.kubectl(&kill)?.ok()?;
        network.await_pods(PEERS as usize, &before)?;
        network.await_ready()?;
        figure(test, &format!("done {:.1} s after the operator was killed", began.elapsed().as_secs_f64()))
    })
}

#[test]
fn a_killed_api_server_disturbs_no_peer() -> anyhow::Result<()> {
    let test = "a_killed_api_server_disturbs_no_peer";
    let cluster = node_or_skip!(test);
    under_traffic(test, cluster, "serverless", |network| {
        let before = network.pods()?;
        cluster.kill_program("kube-apiserver")?;
        let after = wait::until("the API server is back", DONE_MAX, || network.pods().ok())?;
        check(after == before, "pods changed while the API server was down")?;
        // And the operator is well: it brings a change.
        network.change(&json!({"discovery": {"heartbeatInterval": "2s"}}))?;
        network.await_pods(PEERS as usize, &before)?;
        network.await_ready()
    })
}

#[test]
fn a_restart_of_etcd_disturbs_no_peer() -> anyhow::Result<()> {
    let test = "a_restart_of_etcd_disturbs_no_peer";
    let cluster = node_or_skip!(test);
    under_traffic(test, cluster, "storeless", |network| {
        let before = network.pods()?;
        cluster.kill_program("etcd")?;
        let after = wait::until("etcd is back", DONE_MAX, || network.pods().ok())?;
        check(after == before, "pods changed while etcd was down")?;
        network.change(&json!({"discovery": {"heartbeatInterval": "2s"}}))?;
        network.await_pods(PEERS as usize, &before)?;
        network.await_ready()
    })
}
