//! Volumes grow where their class lets them; a StatefulSet is made again around its pods.

use super::cluster::Cluster;
use super::{change, manifest};

#[test]
fn volumes_grow_and_no_pod_is_touched() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 2"));
    change(&mut cluster, "replicas: 2\nstorage: {size: 2Gi}");
    cluster.run(4);
    insta::assert_snapshot!(cluster.transcript());
    assert!(cluster.seen.claims.iter().all(|claim| claim.requested == "2Gi"));
    assert_eq!((cluster.replaced.len(), cluster.plan().steps.len()), (0, 0));
}

#[test]
fn the_same_size_in_other_words_is_no_change() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 2"));
    change(&mut cluster, "replicas: 2\nstorage: {size: 1024Mi}");
    assert_eq!(cluster.plan().steps, []);
}

#[test]
fn volumes_that_cannot_grow_are_told_and_left() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 2"));
    for claim in &mut cluster.seen.claims {
        claim.can_grow = Some(false);
    }
    change(&mut cluster, "replicas: 2\nstorage: {size: 2Gi}");
    cluster.run(3);
    assert!(cluster.seen.claims.iter().all(|claim| claim.requested == "1Gi"));
    assert_eq!(cluster.condition("Degraded"), ("True".to_owned(), "VolumesCannotGrow".to_owned()));
}

#[test]
fn a_volume_that_is_lost_is_told() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 2"));
    cluster.seen.claims[0].trouble = Some(sorcha_operator_plan::observed::Trouble {
        reason: "VolumeLost".to_owned(),
        message: "the volume is gone.".to_owned(),
    });
    cluster.tick();
    assert_eq!(cluster.condition("Degraded"), ("True".to_owned(), "VolumeTrouble".to_owned()));
}
