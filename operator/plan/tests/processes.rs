//! Local mode's plan: ports, files and what scaling leaves alone.

use std::path::PathBuf;

use sorcha_crds::{EVERYTHING, QUICKSTART, load};
use sorcha_operator_plan::processes::{PeerProcess, PlanError, Ports, plan_processes};
use sorcha_operator_plan::{ObservedMachine, ProcessPlan, Validated, validate};

fn network(replicas: i32) -> Validated {
    let mut manifest = load(QUICKSTART).expect("the example is right");
    manifest.spec.replicas = replicas;
    validate(&manifest).expect("the example is right")
}

fn machine() -> ObservedMachine {
    ObservedMachine { state_directory: PathBuf::from("/state/quickstart"), ..ObservedMachine::default() }
}

fn ports(first: u16) -> Ports {
    Ports { peer: first, api: first + 1, admin: first + 2 }
}

fn assigned(plan: &ProcessPlan) -> Vec<(String, Ports)> {
    plan.peers.iter().map(|peer| (peer.name.clone(), peer.ports)).collect()
}

fn first_ports(plan: &ProcessPlan) -> Vec<u16> {
    plan.peers.iter().map(|peer| peer.ports.peer).collect()
}

#[test]
fn peers_take_the_documented_ports_when_they_are_free() {
    let plan = plan_processes(&network(5), &machine()).expect("ports are free");
    assert_eq!(first_ports(&plan), [7450, 7470, 7490, 7510, 7530]);
    assert_eq!(plan.peers[1].ports, Ports { peer: 7470, api: 7471, admin: 7472 });
}

#[test]
fn a_block_with_one_taken_port_is_passed_over() {
    let machine = ObservedMachine { ports_taken: vec![7452, 7511], ..machine() };
    let plan = plan_processes(&network(4), &machine).expect("ports are free");
    assert_eq!(first_ports(&plan), [7470, 7490, 7530, 7550]);
}

#[test]
fn ports_given_earlier_are_kept_unless_somebody_else_has_them() {
    let ports_assigned =
        vec![("quickstart-peers-0".to_owned(), ports(9000)), ("quickstart-peers-1".to_owned(), ports(7450))];
    let kept = ObservedMachine { ports_assigned: ports_assigned.clone(), ..machine() };
    assert_eq!(first_ports(&plan_processes(&network(3), &kept).expect("ports are free")), [9000, 7450, 7490]);
    let lost = ObservedMachine { ports_assigned, ports_taken: vec![9001], ..machine() };
    assert_eq!(first_ports(&plan_processes(&network(3), &lost).expect("ports are free")), [7470, 7450, 7490]);
}

#[test]
fn a_plan_without_free_ports_says_which_peer_got_none() {
    let error = plan_processes(&network(10_000), &machine()).expect_err("65535 is the last port");
    assert_eq!(error, PlanError::NoPorts { peer: "quickstart-peers-2905".to_owned() });
    assert!(error.to_string().contains("Lower spec.replicas"), "{error}");
}

#[test]
fn scaling_leaves_the_peers_that_stay_as_they_are() {
    let mut machine = machine();
    let mut before: Vec<PeerProcess> = Vec::new();
    for replicas in [5, 8, 3, 8, 5] {
        let plan = plan_processes(&network(replicas), &machine).expect("ports are free");
        for (old, new) in before.iter().zip(&plan.peers) {
            assert_eq!(old, new, "at {replicas} peers");
        }
        machine.ports_assigned = assigned(&plan);
        before = plan.peers;
    }
}

#[test]
fn peers_begin_with_the_first_three_and_the_manifests_own() {
    let manifest = load(EVERYTHING).expect("the example is right");
    let network = validate(&manifest).expect("the example is right");
    let plan = plan_processes(&network, &machine()).expect("ports are free");
    let pools: Vec<&str> = plan.peers.iter().map(|peer| peer.pool.as_str()).collect();
    assert_eq!(pools, [vec!["peers"; 7], vec!["large"; 2]].concat());
    let large = plan.peers[8].config.bootstrap.addresses.as_deref().unwrap_or_default();
    assert_eq!(large[3..5], ["127.0.0.1:7590", "127.0.0.1:7610"], "and with the first of their own pool");
    for peer in &plan.peers[..7] {
        assert_eq!(
            peer.config.bootstrap.addresses.as_deref().unwrap_or_default(),
            [
                "127.0.0.1:7450",
                "127.0.0.1:7470",
                "127.0.0.1:7490",
                "peers.partner.example:7450",
                "192.0.2.10:7450",
                "[2001:db8::10]:7450"
            ]
        );
    }
    assert_eq!(plan.peers[7].uri, "spiffe://ledger.example/ledger-main/everything-large-0");
    assert_eq!(plan.peers[6].uri, "spiffe://ledger.example/ledger-main/everything-peers-6");
}

#[test]
fn a_file_says_everything_that_the_manifest_says() {
    let manifest = load(EVERYTHING).expect("the example is right");
    let network = validate(&manifest).expect("the example is right");
    let plan = plan_processes(&network, &machine()).expect("ports are free");
    insta::assert_snapshot!(sorcha_peer_config::to_yaml(&plan.peers[0].config));
}
