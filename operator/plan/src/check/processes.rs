//! Checks a plan of processes.

use std::collections::BTreeSet;

use super::{Broken, is_dns_label};
use crate::processes::{ObservedMachine, PeerProcess, ProcessPlan};
use crate::validate::Validated;

/// Everything that is wrong with a plan of processes; nothing, if all is well.
pub fn check_processes(plan: &ProcessPlan, network: &Validated, machine: &ObservedMachine) -> Vec<Broken> {
    let mut broken = Vec::new();
    let wanted: Vec<(&str, u32)> = network
        .pools
        .iter()
        .flat_map(|pool| (0..pool.replicas).map(|ordinal| (pool.name.as_str(), ordinal)))
        .collect();
    if plan.peers.len() != wanted.len() {
        let message = format!("{} peers are planned and {} wanted.", plan.peers.len(), wanted.len());
        broken.push(Broken::new("plan", message));
    }
    once(plan.peers.iter().map(|peer| (&peer.name, peer.name.clone())), "name", &mut broken);
    once(plan.peers.iter().map(|peer| (&peer.name, peer.uri.clone())), "identity", &mut broken);
    once(plan.peers.iter().map(|peer| (&peer.name, peer.directory.clone())), "folder", &mut broken);
    let ports = plan.peers.iter().flat_map(|peer| peer.ports.all().map(|port| (&peer.name, port)));
    once(ports, "port", &mut broken);
    let listening: BTreeSet<String> =
        plan.peers.iter().map(|peer| format!("127.0.0.1:{}", peer.ports.peer)).collect();
    for (place, peer) in wanted.into_iter().zip(&plan.peers) {
        peer_alone(peer, place, plan, machine, &mut broken);
        bootstrap(peer, &listening, network, &mut broken);
    }
    broken
}

fn once<'a, T: Ord + std::fmt::Debug>(
    values: impl Iterator<Item = (&'a String, T)>,
    what: &str,
    broken: &mut Vec<Broken>,
) {
    let mut seen = BTreeSet::new();
    for (peer, value) in values {
        let shown = format!("{value:?}");
        if !seen.insert(value) {
            broken.push(Broken::new(peer, format!("its {what} {shown} is given twice.")));
        }
    }
}

fn peer_alone(
    peer: &PeerProcess,
    (pool, ordinal): (&str, u32),
    plan: &ProcessPlan,
    machine: &ObservedMachine,
    broken: &mut Vec<Broken>,
) {
    let mut wrong = |message: String| broken.push(Broken::new(&peer.name, message));
    if !is_dns_label(&peer.name) {
        wrong("its name is no DNS label.".to_owned());
    }
    if (peer.pool.as_str(), peer.ordinal) != (pool, ordinal)
        || !peer.name.ends_with(&format!("-{pool}-{ordinal}"))
    {
        wrong(format!("it stands at place {ordinal} of pool {pool}."));
    }
    for port in peer.ports.all() {
        if machine.ports_taken.contains(&port) {
            wrong(format!("somebody else holds its port {port}."));
        }
    }
    if peer.uri != format!("spiffe://{}/{}/{}", plan.trust_domain, plan.network_id, peer.name) {
        wrong(format!("its identity {} is not made of trust domain, network id and name.", peer.uri));
    }
    if !peer.directory.starts_with(&machine.state_directory) {
        wrong(format!("its folder {} is outside the network's.", peer.directory.display()));
    }
    let config = &peer.config;
    for (field, written, wanted) in [
        ("name", &config.name, peer.name.clone()),
        ("networkId", &config.network_id, plan.network_id.clone()),
        ("trustDomain", &config.trust_domain, plan.trust_domain.clone()),
        ("listen.peer", &config.listen.peer, format!("127.0.0.1:{}", peer.ports.peer)),
        ("listen.api", &config.listen.api, format!("127.0.0.1:{}", peer.ports.api)),
        ("listen.admin", &config.listen.admin, format!("127.0.0.1:{}", peer.ports.admin)),
        ("tls.directory", &config.tls.directory, peer.directory.join("tls").display().to_string()),
        ("state.directory", &config.state.directory, peer.directory.join("state").display().to_string()),
    ] {
        if written.as_ref() != Some(&wanted) {
            wrong(format!("its configuration says {field}: {written:?}, not {wanted:?}."));
        }
    }
    if let Err(problems) = sorcha_peer_config::check(config) {
        wrong(format!("it would not start with its configuration: {problems}"));
    }
    if config.advertise != config.listen.peer.clone().map(|address| vec![address]) {
        wrong("it advertises another address than it listens on.".to_owned());
    }
}

fn bootstrap(
    peer: &PeerProcess,
    listening: &BTreeSet<String>,
    network: &Validated,
    broken: &mut Vec<Broken>,
) {
    let given = &network.spec.bootstrap.addresses;
    let addresses = peer.config.bootstrap.addresses.clone().unwrap_or_default();
    for address in &addresses {
        if !listening.contains(address) && !given.contains(address) {
            broken.push(Broken::new(&peer.name, format!("it begins with {address}, where nobody listens.")));
        }
    }
    for address in given {
        if !addresses.contains(address) {
            broken.push(Broken::new(&peer.name, format!("it does not know {address} from the manifest.")));
        }
    }
    if !addresses.iter().any(|address| listening.contains(address)) {
        broken.push(Broken::new(&peer.name, "it begins with no peer of its own network."));
    }
}
