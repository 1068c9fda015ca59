//! The fields of a pool: a group of peers that are alike. The top of the spec has the same ones for the default pool.

#![allow(
    unreachable_pub,
    reason = "the derive of KubeSchema copies each struct into a function, `pub` included"
)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::default;
use crate::quantity::Size;

/// Labels or annotations in one place at most (a guess: more than anybody writes by hand).
const LABELS_MAX: u32 = 32;

/// A group of peers that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(self.name in ['peers', 'trust'])")
    .message("name must not be peers or trust: the default pool and the trust bundle are called so."))]
#[x_kube(validation = Rule::new("!has(self.expose) || has(self.expose.address)")
    .message("expose needs an address here: the network's own Service is exposed by spec.expose."))]
#[x_kube(validation = Rule::new("!has(self.expose) || !has(self.expose.address) || self.replicas <= (self.expose.type == 'NodePort' ? 10 : 256)")
    .message("replicas is too high for expose.address: at most 256 peers get a Service each, and at most 10 by NodePort."))]
pub struct Pool {
    /// Name of the pool; its peers are called `<network>-<name>-0` and so on. 1 to 11 lower-case letters, digits and
    /// hyphens, a letter first and last; not `peers` or `trust`.
    #[schemars(length(min = 1, max = 11), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z])?$"))]
    pub name: String,
    /// How many peers run. 0 to 10000 peers, in all pools together; default 3.
    #[serde(default = "default::replicas")]
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: i32,
    /// Processor and memory of each peer. Default: requests of 50m processor and 128Mi memory, no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The volume on which each peer keeps its transactions. Default: 1Gi of the cluster's default class.
    #[serde(default)]
    pub storage: Storage,
    /// On which nodes the peers run. Default: any, spread over nodes and zones where possible.
    #[serde(default)]
    pub placement: Placement,
    /// What the pods have beside the peer, as `spec.podTemplate` says it for the default pool. At most 64 KiB as JSON;
    /// default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// How the peers are reached from outside the cluster; needs an address. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
}

/// Processor and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0")
    .message("resources.requests.cpu must not be above resources.limits.cpu."))]
#[x_kube(validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0")
    .message("resources.requests.memory must not be above resources.limits.memory."))]
#[x_kube(validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.ephemeral__dash__storage) || !has(self.limits.ephemeral__dash__storage) || quantity(string(self.requests.ephemeral__dash__storage)).compareTo(quantity(string(self.limits.ephemeral__dash__storage))) <= 0")
    .message("resources.requests.ephemeral-storage must not be above resources.limits.ephemeral-storage."))]
pub struct Resources {
    /// What the scheduler sets aside for each peer. Default: 50m processor and 128Mi memory, or the limit if that is
    /// lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Quantities>,
    /// What each peer may use at most. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Quantities>,
}

/// Amounts of processor, memory and scratch space.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quantities {
    /// Processor, in cores: `500m` is half of one. Default: see the level above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Size>,
    /// Memory, in bytes, such as `256Mi`. Default: see the level above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Scratch space on the node's disk (logs), in bytes. Default: see the level above.
    #[serde(default, rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<Size>,
}

/// The volume of each peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)")
    .message("storage.className cannot be changed: volumes keep the class they were made with. Make a new network instead."))]
pub struct Storage {
    /// Size of each peer's volume, in bytes. 16Mi to 64Ti; default 1Gi. Can grow, not shrink.
    #[serde(default = "default::storage_size")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('16Mi')) >= 0 && quantity(string(self)).compareTo(quantity('64Ti')) <= 0")
        .message("storage.size must be between 16Mi and 64Ti."))]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0")
        .message("storage.size can grow but not shrink: the data of the peers would not fit any more."))]
    pub size: Size,
    /// StorageClass of each peer's volume. 1 to 253 characters; default: the cluster's default class. Cannot be
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub class_name: Option<String>,
    /// Which volumes stay without their peer. Default: all.
    #[serde(default)]
    pub retain: Retain,
}

/// Which volumes stay without their peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retain {
    /// Keep the volumes when the network is deleted or the pool is taken away. Default true.
    #[serde(default = "default::yes")]
    pub on_delete: bool,
    /// Keep the volume of a peer that is scaled away; it has handed over what it held, and has it again when it comes
    /// back. Default true.
    #[serde(default = "default::yes")]
    pub on_scale_down: bool,
}

