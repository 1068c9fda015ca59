//! Whole stories of networks, told by transcripts: what is done, in which order, and what is said of it.

mod cluster;
mod replacing;
mod scaling;
mod troubles;
mod volumes;

use sorcha_crds::{SorchaPeerNetwork, load};

use cluster::Cluster;

/// A manifest with these lines below `spec:`.
fn manifest(spec: &str) -> SorchaPeerNetwork {
    let spec: String = spec.lines().flat_map(|line| ["  ", line, "\n"]).collect();
    let text = format!(
        "apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\nmetadata: {{name: net, namespace: here}}\nspec:\n{spec}"
    );
    load(&text).expect("the manifest is right")
}

/// The same network with another spec.
fn change(cluster: &mut Cluster, spec: &str) {
    cluster.manifest.spec = manifest(spec).spec;
    cluster.say(&format!("the manifest says: {}", spec.replace('\n', "; ")));
}

#[test]
fn a_network_comes_up_and_rests() {
    let mut cluster = Cluster::empty(manifest("replicas: 3"));
    cluster.run(4);
    insta::assert_snapshot!(cluster.transcript());
    let plan = cluster.plan();
    assert_eq!(plan.steps, [], "at rest nothing is done");
    assert!(plan.certificates.iter().all(|pool| pool.issue.is_empty()));
}

#[test]
fn a_paused_network_is_left_alone_and_its_certificates_are_renewed() {
    let mut cluster = Cluster::at_rest(manifest("replicas: 3"));
    change(&mut cluster, "replicas: 1\nimage: sorcha-peer:2\npaused: true");
    cluster.run(2);
    let plan = cluster.plan();
    assert_eq!((plan.objects.to_json().len(), plan.steps.len()), (0, 0));
    assert_eq!(cluster.condition("Progressing"), ("False".to_owned(), "Paused".to_owned()));
    cluster.seen.now_unix_ms += 21 * 24 * 3600 * 1000;
    assert_eq!(cluster.plan().certificates[0].issue.len(), 3);
    change(&mut cluster, "replicas: 1\nimage: sorcha-peer:2");
    cluster.run(12);
    assert_eq!(cluster.condition("Ready"), ("True".to_owned(), "AllPeersReady".to_owned()));
}
