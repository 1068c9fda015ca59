//! The PodDisruptionBudget: a node is drained one peer at a time; a broken peer does not stand in the way.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, pods};
use crate::names;
use crate::observed::ObservedNetwork;
use crate::validate::Validated;

pub(super) fn build(network: &Validated, seen: &ObservedNetwork) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(names::network(&network.name), network, seen),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(pods(network)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
