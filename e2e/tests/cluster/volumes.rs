//! Volumes of peers: growing in place, never shrinking, staying or going with peers and networks as the manifest says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use sorcha_e2e::cluster::{ClusterNetwork, check};
use sorcha_e2e::figure;
use sorcha_e2e::wait;

use crate::{cluster_or_skip, node_or_skip};

/// Whatever is done is done within this.
const DONE_MAX: Duration = Duration::from_secs(240);

/// What tests look at in a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    /// Another one for a claim that was made again.
    uid: String,
    requested: String,
    capacity: String,
}

/// Claims of a network that are not on their way out, by name.
fn claims(network: &ClusterNetwork) -> anyhow::Result<BTreeMap<String, Claim>> {
    let list = network.cluster.json(&["-n", &network.namespace, "get", "pvc"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = list["items"].as_array().into_iter().flatten();
    let stay = all.filter(|item| item["metadata"]["deletionTimestamp"].is_null());
    Ok(stay
        .map(|item| {
            let claim = Claim {
                uid: text(&item["metadata"]["uid"]),
                requested: text(&item["spec"]["resources"]["requests"]["storage"]),
                capacity: text(&item["status"]["capacity"]["storage"]),
            };
            (text(&item["metadata"]["name"]), claim)
        })
        .collect())
}

fn await_claims(
    network: &ClusterNetwork,
    what: &str,
    holds: impl Fn(&BTreeMap<String, Claim>) -> bool,
) -> anyhow::Result<BTreeMap<String, Claim>> {
    let found = wait::until(what, DONE_MAX, || claims(network).ok().filter(|claims| holds(claims)));
    found.with_context(|| network.story())
}

/// The claims of peers of the default pool.
fn names(network: &ClusterNetwork, count: u32) -> Vec<String> {
    network.peers(count).iter().map(|peer| format!("state-{peer}")).collect()
}

#[test]
fn volumes_grow_under_running_peers_and_do_not_shrink() -> anyhow::Result<()> {
    let test = "volumes_grow_under_running_peers_and_do_not_shrink";
    // Not every class of somebody else's lets volumes grow, and few within a test's time.
    let cluster = node_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::new(cluster, "grown")?;
    network.apply(&json!({"replicas": 2, "storage": {"size": "64Mi"}}))?;
    network.await_ready()?;
    let pods = network.pods()?;
    let before = claims(&network)?;
    check(before.values().all(|claim| claim.capacity == "64Mi"), "volumes have the size that was asked for")?;
    let mut ids = vec![network.submit("grown-peers-0", "before it grows")?];

    let began = Instant::now();
    network.change(&json!({"storage": {"size": "128Mi"}}))?;
    let after = await_claims(&network, "both volumes have grown", |claims| {
        claims.values().all(|claim| claim.requested == "128Mi" && claim.capacity == "128Mi")
    })?;
    network.await_ready()?;
    figure(test, &format!("two volumes of 64Mi have 128Mi after {:.1} s", began.elapsed().as_secs_f64()))?;
    let same = before.iter().all(|(name, claim)| after.get(name).is_some_and(|now| now.uid == claim.uid));
    check(same && after.len() == 2, "a claim was made anew instead of growing")?;
    check(network.pods()? == pods, "growing changed the pods")?;
    ids.push(network.submit("grown-peers-1", "after it has grown")?);

    // The StatefulSet, which was made again, makes larger ones, and still owns the pods that are there.
    network.change(&json!({"replicas": 3}))?;
    let now = network.await_pods(3, &[])?;
    network.await_ready()?;
    check(now[..2] == pods[..], "a third peer changed the other pods")?;
    check(claims(&network)?["state-grown-peers-2"].capacity == "128Mi", "a new peer has a smaller volume")?;
    network.await_held(&network.peers(3), &ids)?;

    let patch = json!({"spec": {"storage": {"size": "64Mi"}}}).to_string();
    let args = ["-n", &network.namespace, "patch", "spn", "grown", "--type", "merge", "-p", &patch];
    let refused = cluster.kubectl(&args)?;
    let sentence = "storage.size can grow but not shrink: the data of the peers would not fit any more.";
    check(
        refused.code != Some(0) && refused.err.contains(sentence),
        &format!("shrinking is refused with a sentence, not: {}", refused.err),
    )?;
    figure(test, &format!("refused: {}", refused.err.trim()))
}

#[test]
fn volumes_stay_when_peers_and_networks_go() -> anyhow::Result<()> {
    let test = "volumes_stay_when_peers_and_networks_go";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::start(cluster, "retained", 3)?;
    let before = claims(&network)?;
    check(before.keys().eq(&names(&network, 3)), "every peer has a volume")?;
    let mut ids = vec![network.submit("retained-peers-2", "at the one that leaves")?];
    network.await_held(&network.peers(3), &ids)?;

    network.kubectl(&["scale", "spn/retained", "--replicas=2"])?;
    network.await_pods(2, &[])?;
    network.await_ready()?;
    check(claims(&network)? == before, "scaling down took a volume that was to stay")?;
    ids.push(network.submit("retained-peers-0", "while it is away")?);
    network.kubectl(&["scale", "spn/retained", "--replicas=3"])?;
    network.await_pods(3, &[])?;
    network.await_ready()?;
    check(claims(&network)? == before, "the third peer did not take its own volume again")?;
    network.await_held(&network.peers(3), &ids)?;

    network.kubectl(&["delete", "spn", "retained", "--timeout=120s"])?;
    wait::until("no pod is left", DONE_MAX, || network.pods().ok().filter(Vec::is_empty))?;
    check(claims(&network)? == before, "the network took its volumes with it")?;
    let began = Instant::now();
    network.apply(&json!({"replicas": 3}))?;
    network.await_ready()?;
    check(claims(&network)? == before, "the new network did not take the volumes that were there")?;
    network.await_held(&network.peers(3), &ids)?;
    figure(
        test,
        &format!(
            "deleted and applied again: ready with all it held after {:.1} s",
            began.elapsed().as_secs_f64()
        ),
    )
}

#[test]
fn volumes_go_with_peers_and_networks_where_the_manifest_says_so() -> anyhow::Result<()> {
    let test = "volumes_go_with_peers_and_networks_where_the_manifest_says_so";
    let cluster = cluster_or_skip!(test);
    cluster.install()?;
    let network = ClusterNetwork::new(cluster, "released")?;
    let retain = json!({"onDelete": false, "onScaleDown": false});
    network.apply(&json!({"replicas": 3, "storage": {"retain": retain}}))?;
    network.await_ready()?;
    let before = claims(&network)?;
    let id = network.submit("released-peers-2", "at the one that leaves")?;

    let began = Instant::now();
    network.kubectl(&["scale", "spn/released", "--replicas=2"])?;
    let left = await_claims(&network, "the third volume has gone", |claims| claims.len() == 2)?;
    let scaled = began.elapsed();
    check(left.iter().all(|(name, claim)| before.get(name) == Some(claim)), "another volume was touched")?;
    network.await_ready()?;
    // Nothing is lost with it: it handed over what it held before it went.
    network.await_held(&network.peers(2), &[id])?;

    let began = Instant::now();
    network.kubectl(&["delete", "spn", "released", "--timeout=120s"])?;
    await_claims(&network, "all volumes have gone", BTreeMap::is_empty)?;
    figure(
        test,
        &format!(
            "volume gone {:.1} s after scaling down, the others {:.1} s after the network's end",
            scaled.as_secs_f64(),
            began.elapsed().as_secs_f64()
        ),
    )
}
