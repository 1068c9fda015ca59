//! Checks the peers' configuration file in a ConfigMap, as a peer would read it.

use serde_json::Value;
use sorcha_peer_config::raw::RawConfig;

use super::Broken;
use super::network::{name, text};
use crate::plan::NetworkPlan;
use crate::validate::Validated;

pub(super) fn check(config_map: &Value, plan: &NetworkPlan, network: &Validated, broken: &mut Vec<Broken>) {
    let mut require = |holds: bool, message: &str| {
        if !holds {
            broken.push(Broken::new(name(config_map), message));
        }
    };
    let file = config_map["data"]["peer.yaml"].as_str().unwrap_or_default();
    let Ok(config) = serde_saphyr::from_str::<RawConfig>(file) else {
        return require(false, "its peer.yaml cannot be read back.");
    };
    let identity = config.network_id.as_ref() == Some(&network.network_id)
        && config.trust_domain.as_ref() == Some(&network.spec.tls.trust_domain)
        && config.name.is_none();
    require(identity, "its peer.yaml gives peers another identity.");
    // what each pod's environment adds
    let set = text(config_map, "/metadata/name");
    let first = RawConfig { name: Some(format!("{set}-0")), ..config.clone() };
    if let Err(problems) = sorcha_peer_config::check(&first) {
        require(false, &format!("peers would not start with its peer.yaml: {problems}"));
    }
    // of the default pool and of the own one: what other pools there are changes nobody's file
    let own = [format!("{}-peers", plan.network), set.to_owned()]
        .map(|set| format!(".{set}.{}.svc:7450", plan.namespace));
    let given = &network.spec.bootstrap.addresses;
    let addresses = config.bootstrap.addresses.unwrap_or_default();
    let known = addresses
        .iter()
        .all(|address| own.iter().any(|end| address.ends_with(end)) || given.contains(address));
    let complete = given.iter().all(|address| addresses.contains(address))
        && own.iter().all(|end| addresses.iter().any(|address| address.ends_with(end)));
    require(known && complete, "its peer.yaml begins with other peers than it should.");
}
