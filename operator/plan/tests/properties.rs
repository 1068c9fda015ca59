//! Any manifest that is valid has plans that hang together; any manifest at all gives an answer.

use std::path::PathBuf;

use proptest::prelude::*;
use sorcha_crds::{Bootstrap, Limits, Quantities, Resources, Size, SorchaPeerNetwork, SorchaPeerNetworkSpec};
use sorcha_operator_plan::check::{check_network, check_processes};
use sorcha_operator_plan::processes::{Ports, plan_processes};
use sorcha_operator_plan::{ObservedMachine, ObservedNetwork, plan, render, validate};

/// Specs of which most are valid.
fn specs() -> impl Strategy<Value = SorchaPeerNetworkSpec> {
    let addresses = prop::collection::btree_set("[a-z]{1,8}\\.example:[1-9][0-9]{0,3}", 0..5);
    let quantity = prop::option::of("[1-9][0-9]{0,2}(Mi|Gi)").prop_map(|text| text.map(Size::new));
    let requests = quantity.clone().prop_map(|memory| Quantities { memory, ..Quantities::default() });
    let resources = prop::option::of(
        (requests.clone(), requests)
            .prop_map(|(requests, limits)| Resources { requests: Some(requests), limits: Some(limits) }),
    );
    (
        prop::option::of("[a-z0-9]{1,63}"),
        -1..60_i32,
        prop::option::of("[a-z]{1,10}:[0-9]{1,3}"),
        addresses,
        resources,
        "[0-9]{1,3}(\\.[0-9])?(Mi|Ki|M|k)",
        0..70_000_i32,
        "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}",
        (1..700_u32, 1..1500_u32, 1..2500_u32, "[a-z=,:_]{1,6}|info"),
    )
        .prop_map(
            |(network_id, replicas, image, addresses, resources, body, links_max, domain, words)| {
                let (deadline, heartbeat, forget, level) = words;
                let mut spec =
                    SorchaPeerNetworkSpec { network_id, replicas, image, resources, ..Default::default() };
                spec.bootstrap = Bootstrap { addresses: addresses.into_iter().collect() };
                spec.limits = Limits { body_bytes_max: Size::new(body), links_max, ..Limits::default() };
                spec.tls.trust_domain = domain;
                spec.discovery.heartbeat_interval = format!("{heartbeat}ms");
                spec.discovery.forget_after = format!("{forget}s");
                spec.log.level = level;
                spec.shutdown.deadline = format!("{deadline}s");
                spec
            },
        )
}

fn manifests() -> impl Strategy<Value = SorchaPeerNetwork> {
    ("[a-z][a-z0-9-]{0,42}", specs(), prop::option::of("[a-f0-9-]{36}")).prop_map(|(name, spec, uid)| {
        let mut manifest = SorchaPeerNetwork::new(&name, spec);
        manifest.metadata.uid = uid;
        manifest
    })
}

/// Machines with ports taken and given around the preferred ones.
fn machines() -> impl Strategy<Value = ObservedMachine> {
    let taken = prop::collection::vec(7440..8000_u16, 0..40);
    let assigned = prop::collection::vec((0..12_u32, 7440..8000_u16), 0..12);
    (taken, assigned).prop_map(|(ports_taken, assigned)| ObservedMachine {
        state_directory: PathBuf::from("/state"),
        ports_assigned: assigned
            .into_iter()
            .map(|(ordinal, first)| {
                (format!("NETWORK-peers-{ordinal}"), Ports { peer: first, api: first + 1, admin: first + 2 })
            })
            .collect(),
        ports_taken,
    })
}

fn on(machine: &ObservedMachine, network: &str) -> ObservedMachine {
    let mut machine = machine.clone();
    for (name, _) in &mut machine.ports_assigned {
        *name = name.replace("NETWORK", network);
    }
    machine
}

proptest! {
    #[test]
    fn every_valid_manifest_has_objects_that_hang_together(manifest in manifests()) {
        if let Ok(network) = validate(&manifest) {
            let plan = plan(&network, &ObservedNetwork::empty(&network)).expect("a cluster can hold it");
            prop_assert_eq!(check_network(&plan, &network), []);
            prop_assert_eq!(render::to_yaml(&plan), render::to_yaml(&plan.clone()));
        }
    }

    #[test]
    fn every_valid_manifest_has_processes_that_hang_together(manifest in manifests(), machine in machines()) {
        if let Ok(network) = validate(&manifest) {
            let machine = on(&machine, &network.name);
            let plan = plan_processes(&network, &machine).expect("60 peers find ports");
            prop_assert_eq!(check_processes(&plan, &network, &machine), []);
        }
    }

    #[test]
    fn scaling_changes_no_peer_that_stays(manifest in manifests(), machine in machines(), sizes in prop::collection::vec(3..40_i32, 2..5)) {
        let mut manifest = manifest;
        let mut machine = machine;
        let mut before = Vec::new();
        for replicas in sizes {
            manifest.spec.replicas = replicas;
            let Ok(network) = validate(&manifest) else { return Ok(()) };
            machine = on(&machine, &network.name);
            let plan = plan_processes(&network, &machine).expect("40 peers find ports");
            for (old, new) in before.iter().zip(&plan.peers) {
                prop_assert_eq!(old, new);
            }
            machine.ports_assigned = plan.peers.iter().map(|peer| (peer.name.clone(), peer.ports)).collect();
            before = plan.peers;
        }
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "\\PC{0,200}", spec in "[a-zA-Z:{}\\[\\], 0-9\n-]{0,100}") {
        let _ = sorcha_crds::load(&text);
        let manifest = format!("apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\nmetadata: {{name: a}}\nspec:\n  {spec}");
        if let Ok(manifest) = sorcha_crds::load(&manifest) {
            let _ = validate(&manifest);
        }
    }
}
