//! The NetworkPolicy: the TLS port is open to all, since it asks for a certificate; the admin port to those whom the
//! manifest names, or else to the cluster's own pods. Ports of containers beside the peer are open: they are not the
//! operator's to close. What peers connect to is not restricted.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sorcha_crds::PodChoice;

use super::{metadata, pods};
use crate::names::{self, PORT_ADMIN, PORT_PEER};
use crate::observed::ObservedNetwork;
use crate::pod_template;
use crate::validate::Validated;

/// None where the manifest wants none.
pub(super) fn build(network: &Validated, seen: &ObservedNetwork) -> Option<NetworkPolicy> {
    let rules = &network.spec.network_policy;
    if !rules.enabled {
        return None;
    }
    let everybody = PodChoice::default();
    let from = match rules.metrics_from.as_slice() {
        [] => vec![NetworkPolicyPeer {
            namespace_selector: Some(selector(&everybody.namespace_labels)),
            ..NetworkPolicyPeer::default()
        }],
        choices => choices.iter().map(chosen).collect(),
    };
    let mut ingress = vec![
        NetworkPolicyIngressRule { ports: Some(vec![port(PORT_PEER.into(), "TCP")]), from: None },
        NetworkPolicyIngressRule { ports: Some(vec![port(PORT_ADMIN.into(), "TCP")]), from: Some(from) },
    ];
    let templates = network.pools.iter().filter_map(|pool| pool.pod_template.as_ref());
    let mut beside: Vec<(i32, String)> =
        templates.flat_map(|template| pod_template::ports(&template.0)).collect();
    beside.sort();
    beside.dedup();
    if !beside.is_empty() {
        let ports = beside.into_iter().map(|(number, protocol)| port(number, &protocol)).collect();
        ingress.push(NetworkPolicyIngressRule { ports: Some(ports), from: None });
    }
    Some(NetworkPolicy {
        metadata: metadata(names::network(&network.name), network, seen),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods(network)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            egress: None,
        }),
    })
}

/// Without labels of a namespace: pods of the network's own.
fn chosen(choice: &PodChoice) -> NetworkPolicyPeer {
    let given = |labels: &BTreeMap<String, String>| (!labels.is_empty()).then(|| selector(labels));
    NetworkPolicyPeer {
        namespace_selector: given(&choice.namespace_labels),
        pod_selector: given(&choice.pod_labels),
        ip_block: None,
    }
}

/// Everything, where there are no labels.
fn selector(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: (!labels.is_empty()).then(|| labels.clone()), ..LabelSelector::default() }
}

fn port(number: i32, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}
