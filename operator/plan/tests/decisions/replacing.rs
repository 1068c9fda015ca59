//! Peers come to run a new template one at a time, while all others do their work.

use super::cluster::Cluster;
use super::{change, manifest};

#[test]
fn a_new_image_goes_round_one_peer_at_a_time_seeds_last() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3\npools: [{name: more, replicas: 2}]"));
    change(&mut cluster, "replicas: 3\nimage: sorcha-peer:2\npools: [{name: more, replicas: 2}]");
    cluster.run(20);
    insta::assert_snapshot!(cluster.transcript());
    let order = ["net-more-1", "net-more-0", "net-peers-2", "net-peers-1", "net-peers-0"];
    assert_eq!(cluster.replaced, order);
}

#[test]
fn a_peer_that_alone_holds_something_hands_it_over_first() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    cluster.faults.holding.insert("net-peers-1");
    change(&mut cluster, "replicas: 3\nimage: sorcha-peer:2");
    cluster.run(6);
    cluster.faults.holding.clear();
    cluster.run(8);
    insta::assert_snapshot!(cluster.transcript());
}

#[test]
fn a_template_that_does_not_start_stops_after_one_peer_and_goes_on_when_corrected() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    cluster.faults.images.insert("sorcha-peer:broken");
    change(&mut cluster, "replicas: 3\nimage: sorcha-peer:broken");
    cluster.run(40);
    assert_eq!(cluster.replaced, ["net-peers-2"], "the others are left as they are");
    assert_eq!(cluster.condition("Degraded").0, "True");
    change(&mut cluster, "replicas: 3\nimage: sorcha-peer:2");
    cluster.run(12);
    assert_eq!(cluster.condition("Ready").0, "True");
    assert_eq!(cluster.condition("Degraded").0, "False");
    insta::assert_snapshot!(cluster.transcript());
}

#[test]
fn nobody_is_replaced_while_a_peer_is_cut_off() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    cluster.faults.apart.insert("net-peers-0");
    change(&mut cluster, "replicas: 3\nimage: sorcha-peer:2");
    cluster.run(60);
    assert_eq!(
        cluster.replaced,
        ["net-peers-0"],
        "who lacks something anyway goes first, and does not come back"
    );
    assert_eq!(cluster.condition("Degraded"), ("True".to_owned(), "RolloutStopped".to_owned()));
    assert_eq!(cluster.condition("Linked").0, "False");
    cluster.faults.apart.clear();
    cluster.run(10);
    assert_eq!(cluster.replaced, ["net-peers-0", "net-peers-2", "net-peers-1"]);
    assert_eq!(cluster.condition("Ready").0, "True");
}

#[test]
fn silent_peers_are_not_replaced_though_the_cluster_calls_them_ready() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    change(&mut cluster, "replicas: 3\nimage: sorcha-peer:2");
    cluster.tick();
    for pod in cluster.seen.pools.values_mut().flat_map(|pool| pool.pods.values_mut()) {
        pod.peer = Some(Err("connection refused.".to_owned()));
    }
    assert_eq!(cluster.plan().steps, []);
    cluster.tick();
    assert_eq!(cluster.condition("Degraded"), ("True".to_owned(), "RolloutStopped".to_owned()));
}

#[test]
fn a_single_peer_is_replaced_though_nobody_else_holds_what_it_holds() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 1"));
    cluster.faults.holding.insert("net-peers-0");
    change(&mut cluster, "replicas: 1\nimage: sorcha-peer:2");
    cluster.run(4);
    assert_eq!(cluster.replaced, ["net-peers-0"]);
    assert_eq!(cluster.condition("Ready").0, "True");
}

#[test]
fn a_revision_that_its_controller_has_not_seen_replaces_nobody() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    change(&mut cluster, "replicas: 3\nimage: sorcha-peer:2");
    cluster.tick();
    cluster.seen.pools.get_mut("peers").expect("it is there").is_settled = false;
    assert_eq!(cluster.plan().steps, []);
}
