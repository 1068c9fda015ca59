//! What a manifest has beside its peers: joined with the peer's pod, or refused with a sentence.

use serde_json::{Value, json};
use sorcha_crds::{PodTemplate, QUICKSTART, SorchaPeerNetwork, load};
use sorcha_operator_plan::check::check_network;
use sorcha_operator_plan::{ObservedNetwork, plan, validate};

fn with(template: Value) -> SorchaPeerNetwork {
    let mut manifest = load(QUICKSTART).expect("the example is right");
    manifest.spec.pod_template = Some(PodTemplate(template));
    manifest
}

/// The pods of the network.
fn pod(template: Value) -> Value {
    let network = validate(&with(template)).expect("it is right");
    let plan = plan(&network, &ObservedNetwork::empty(&network)).expect("a cluster can hold it");
    assert_eq!(check_network(&plan, &network), []);
    plan.objects.pools[0].stateful_set["spec"]["template"].clone()
}

#[track_caller]
fn refused(template: Value, wanted: &str) {
    let told = validate(&with(template)).expect_err("it is wrong").to_string();
    assert!(told.contains(wanted), "{wanted:?} is not in: {told}");
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect()
}

#[test]
fn beside_an_application_the_peer_starts_first_and_stops_last() {
    let pod = pod(json!({"spec": {
        "initContainers": [{"name": "prepare", "image": "a"}],
        "containers": [{"name": "application", "image": "b"}],
    }}));
    assert_eq!(names(&pod["spec"]["initContainers"]), ["peer", "prepare"]);
    assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(names(&pod["spec"]["containers"]), ["application"]);
}

#[test]
fn without_one_the_peer_stays_a_container() {
    let pod = pod(json!({"metadata": {"labels": {"team": "a"}}, "spec": {
        "initContainers": [{"name": "prepare", "image": "a"}],
    }}));
    assert_eq!(names(&pod["spec"]["containers"]), ["peer"]);
    assert_eq!(names(&pod["spec"]["initContainers"]), ["prepare"]);
    assert_eq!(pod["metadata"]["labels"]["team"], "a");
    assert_eq!(pod["metadata"]["labels"]["sorcha.org/pool"], "peers");
}

#[test]
fn the_peers_own_container_takes_variables_and_mounts() {
    let pod = pod(json!({"spec": {
        "containers": [{
            "name": "peer",
            "imagePullPolicy": "Never",
            "env": [{"name": "RUST_BACKTRACE", "value": "1"}],
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        }],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }}));
    let peer = &pod["spec"]["containers"][0];
    assert_eq!(names(&peer["env"]), ["SORCHA_NAME", "SORCHA_ADVERTISE", "RUST_BACKTRACE"]);
    assert_eq!(names(&peer["volumeMounts"]), ["config", "tls", "state", "scratch"]);
    assert_eq!(names(&pod["spec"]["volumes"]), ["config", "tls", "scratch"]);
    assert_eq!(peer["imagePullPolicy"], "Never");
}

#[test]
fn fields_that_only_later_clusters_know_are_passed_on() {
    let pod = pod(json!({"spec": {"fieldOfTheFuture": {"a": [1]}, "securityContext": {"fsGroup": 1}}}));
    assert_eq!(pod["spec"]["fieldOfTheFuture"]["a"][0], 1);
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 1);
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true, "what it does not say stays");
}

#[test]
fn what_is_not_its_to_say_is_refused_with_a_sentence() {
    let path = "spec.podTemplate";
    refused(json!({"spec": {"hostNetwork": true}}), &format!("{path}.spec.hostNetwork: is not taken here"));
    refused(json!({"spec": {"nodeSelector": {"a": "b"}}}), "use placement.nodeSelector.");
    refused(json!({"kind": "Pod"}), &format!("{path}.kind: there is no such field here"));
    refused(json!({"metadata": {"name": "a"}}), "it has labels and annotations");
    refused(json!({"metadata": {"labels": {"a": 5}}}), "5 must be text: write it in quotes.");
    refused(json!({"metadata": {"labels": {"sorcha.org/pool": "a"}}}), "is the operator's own");
    refused(json!({"spec": {"containers": {"name": "a"}}}), "must be a list");
    refused(json!({"spec": {"containers": [{"image": "a"}]}}), "must be a group of fields with a name.");
    refused(json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}), "\"a\" is given twice");
    refused(
        json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 7451}]}]}}),
        "is a port of the peer, which shares its addresses",
    );
    refused(json!({"spec": {"containers": [{"name": "peer", "image": "a"}]}}), "its image is spec.image");
    refused(
        json!({"spec": {"containers": [{"name": "peer", "env": [{"name": "SORCHA_LOG_LEVEL", "value": "debug"}]}]}}),
        "SORCHA_LOG_LEVEL is the operator's own: use the fields of the manifest.",
    );
    refused(
        json!({"spec": {"containers": [{"name": "peer", "volumeMounts": [{"name": "a", "mountPath": "/etc/sorcha/a"}]}]}}),
        "/etc/sorcha/a lies in a folder of the peer",
    );
    refused(json!({"spec": {"initContainers": [{"name": "peer"}]}}), "choose another name.");
    refused(json!({"spec": {"volumes": [{"name": "state"}]}}), "\"state\" is a volume of the peer");
    refused(json!({"spec": {"terminationGracePeriodSeconds": 5}}), "5 is less than the 15 seconds");
    let long = "a".repeat(70_000);
    refused(json!({"metadata": {"annotations": {"a": long}}}), "at most 65536 are taken.");
}
