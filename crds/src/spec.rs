//! The fields of a manifest. Each has an effect; each says its unit and its default.
//!
//! Rules that need more than one field, or an older version of the manifest, are CEL and run in the API server;
//! `sorcha-operator-plan` applies the same ones where there is none.

#![allow(
    unreachable_pub,
    reason = "the derive of KubeSchema copies each struct into a function, `pub` included"
)]
#![allow(
    clippy::struct_field_names,
    reason = "in `Limits` bounds stand last in names, and each of them is a most"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pool::{Expose, Placement, PodTemplate, Pool, Resources, Storage, labels};
use crate::quantity::Size;
use crate::{SorchaPeerNetworkStatus, default};

/// Longest name of a network in characters. A StatefulSet is named `<network>-<pool>`, and its controller hangs a
/// hash of 11 characters on it in a label of 63 at most: 40 leave 11 for the pool.
pub const NAME_CHARACTERS_MAX: usize = 40;

/// What the network should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "sorcha.org",
    version = "v1alpha1",
    kind = "SorchaPeerNetwork",
    plural = "sorchapeernetworks",
    shortname = "spn",
    category = "sorcha",
    namespaced,
    status = "SorchaPeerNetworkStatus",
    derive = "PartialEq",
    doc = "A network of Sorcha peers: processes that pass transactions to one another without a central server.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the network does what the manifest asks for"
    ),
    printcolumn(
        name = "Peers",
        type_ = "integer",
        json_path = ".status.peers",
        description = "Peers that exist, in all pools"
    ),
    printcolumn(
        name = "Up",
        type_ = "integer",
        json_path = ".status.peersReady",
        description = "Peers that are ready, in all pools"
    ),
    printcolumn(
        name = "Linked",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Linked")].status"#,
        description = "Whether the peers reach one another"
    ),
    printcolumn(
        name = "Network",
        type_ = "string",
        json_path = ".spec.networkId",
        description = "Network id, where it is not the manifest's name",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be 1 to 40 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen: pods and Services are named after it.")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.networkId) == has(oldSelf.networkId) && (!has(self.networkId) || self.networkId == oldSelf.networkId)")
    .message("spec.networkId cannot be changed: it is part of every peer's identity. Make a new network instead."))]
#[x_kube(validation = Rule::new("self.replicas + (has(self.pools) ? self.pools.map(pool, pool.replicas).sum() : 0) <= 10000")
    .message("spec.replicas and the replicas of spec.pools must not be above 10000 together."))]
#[x_kube(validation = Rule::new("!has(self.expose) || !has(self.expose.address) || self.replicas <= (self.expose.type == 'NodePort' ? 10 : 256)")
    .message("spec.replicas is too high for spec.expose.address: at most 256 peers get a Service each, and at most 10 by NodePort."))]
pub struct SorchaPeerNetworkSpec {
    /// Network id: peers link only within one id, and it is part of every peer's identity. A DNS label of 1 to 63
    /// characters; default: the manifest's name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub network_id: Option<String>,

    /// A word for where these peers are, shown to others, such as `edinburgh`. 1 to 63 letters, digits, hyphens,
    /// underscores and dots; default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub site: Option<String>,

    /// How many peers run in the default pool, which is called `peers`. 0 to 10000 peers, in all pools together;
    /// default 3. Lowered, the last peers hand over what they hold before they go.
    #[serde(default = "default::replicas")]
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: i32,

    /// Container image of all peers. Default: the image that belongs to the version of the operator that first deployed
    /// the network; a new version of the operator alone changes no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$"))]
    pub image: Option<String>,

    /// Processor and memory of each peer of the default pool. Default: requests of 50m processor and 128Mi memory, no
    /// limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// The volume on which each peer of the default pool keeps its transactions. Default: 1Gi of the cluster's default
    /// class.
    #[serde(default)]
    pub storage: Storage,

    /// On which nodes the peers of the default pool run. Default: any, spread over nodes and zones where possible.
    #[serde(default)]
    pub placement: Placement,

