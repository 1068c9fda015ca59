//! The checker sees what it is there to see: plans that were good and were spoilt.

use std::path::PathBuf;

use serde_json::Value;
use sorcha_crds::{QUICKSTART, load};
use sorcha_operator_plan::check::{Broken, check_network, check_processes};
use sorcha_operator_plan::kubernetes::SharedObjects;
use sorcha_operator_plan::{
    NetworkPlan, ObservedMachine, ObservedNetwork, ProcessPlan, Validated, plan, plan_processes, validate,
};

fn quickstart() -> Validated {
    validate(&load(QUICKSTART).expect("the example is right")).expect("the example is right")
}

fn shared(plan: &mut NetworkPlan) -> &mut SharedObjects {
    plan.objects.shared.as_mut().expect("the network is not paused")
}

#[track_caller]
fn sees(broken: &[Broken], message: &str) {
    assert!(broken.iter().any(|one| one.message.contains(message)), "{message} is not among {broken:?}");
}

#[track_caller]
fn check_spoilt_processes(spoil: impl FnOnce(&mut ProcessPlan), message: &str) {
    let machine = ObservedMachine { state_directory: PathBuf::from("/state"), ..ObservedMachine::default() };
    let mut plan = plan_processes(&quickstart(), &machine).expect("ports are free");
    assert_eq!(check_processes(&plan, &quickstart(), &machine), []);
    spoil(&mut plan);
    sees(&check_processes(&plan, &quickstart(), &machine), message);
}

#[track_caller]
fn check_spoilt_objects(spoil: impl FnOnce(&mut NetworkPlan), message: &str) {
    let network = quickstart();
    let mut plan = plan(&network, &ObservedNetwork::empty(&network)).expect("a cluster can hold it");
    assert_eq!(check_network(&plan, &network), []);
    spoil(&mut plan);
    sees(&check_network(&plan, &network), message);
}

#[test]
fn spoilt_processes_are_seen() {
    check_spoilt_processes(|plan| plan.peers.truncate(4), "4 peers are planned and 5 wanted");
    check_spoilt_processes(
        |plan| plan.peers[1].ports.api = plan.peers[0].ports.api,
        "its port 7451 is given twice",
    );
    check_spoilt_processes(|plan| plan.peers[1].name = "Peer".to_owned(), "no DNS label");
    check_spoilt_processes(|plan| plan.peers[1].uri.push('x'), "is not made of trust domain");
    check_spoilt_processes(|plan| plan.peers[1].directory = "/elsewhere".into(), "outside the network's");
    check_spoilt_processes(|plan| plan.peers.swap(0, 1), "it stands at place");
    check_spoilt_processes(|plan| plan.peers[0].config.listen.admin = None, "listen.admin");
    check_spoilt_processes(
        |plan| plan.peers[0].config.bootstrap.addresses = Some(vec!["127.0.0.1:1".to_owned()]),
        "where nobody listens",
    );
}

#[test]
fn spoilt_objects_are_seen() {
    check_spoilt_objects(
        |plan| plan.objects.pools[0].config_map.metadata.namespace = Some("other".to_owned()),
        "in another namespace",
    );
    check_spoilt_objects(
        |plan| plan.objects.pools[0].config_map.metadata.name = Some("other".to_owned()),
        "mounts a ConfigMap that is not planned",
    );
    check_spoilt_objects(|plan| shared(plan).service.metadata.labels = None, "lacks the labels");
    check_spoilt_objects(
        |plan| {
            let name = plan.objects.pools[0].headless_service.metadata.name.clone();
            shared(plan).service.metadata.name = name;
        },
        "is planned twice",
    );
    check_spoilt_objects(
        |plan| {
            let spec = plan.objects.pools[0].headless_service.spec.as_mut().expect("it has a spec");
            spec.publish_not_ready_addresses = None;
        },
        "names pods before they are ready",
    );
    check_spoilt_objects(
        |plan| {
            plan.objects.pools[0].stateful_set["spec"]["template"]["spec"]["securityContext"] = Value::Null;
        },
        "restricted Pod Security",
    );
    check_spoilt_objects(
        |plan| plan.objects.pools[0].stateful_set["spec"]["template"]["metadata"] = Value::Null,
        "does not select the peers' pods",
    );
}
