//! The Kubernetes objects of a network, a file per kind. Builders see the validated manifest and where it goes.

pub(crate) mod config_map;
mod disruption_budget;
mod network_policy;
mod pod_monitor;
pub(crate) mod pod_template;
mod service;
mod service_account;
pub(crate) mod stateful_set;
mod trust_bundle;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use serde::Serialize;
use serde_json::Value;

use crate::names;
use crate::observed::{ObjectName, ObservedNetwork};
use crate::scale::Scale;
use crate::validate::{Pool, Validated};

pub use pod_template::{CONFIG_DIRECTORY, STATE_DIRECTORY, TLS_DIRECTORY};

/// The objects of a network that are applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// Those of the network as a whole; none while it is paused.
    pub shared: Option<SharedObjects>,
    /// Those of each pool; empty while the network is paused.
    pub pools: Vec<PoolObjects>,
    /// Planned names that somebody else's objects bear: [`Objects::to_json`] leaves them out.
    pub left_alone: BTreeSet<ObjectName>,
}

/// The objects of a network as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedObjects {
    /// The peers' account; holds no token.
    pub service_account: ServiceAccount,
    /// The roots that peers trust, once there is one.
    pub trust_bundle: Option<ConfigMap>,
    /// The TLS port of all ready peers.
    pub service: Service,
    /// Evictions one at a time.
    pub disruption_budget: PodDisruptionBudget,
    /// Who may connect to the peers.
    pub network_policy: Option<NetworkPolicy>,
    /// Tells Prometheus of the peers.
    pub pod_monitor: Option<Value>,
}

/// The objects of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolObjects {
    /// The pool's name.
    pub pool: String,
    /// The peers' configuration file.
    pub config_map: ConfigMap,
    /// Gives each peer its name in DNS.
    pub headless_service: Service,
    /// Lead to one peer each, where the pool is exposed under an address.
    pub peer_services: Vec<Service>,
    /// The peers: a StatefulSet, as JSON, since the manifest's `podTemplate` may name fields that are not known here.
    pub stateful_set: Value,
}

impl Objects {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self { shared: None, pools: Vec::new(), left_alone: BTreeSet::new() }
    }

    /// Builds them all.
    pub(crate) fn build(network: &Validated, seen: &ObservedNetwork, scale: &Scale) -> Self {
        Self {
            shared: Some(SharedObjects {
                service_account: service_account::build(network, seen),
                trust_bundle: trust_bundle::build(network, seen),
                service: service::entry(network, seen),
                disruption_budget: disruption_budget::build(network, seen),
                network_policy: network_policy::build(network, seen),
                pod_monitor: pod_monitor::build(network, seen),
            }),
            pools: network.pools.iter().map(|pool| PoolObjects::build(network, seen, pool, scale)).collect(),
            left_alone: seen.foreign.iter().map(|foreign| foreign.object.clone()).collect(),
        }
    }

    /// As JSON, in the order in which they are applied: what others refer to comes first.
    pub fn to_json(&self) -> Vec<Value> {
        let mut objects: Vec<Value> = Vec::new();
        if let Some(shared) = &self.shared {
            // no `..`: an object that is forgotten here does not compile
            let SharedObjects {
                service_account,
                trust_bundle,
                service,
                disruption_budget,
                network_policy,
                pod_monitor,
            } = shared;
            objects.push(json(service_account));
            objects.extend(trust_bundle.iter().map(json));
            objects.push(json(service));
            objects.extend(network_policy.iter().map(json));
            objects.push(json(disruption_budget));
            objects.extend(pod_monitor.iter().cloned());
        }
        for pool in &self.pools {
            let PoolObjects { pool: _, config_map, headless_service, peer_services, stateful_set } = pool;
            objects.push(json(config_map));
            objects.push(json(headless_service));
            objects.extend(peer_services.iter().map(json));
            objects.push(stateful_set.clone());
        }
        objects.retain(|object| !self.left_alone.contains(&name_of(object)));
        objects
    }
}

impl PoolObjects {
    fn build(network: &Validated, seen: &ObservedNetwork, pool: &Pool, scale: &Scale) -> Self {
        let rendered = crate::rendered::decide(network, seen, pool);
        Self {
            pool: pool.name.clone(),
            config_map: config_map::build(network, seen, pool, &rendered),
            headless_service: service::headless(network, seen, pool),
            peer_services: service::of_peers(network, seen, pool),
            stateful_set: stateful_set::build(network, seen, pool, &rendered, scale),
        }
    }
}

/// Kind and name of an object.
pub fn name_of(object: &Value) -> ObjectName {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    ObjectName { kind: text("/kind"), name: text("/metadata/name") }
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes objects are JSON")
}

/// Name, namespace, labels and owner of an object of the network as a whole.
fn metadata(name: String, network: &Validated, seen: &ObservedNetwork) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(seen.namespace.clone()),
        labels: Some(names::labels(&network.name)),
        owner_references: network.uid.as_ref().map(|uid| vec![owner(&network.name, uid)]),
        ..ObjectMeta::default()
    }
}

/// The same for an object of a pool.
fn pool_metadata(name: String, network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> ObjectMeta {
    let labels = Some(names::pool_labels(&network.name, &pool.name));
    ObjectMeta { labels, ..metadata(name, network, seen) }
}

/// The manifest as owner: its objects go when it goes.
fn owner(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: sorcha_crds::API_VERSION.to_owned(),
        kind: sorcha_crds::KIND.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The peers' pods, of all pools.
fn pods(network: &Validated) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&network.name)), ..LabelSelector::default() }
}