    /// What the pods of the default pool have beside the peer, as `metadata` and `spec` of a pod: labels, annotations,
    /// containers, init containers, volumes, pull secrets. What it may not say is in docs/manifest.md. At most 64 KiB as
    /// JSON; default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,

    /// How peers of the default pool are reached from outside the cluster. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,

    /// More groups of peers in the same network, each alike within itself, such as larger ones or ones in another zone.
    /// At most 7, which makes 8 with the default one; default: none. The peers of a pool that is taken away hand over
    /// what they hold before they go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))] // what an API server lets the rules of a pool cost
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pools: Vec<Pool>,

    /// Where peers find others at first. Default: the network's own peers only.
    #[serde(default)]
    pub bootstrap: Bootstrap,

    /// How peers find one another and keep in touch. Default: suits networks of 3 to 10000 peers.
    #[serde(default)]
    pub discovery: Discovery,

    /// How long peers keep transactions. What no other peer is known to hold stays, whatever is said here. Default:
    /// for ever; a full volume refuses new ones.
    #[serde(default)]
    pub retention: Retention,

    /// What travels between peers, and how. Default: see each field.
    #[serde(default)]
    pub links: Links,

    /// The HTTP proxy through which peers dial others. Default: what HTTPS_PROXY and NO_PROXY say in the environment of the
    /// peers (spec.podTemplate), which is nothing in most clusters.
    #[serde(default)]
    pub proxy: Proxy,

    /// Bounds on what each peer takes on. Default: see each field.
    #[serde(default)]
    pub limits: Limits,

    /// Certificates of the peers. Default: see each field.
    #[serde(default)]
    pub tls: Tls,

    /// Logs of the peers. Default: level info, as text.
    #[serde(default)]
    pub log: Log,

    /// How peers stop. Default: see each field.
    #[serde(default)]
    pub shutdown: Shutdown,

    /// How Prometheus is told of the peers. Default: by a PodMonitor, where the cluster knows that kind.
    #[serde(default)]
    pub monitoring: Monitoring,

    /// Who may connect to the peers' pods. Default: everybody on the TLS port, which asks for a certificate; pods of the
    /// cluster on the port with metrics.
    #[serde(default)]
    pub network_policy: NetworkPolicyRules,

    /// The operator leaves everything as it is, as long as this is true: it applies, replaces and drains nothing. It
    /// goes on renewing certificates and reporting. Default false.
    #[serde(default)]
    pub paused: bool,
}

/// Where peers find others at first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// Peers outside this manifest, as `host:port`: a DNS name, an IPv4 address or an IPv6 address in brackets. Names
    /// are resolved again at every attempt. At most 64, each once; default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 3, max = 261),
            regex(
                pattern = r"^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
            )
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub addresses: Vec<String>,
}

/// How peers find one another and keep in touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.forgetAfter) >= duration(self.heartbeatInterval) + duration(self.heartbeatInterval)")
    .message("spec.discovery.forgetAfter must be at least twice spec.discovery.heartbeatInterval, or peers are forgotten before anybody has asked whether they live."))]
pub struct Discovery {
    /// How often a peer exchanges what it knows with a random other. 1s to 24h; default 15m.
    #[serde(default = "default::refresh_interval")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("spec.discovery.refreshInterval must be between 1s and 24h."))]
    pub refresh_interval: String,
    /// A linked peer that says nothing for this long is pinged. 100ms to 10m; default 5s.
    #[serde(default = "default::heartbeat_interval")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('10m')")
        .message("spec.discovery.heartbeatInterval must be between 100ms and 10m."))]
    pub heartbeat_interval: String,
    /// A peer that nobody could reach for this long is forgotten. 1s to 24h, and at least twice the heartbeat interval;
    /// default 60s.
    #[serde(default = "default::forget_after")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("spec.discovery.forgetAfter must be between 1s and 24h."))]
    pub forget_after: String,
}

