//! The Kubernetes objects of a network, a file per kind. Every builder sees the validated manifest only.

pub(crate) mod config_map;
mod disruption_budget;
mod network_policy;
mod service;
mod service_account;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use serde::Serialize;
use serde_json::Value;

use crate::names;
use crate::plan::ObservedCluster;
use crate::validate::Validated;

pub use stateful_set::{CONFIG_DIRECTORY, STATE_DIRECTORY, TLS_DIRECTORY};

/// All objects of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// The peers' account; holds no token.
    pub service_account: ServiceAccount,
    /// The peers' configuration file.
    pub config_map: ConfigMap,
    /// Gives each peer its name in DNS.
    pub headless_service: Service,
    /// The TLS port of all ready peers.
    pub service: Service,
    /// The peers.
    pub stateful_set: StatefulSet,
    /// Evictions one at a time.
    pub disruption_budget: PodDisruptionBudget,
    /// Who may connect to the peers.
    pub network_policy: NetworkPolicy,
}

impl Objects {
    /// Builds them all.
    pub(crate) fn build(network: &Validated, cluster: &ObservedCluster) -> Self {
        let config_map = config_map::build(network, cluster);
        Self {
            service_account: service_account::build(network, cluster),
            headless_service: service::headless(network, cluster),
            service: service::entry(network, cluster),
            stateful_set: stateful_set::build(network, cluster, &config_map::hash(&config_map)),
            disruption_budget: disruption_budget::build(network, cluster),
            network_policy: network_policy::build(network, cluster),
            config_map,
        }
    }

    /// As JSON, in the order in which they are applied: what others refer to comes first.
    pub fn to_json(&self) -> Vec<Value> {
        // no `..`: an object that is forgotten here does not compile
        let Self {
            service_account,
            config_map,
            headless_service,
            service,
            stateful_set,
            disruption_budget,
            network_policy,
        } = self;
        vec![
            json(service_account),
            json(config_map),
            json(headless_service),
            json(service),
            json(network_policy),
            json(disruption_budget),
            json(stateful_set),
        ]
    }
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes objects are JSON")
}

/// Name, namespace, labels and owner of an object.
fn metadata(name: String, network: &Validated, cluster: &ObservedCluster) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(names::labels(&network.name)),
        owner_references: network.uid.as_ref().map(|uid| vec![owner(&network.name, uid)]),
        ..ObjectMeta::default()
    }
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

/// The peers' pods.
fn pods(network: &Validated) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&network.name)), ..LabelSelector::default() }
}
