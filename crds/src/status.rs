//! What the operator reports about a network. Written by the operator alone.

#![allow(
    unreachable_pub,
    reason = "the derive of KubeSchema copies each struct into a function, `pub` included"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator last saw of the network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SorchaPeerNetworkStatus {
    /// The generation of the manifest that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Peers that exist now.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Peers that are ready: store writable, local API serving, certificate valid.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_replicas: i32,
    /// Label selector of the peers' pods, for autoscalers and `kubectl scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,
    /// Conditions: `Ready`, `Progressing`, `Degraded`, `Linked`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