/// How long peers keep transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Transactions published longer ago are removed, and not taken from other peers any more. 1m to 87600h; default:
    /// never for their age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('87600h')")
        .message("spec.retention.age must be between 1m and 87600h."))]
    pub age: Option<String>,
    /// While its transactions take more than this, in bytes of a peer's store, indices included, the oldest is removed. Leave
    /// the volume half as much again. 1Mi to 64Ti; default: never for their size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('64Ti')) <= 0")
        .message("spec.retention.bytes must be between 1Mi and 64Ti."))]
    pub bytes: Option<Size>,
}

/// What travels between peers, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Links {
    /// How bodies of transactions travel to peers that say the same. `lz4`: packed, where that saves a tenth of 1000 bytes
    /// or more. `none`: as they are, which hides from others on the way how well they pack. Default lz4.
    #[serde(default)]
    pub compression: Compression,
    /// A link that stands on calls, because something on the way lets no stream pass, looks for a better rung after this
    /// long, then after twice as long each time, up to twenty times it. 1s to 1h; default 45s.
    #[serde(default = "default::climb_after")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')")
        .message("spec.links.climbAfter must be between 1s and 1h."))]
    pub climb_after: String,
    /// What links may stand on, dialled or accepted: `stream` (gRPC streams), `exchange` (unary gRPC calls), `rest` (calls
    /// over HTTP/1.1). Without `rest` nobody is let in who shows no certificate, and no proxy or ingress that ends TLS
    /// is passed. Each once; default: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub rungs: Vec<Rung>,
}

/// What a link stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Rung {
    /// A gRPC stream.
    Stream,
    /// Unary gRPC calls.
    Exchange,
    /// Calls over HTTP/1.1.
    Rest,
}

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// `http://host:port`; `environment`: what HTTPS_PROXY says, but for those in NO_PROXY; `none`: peers are dialled
    /// directly, whatever the environment says. Default environment.
    #[serde(default = "default::proxy_url")]
    #[schemars(
        length(min = 4, max = 300),
        regex(
            pattern = r"^(environment|none|http://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]{1,5})?/?)$"
        )
    )]
    pub url: String,
    /// Who is dialled without it; where this section says anything, also the names of the cluster (`.svc`, `.cluster.local`): `example.org` (with all below it),
    /// `.example.org` (only these), `192.0.2.7`, `10.0.0.0/8`, each with a port or without. At most 64, each once;
    /// default: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 261), regex(pattern = r"^[-*A-Za-z0-9._:/\[\]]+$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub except: Vec<String>,
    /// A Secret of the type `kubernetes.io/basic-auth` in the namespace of the network, with the `username` and the `password`
    /// that the proxy asks for. Read anew for each connection. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub credentials_secret: Option<String>,
}

/// How bodies travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    /// Packed where that pays.
    #[default]
    Lz4,
    /// As they are.
    None,
}

/// Bounds on what each peer takes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Longest transaction body that a peer accepts, in bytes. 1Ki to 256Mi; default 64Mi.
    #[serde(default = "default::body_bytes_max")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('1Ki')) >= 0 && quantity(string(self)).compareTo(quantity('256Mi')) <= 0")
        .message("spec.limits.bodyBytesMax must be between 1Ki and 256Mi."))]
    pub body_bytes_max: Size,
    /// Bodies being submitted to a peer at a time at most, in bytes; more are refused with a time to come back. At least
    /// bodyBytesMax is taken. 1Mi to 4Gi; default 256Mi.
    #[serde(default = "default::submit_bytes_max")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('4Gi')) <= 0")
        .message("spec.limits.submitBytesMax must be between 1Mi and 4Gi."))]
    pub submit_bytes_max: Size,
    /// Memory for the page cache of a peer's store, in bytes. 1Mi to 64Gi; default 32Mi.
    #[serde(default = "default::cache_bytes_max")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('64Gi')) <= 0")
        .message("spec.limits.cacheBytesMax must be between 1Mi and 64Gi."))]
    pub cache_bytes_max: Size,
    /// Links that a peer holds at most. 1 to 65536 links; default 1024.
    #[serde(default = "default::links_max")]
    #[schemars(range(min = 1, max = 65536))]
    pub links_max: i32,
    /// Submissions under way at one peer at most; further ones are refused until some end.
    /// 1 to 1000000 submissions; default 4096.
    #[serde(default = "default::submissions_max")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub submissions_max: i32,
}