/// On which nodes peers run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must have. At most 32, values up to 63 characters; default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the peers tolerate. At most 16; default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// PriorityClass of the pods. 1 to 253 characters; default: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
    /// How the peers of the pool are spread, so that one failure takes few of them. Default: see each field.
    #[serde(default)]
    pub spread: Spread,
}

/// How the peers of a pool are spread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Over nodes: `preferred`, `required` (a peer waits where it would stand one more than elsewhere) or `none`; default
    /// preferred.
    #[serde(default)]
    pub nodes: SpreadRule,
    /// Over zones, in the same words; default preferred.
    #[serde(default)]
    pub zones: SpreadRule,
}

/// How strictly peers are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SpreadRule {
    /// Where possible.
    #[default]
    Preferred,
    /// A peer waits until it is.
    Required,
    /// Not at all.
    None,
}

/// A taint that peers tolerate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.operator != 'Exists' || !has(self.value)")
    .message("value has no effect with operator Exists: take it away, or write operator Equal."))]
#[x_kube(validation = Rule::new("has(self.key) || self.operator == 'Exists'")
    .message("key is missing; without one, write operator Exists, which tolerates every taint."))]
#[x_kube(validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')")
    .message("tolerationSeconds needs effect NoExecute."))]
pub struct Toleration {
    /// Key of the taint. 1 to 253 characters; default: every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
    /// `Equal` compares the value, `Exists` takes any; default Equal.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value of the taint. At most 63 characters; default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint: `NoSchedule`, `PreferNoSchedule` or `NoExecute`; default: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a peer stays on a node that got the taint, in seconds. 0 to 31536000; default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are the same.
    #[default]
    Equal,
    /// The key is there.
    Exists,
}

/// Effect of the taint: `NoSchedule`, `PreferNoSchedule` or `NoExecute`; default: every effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// None is put there.
    NoSchedule,
    /// None is put there if possible.
    PreferNoSchedule,
    /// Those there are taken away.
    NoExecute,
}

/// How peers are reached from outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type != 'NodePort' || !has(self.address) || self.address.matches(':3[0-2][0-9][0-9][{]ordinal[}]$')")
    .message("address must end in a port such as 3045{ordinal} for type NodePort: node ports lie between 30000 and 32767, and each peer needs its own."))]
#[x_kube(validation = Rule::new("self.type != 'ClusterIP' || has(self.address) || !has(self.annotations)")
    .message("annotations have no effect for type ClusterIP without an address."))]
pub struct Expose {
    /// Type of the Service: `ClusterIP`, `NodePort` or `LoadBalancer`; default ClusterIP. Without an address it is the
    /// network's Service, which leads to any ready peer; with one, it is a Service of each peer's own.
    #[serde(default, rename = "type")]
    pub service_type: ServiceType,
    /// Annotations of the Services, such as those by which a cloud or external-dns is told what to do. `{ordinal}` in a
    /// value becomes the peer's number. At most 32, values up to 1024 characters; default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Address under which each peer is reached from outside, as `host:port` with `{ordinal}` for its number, such as
    /// `peer-{ordinal}.ledger.example:7450`. Every peer gets a Service of its own, on that port, and tells the others this
    /// address beside the one in the cluster. Names and routes to the Services are yours, or your cloud's, to make.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 11, max = 261),
        regex(
            pattern = r"^([A-Za-z0-9][-A-Za-z0-9.]*\{ordinal\}[-A-Za-z0-9.]*:([1-9][0-9]{0,4}|[1-9][0-9]{0,3}\{ordinal\})|[A-Za-z0-9][-A-Za-z0-9.]*:[1-9][0-9]{0,3}\{ordinal\})$"
        )
    )]
    pub address: Option<String>,
}

/// Type of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// By the cloud's load balancer.
    LoadBalancer,
}

/// What pods have beside the peer: `metadata` and `spec` of a pod, kept as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(pub serde_json::Value);

impl JsonSchema for PodTemplate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PodTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// Schema of a map of labels.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    text_map(63)
}

/// Schema of a map of annotations.
fn annotations(_: &mut SchemaGenerator) -> Schema {
    text_map(1024)
}

fn text_map(characters_max: u32) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": LABELS_MAX,
        "additionalProperties": {"type": "string", "maxLength": characters_max},
    })
}
