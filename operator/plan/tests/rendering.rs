//! What a cluster is given, as text.

use sorcha_crds::{EVERYTHING, QUICKSTART, SorchaPeerNetwork, load};
use sorcha_operator_plan::check::check_network;
use sorcha_operator_plan::kubernetes::Objects;
use sorcha_operator_plan::{NetworkPlan, ObservedNetwork, plan, render, validate};

fn planned(manifest: &SorchaPeerNetwork) -> NetworkPlan {
    let network = validate(manifest).expect("the manifest is right");
    let plan = plan(&network, &ObservedNetwork::empty(&network)).expect("a cluster can hold it");
    assert_eq!(check_network(&plan, &network), []);
    plan
}

fn example(text: &str) -> SorchaPeerNetwork {
    load(text).expect("the example is right")
}

/// The version in the default image is not what these snapshots are about.
fn without_version(yaml: &str) -> String {
    yaml.replace(concat!("sorcha-peer:", env!("CARGO_PKG_VERSION")), "sorcha-peer:VERSION")
}

#[test]
fn the_quickstart_renders() {
    insta::assert_snapshot!(without_version(&render::to_yaml(&planned(&example(QUICKSTART)))));
}

#[test]
fn a_manifest_with_everything_renders() {
    let mut manifest = example(EVERYTHING);
    manifest.metadata.uid = Some("0d6f4a3c-0000-4000-8000-000000000001".to_owned());
    insta::assert_snapshot!(render::to_yaml(&planned(&manifest)));
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    for text in [QUICKSTART, EVERYTHING] {
        let (first, second) = (planned(&example(text)), planned(&example(text)));
        assert_eq!(render::to_yaml(&first), render::to_yaml(&second));
        assert_eq!(render::to_json(&first), render::to_json(&second));
    }
}

#[test]
fn yaml_and_json_hold_the_same_objects() {
    let plan = planned(&example(EVERYTHING));
    let from_yaml: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&render::to_yaml(&plan)).expect("rendered text is YAML");
    let json: serde_json::Value =
        serde_json::from_str(&render::to_json(&plan)).expect("rendered text is JSON");
    assert_eq!(serde_json::Value::from(from_yaml), json["items"]);
}

#[test]
fn scaling_changes_nothing_but_the_number_of_pods() {
    let mut small = planned(&example(QUICKSTART)).objects;
    let mut manifest = example(QUICKSTART);
    manifest.spec.replicas = 1;
    let mut large = planned(&manifest).objects;
    let replicas = |objects: &mut Objects| objects.pools[0].stateful_set["spec"]["replicas"].take();
    assert_eq!((replicas(&mut small), replicas(&mut large)), (5.into(), 1.into()));
    assert_eq!(small, large);
}