/// Certificates of the peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Trust domain of the network's own certificate authority, first part of every peer's identity
    /// `spiffe://<trust domain>/<network id>/<peer>`. Organisations that join their networks each choose their own,
    /// such as their DNS domain. A DNS name of 1 to 253 characters; default sorcha.local. Cannot be changed.
    #[serde(default = "default::trust_domain")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.tls.trustDomain cannot be changed: it is part of every peer's identity. Make a new network instead."))]
    pub trust_domain: String,
    /// How certificates come to the peers. `secret`: the operator makes the keys and puts them into a Secret for each
    /// pool, which bounds a pool to some 900 peers. Default secret.
    #[serde(default)]
    pub delivery: Delivery,
    /// Keep the Secret with the certificate authority when the manifest is deleted, so that a network of the same name
    /// trusts the same peers again. Default true.
    #[serde(default = "default::yes")]
    pub retain_authority: bool,
}

/// How certificates come to the peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// In a Secret for each pool.
    #[default]
    Secret,
}

/// Logs of the peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// How much is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `info,sorcha_peer::store=debug`. 1 to 256 characters; default info.
    #[serde(default = "default::log_level")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[a-z0-9_:,=-]+$"))]
    pub level: String,
    /// `text` for people or `json` for programs; default text.
    #[serde(default)]
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one object per line.
    Json,
}

/// How peers stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// Longest time from the signal to the end of a peer. 1s to 10m; default 10s.
    #[serde(default = "default::shutdown_deadline")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('10m')")
        .message("spec.shutdown.deadline must be between 1s and 10m."))]
    pub deadline: String,
    /// How long a peer that leaves for good, or is to be replaced, may take to hand over what it holds before this is
    /// reported as a trouble; it is never cut short. 10s to 24h; default 10m.
    #[serde(default = "default::drain_deadline")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('24h')")
        .message("spec.shutdown.drainDeadline must be between 10s and 24h."))]
    pub drain_deadline: String,
}

/// How Prometheus is told of the peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Make a PodMonitor (monitoring.coreos.com/v1), where the cluster knows that kind. Default true.
    #[serde(default = "default::yes")]
    pub pod_monitor: bool,
    /// How often metrics are scraped. 5s to 1h; default 30s.
    #[serde(default = "default::scrape_interval")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^[0-9]{1,9}(ms|s|m|h)$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5s') && duration(self) <= duration('1h')")
        .message("spec.monitoring.interval must be between 5s and 1h."))]
    pub interval: String,
    /// Labels of the PodMonitor, by which a Prometheus chooses it. At most 32, values up to 63 characters; default:
    /// none beside the network's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

/// Who may connect to the peers' pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.enabled || !has(self.metricsFrom)")
    .message("spec.networkPolicy.metricsFrom has no effect without spec.networkPolicy.enabled."))]
pub struct NetworkPolicyRules {
    /// Make a NetworkPolicy. Default true.
    #[serde(default = "default::yes")]
    pub enabled: bool,
    /// Pods that may read metrics and health, port 7452. At most 16; default: all pods of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics_from: Vec<PodChoice>,
}

/// Pods by their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.namespaceLabels) || has(self.podLabels)")
    .message("namespaceLabels or podLabels must be given, or nobody is chosen."))]
pub struct PodChoice {
    /// Labels of their namespaces, all of which must fit. Default: the network's own namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub namespace_labels: BTreeMap<String, String>,
    /// Labels of the pods, all of which must fit. Default: all pods of those namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub pod_labels: BTreeMap<String, String>,
}
