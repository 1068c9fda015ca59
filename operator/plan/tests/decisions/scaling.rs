//! More peers come at once; fewer only when those that leave have handed over what they hold.

use sorcha_operator_plan::step::Step;

use super::cluster::Cluster;
use super::{change, manifest};

#[test]
fn three_become_ten_and_three_again_and_no_other_pod_is_touched() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    let uids = |cluster: &Cluster| -> Vec<String> {
        cluster.seen.pools["peers"].pods.values().take(3).map(|pod| pod.uid.clone()).collect()
    };
    let before = uids(&cluster);
    change(&mut cluster, "replicas: 10");
    cluster.run(4);
    change(&mut cluster, "replicas: 3");
    cluster.run(8);
    insta::assert_snapshot!(cluster.transcript());
    assert_eq!(uids(&cluster), before);
    assert_eq!(cluster.replaced, [""; 0]);
    assert_eq!(cluster.seen.claims.len(), 10, "volumes are kept");
}

#[test]
fn a_changed_mind_lets_peers_stay() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 5"));
    change(&mut cluster, "replicas: 3");
    cluster.tick();
    change(&mut cluster, "replicas: 5");
    cluster.run(3);
    insta::assert_snapshot!(cluster.transcript());
    assert_eq!(cluster.seen.pools["peers"].replicas, 5);
}

#[test]
fn a_drain_that_does_not_end_is_told_and_loses_nothing_until_somebody_gives_the_volume_up() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 5\nshutdown: {drainDeadline: 1m}"));
    cluster.faults.clinging.insert("net-peers-3");
    change(&mut cluster, "replicas: 3\nshutdown: {drainDeadline: 1m}");
    cluster.run(12);
    assert_eq!(cluster.seen.pools["peers"].replicas, 4, "who has handed over may go, who has not stays");
    assert_eq!(cluster.condition("Degraded"), ("True".to_owned(), "DrainStuck".to_owned()));
    for claim in cluster.seen.claims.iter_mut().filter(|claim| claim.name == "state-net-peers-3") {
        claim.is_terminating = true;
    }
    cluster.run(3);
    assert_eq!(cluster.seen.pools["peers"].replicas, 3);
    insta::assert_snapshot!(cluster.transcript());
}

#[test]
fn a_pool_that_is_taken_away_is_drained_and_then_nothing_of_it_is_left() {
    let mut cluster = Cluster::at_rest(manifest(
        "replicas: 3\npools: [{name: more, replicas: 2, expose: {address: 'p-{ordinal}.a.example:7450'}}]",
    ));
    assert!(cluster.owned().contains(&"Service net-more-1".to_owned()));
    change(&mut cluster, "replicas: 3");
    cluster.run(8);
    insta::assert_snapshot!(cluster.transcript());
    assert!(cluster.owned().iter().all(|object| !object.contains("more")), "{:?}", cluster.owned());
    assert_eq!(cluster.condition("Ready").0, "True");
}

#[test]
fn a_whole_network_is_stopped_without_draining_and_keeps_every_volume() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3\nstorage: {retain: {onScaleDown: false}}"));
    change(&mut cluster, "replicas: 0\nstorage: {retain: {onScaleDown: false}}");
    let plan = cluster.plan();
    assert_eq!(plan.steps, []);
    let policy = &plan.objects.pools[0].stateful_set["spec"]["persistentVolumeClaimRetentionPolicy"];
    assert_eq!(policy["whenScaled"], "Retain");
    cluster.run(3);
    assert_eq!(cluster.seen.pools["peers"].pods.len(), 0);
    assert_eq!(cluster.condition("Ready").0, "True");
}

#[test]
fn the_last_pool_with_peers_is_not_taken_away_with_what_it_holds() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 0\npools: [{name: more, replicas: 2}]"));
    change(&mut cluster, "replicas: 0");
    cluster.run(3);
    assert_eq!(cluster.condition("Degraded"), ("True".to_owned(), "NobodyStays".to_owned()));
    assert_eq!(cluster.seen.pools["more"].pods.len(), 2);
}

#[test]
fn a_peer_that_was_started_anew_after_its_drain_is_drained_again() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 4"));
    change(&mut cluster, "replicas: 3");
    cluster.run(2);
    let pod = cluster.pod("net-peers-3").expect("it is there");
    assert!(pod.drain.as_ref().is_some_and(|drain| drain.is_drained));
    if let Some(Ok(report)) = &mut pod.peer {
        "online".clone_into(&mut report.state);
    }
    let plan = cluster.plan();
    assert_eq!(plan.objects.pools[0].stateful_set["spec"]["replicas"], 4);
    assert!(plan.steps.iter().any(|step| matches!(step, Step::Drain { .. })));
}

#[test]
fn peers_that_never_held_anything_go_at_once() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    cluster.faults.images.insert("sorcha-peer:1");
    change(&mut cluster, "replicas: 5");
    cluster.run(2);
    for claim in cluster.seen.claims.iter_mut().filter(|claim| claim.ordinal >= 3) {
        claim.capacity = None;
    }
    change(&mut cluster, "replicas: 3");
    let plan = cluster.plan();
    assert_eq!(plan.objects.pools[0].stateful_set["spec"]["replicas"], 3);
    assert!(!plan.steps.iter().any(|step| matches!(step, Step::Drain { .. })));
}
