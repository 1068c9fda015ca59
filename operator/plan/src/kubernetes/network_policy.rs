//! The NetworkPolicy: the TLS port is open to all, since it asks for a certificate; the admin port to the cluster's
//! own pods only. What peers connect to is not restricted.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, pods};
use crate::names;
use crate::observed::ObservedNetwork;
use crate::validate::Validated;

pub(super) fn build(network: &Validated, seen: &ObservedNetwork) -> NetworkPolicy {
    let any_namespace = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicy {
        metadata: metadata(names::network(&network.name), network, seen),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods(network)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { ports: Some(vec![port("peer")]), from: None },
                NetworkPolicyIngressRule {
                    ports: Some(vec![port("admin")]),
                    from: Some(vec![any_namespace]),
                },
            ]),
            egress: None,
        }),
    }
}

fn port(name: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
