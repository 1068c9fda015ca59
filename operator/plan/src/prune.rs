//! Objects that the manifest does not ask for any more. Of a pool that is taken away nothing goes before its StatefulSet
//! and its pods are gone.

use std::collections::BTreeSet;

use crate::kubernetes::{Objects, name_of};
use crate::names;
use crate::observed::{ObjectName, ObservedNetwork, Root};
use crate::step::Step;
use crate::validate::Validated;

/// Kinds that a network is made of. A StatefulSet is not among them: it goes when its peers are drained.
const KINDS: [&str; 7] = [
    "ServiceAccount",
    "ConfigMap",
    "Secret",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "PodMonitor",
];

pub(crate) fn decide(network: &Validated, seen: &ObservedNetwork, objects: &Objects) -> Vec<Step> {
    let planned: BTreeSet<ObjectName> = objects.to_json().iter().map(name_of).collect();
    let unwanted = seen.owned.iter().filter(|object| {
        KINDS.contains(&object.kind.as_str())
            && !planned.contains(object)
            && !objects.left_alone.contains(object)
            && !is_kept(network, seen, object)
    });
    unwanted.cloned().map(Step::Prune).collect()
}

fn is_kept(network: &Validated, seen: &ObservedNetwork, object: &ObjectName) -> bool {
    let name = object.name.as_str();
    match object.kind.as_str() {
        "Secret" if name == names::authority_secret(&network.name) => true,
        "Secret" if network.pools.iter().any(|pool| name == names::tls_secret(&network.name, &pool.name)) => {
            true
        }
        // what was trusted stays told while nobody knows better
        "ConfigMap" if name == names::trust_bundle(&network.name) => {
            !matches!(seen.authority.root, Root::Usable { .. })
        }
        "ConfigMap" | "Secret" | "Service" => {
            let gone = seen.pools.iter().filter(|(pool, _)| network.pool(pool).is_none());
            let mut still = gone.filter(|(_, there)| there.uid.is_some() || !there.pods.is_empty());
            still.any(|(pool, _)| {
                let own = names::pool(&network.name, pool);
                let ordinal = name.strip_prefix(&own).and_then(|rest| rest.strip_prefix('-'));
                name == own
                    || name == names::tls_secret(&network.name, pool)
                    || ordinal.is_some_and(|ordinal| ordinal.parse::<u32>().is_ok())
            })
        }
        _ => false,
    }
}
