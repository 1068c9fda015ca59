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
    /// Peers of the default pool that exist now: what `kubectl scale` and autoscalers compare with spec.replicas.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Peers of the default pool that are ready: store writable, local API serving, certificate valid.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_replicas: i32,
    /// Peers that exist now, in all pools.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub peers: i32,
    /// Peers that are ready, in all pools.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub peers_ready: i32,
    /// Label selector of the default pool's pods, for autoscalers and `kubectl scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,
    /// The pools, the default one first; also one that is taken away, until its peers have gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pools: Vec<PoolStatus>,
    /// Conditions: `Ready`, `Progressing`, `Degraded`, `CertificatesReady`, `Linked`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What the operator last saw of one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// Name of the pool.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Peers that the manifest asks for.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub wanted: i32,
    /// Peers that exist now.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Peers that are ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_replicas: i32,
    /// Peers that were started with the newest template.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub updated_replicas: i32,
    /// Image that new peers of the pool are started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
}
