//! What is known of a network in its cluster, gathered before anything is decided.
//!
//! Copies of the few fields that decisions need; who gathers them (watches, calls to the peers) is not known here.
//! Times are milliseconds since the Unix epoch, UTC: this crate reads no clock.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{IMAGE_DEFAULT, NAMESPACE_DEFAULT};
use crate::validate::Validated;

/// A network as its cluster shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedNetwork {
    /// Where its objects go.
    pub namespace: String,
    /// When this was gathered.
    pub now_unix_ms: i64,
    /// Image of pools that are new where the manifest names none.
    pub image_default: String,
    /// Whether the cluster knows `PodMonitor` (monitoring.coreos.com/v1).
    pub has_pod_monitors: bool,
    /// By pool: the StatefulSets that carry the network's labels, also of pools that the manifest no longer has.
    pub pools: BTreeMap<String, ObservedPool>,
    /// The peers' volumes, also those without a pod.
    pub claims: Vec<ObservedClaim>,
    /// The network's certificate authority and what it has issued.
    pub authority: ObservedAuthority,
    /// Objects that bear a planned name and belong to somebody else. They are left alone.
    pub foreign: Vec<Foreign>,
    /// Objects that carry the network's labels and owner: candidates for pruning.
    pub owned: Vec<ObjectName>,
    /// What the API server refused when the plan was applied last, until the plan changes.
    pub refused: Vec<Refused>,
}

impl ObservedNetwork {
    /// A cluster without the network, in which it is to be made: what `render` plans for. There is no certificate
    /// authority yet, so the plan has no trust bundle.
    pub fn empty(network: &Validated) -> Self {
        Self {
            namespace: network.namespace.clone().unwrap_or_else(|| NAMESPACE_DEFAULT.to_owned()),
            now_unix_ms: 0,
            image_default: IMAGE_DEFAULT.to_owned(),
            has_pod_monitors: false,
            pools: BTreeMap::new(),
            claims: Vec::new(),
            authority: ObservedAuthority::default(),
            foreign: Vec::new(),
            owned: Vec::new(),
            refused: Vec::new(),
        }
    }
}

/// The StatefulSet of a pool with its pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedPool {
    /// `metadata.uid` of the StatefulSet; none while only orphaned pods are left.
    pub uid: Option<String>,
    /// `spec.replicas`.
    pub replicas: u32,
    /// The StatefulSet controller has seen the newest generation.
    pub is_settled: bool,
    /// `status.updateRevision`: what pods of the newest template carry as `controller-revision-hash`.
    pub update_revision: Option<String>,
    /// What the operator last rendered for the pool, as kept on the StatefulSet.
    pub rendered: Option<Rendered>,
    /// The immutable fields as they are: `selector`, `serviceName`, `podManagementPolicy`, `volumeClaimTemplates`.
    pub immutable: Value,
    /// Why the controller makes no more pods, from its newest Event: quota exceeded, Pod Security.
    pub trouble: Option<Trouble>,
    /// By ordinal.
    pub pods: BTreeMap<u32, ObservedPod>,
}

/// A pod template and configuration file with a digest of the manifest's fields that they were made from: as long as
/// those stay, a new version of the operator takes these and renders nothing anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendered {
    /// Digest of the inputs.
    pub inputs: String,
    /// The default image of the operator that first rendered it, where the manifest names none: it stays until the
    /// manifest names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_default: Option<String>,
    /// The pod template.
    pub template: Value,
    /// `peer.yaml`.
    pub config: String,
}

/// One peer's pod.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedPod {
    /// `<network>-<pool>-<ordinal>`, also the peer's name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Since when it exists.
    pub created_unix_ms: i64,
    /// Its deletion has begun.
    pub is_terminating: bool,
    /// Label `controller-revision-hash`.
    pub revision: Option<String>,
    /// Condition Ready.
    pub is_ready: bool,
    /// The peer's container runs, or has run, in this pod.
    pub has_started: bool,
    /// Image of the peer's container.
    pub image: Option<String>,
    /// Address for the call to the peer; none before the pod has one.
    pub address: Option<IpAddr>,
    /// Why it does not start, from its container statuses and conditions.
    pub trouble: Option<Trouble>,
    /// What the peer itself answered last; none when it was not asked.
    pub peer: Option<Result<PeerSeen, String>>,
    /// How far the drain is that it was told to do; none when it was not.
    pub drain: Option<DrainSeen>,
}

/// A reason in one word and a sentence, as conditions want them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In CamelCase, such as `ErrImageNeverPull`.
    pub reason: String,
    /// As a sentence.
    pub message: String,
}

/// A peer's own report (`Operate.GetReport`), as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSeen {
    /// Counts its starts.
    pub incarnation: u64,
    /// Program and version.
    pub software: String,
    /// `online`, `degraded`, `offline`, `draining`.
    pub state: String,
    /// Peers that it knows.
    pub peers_known: u32,
    /// Peers that it is linked to.
    pub peers_linked: u32,
    /// Transactions accepted there that no other peer is known to hold.
    pub outbox: u64,
    /// It has everything that its neighbours had when it started.
    pub is_caught_up: bool,
    /// Why its store refuses.
    pub store_fault: Option<String>,
    /// SHA-256 of the configuration file in use, hex.
    pub config_digest: String,
    /// SHA-256 of the trust bundle in use, hex.
    pub bundle_digest: String,
    /// End of its certificate.
    pub certificate_not_after_unix_ms: i64,
    /// Why its last reload was refused.
    pub reload_fault: Option<String>,
}

/// An answer of `Operate.Drain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainSeen {
    /// Since when it is being drained.
    pub since_unix_ms: i64,
    /// It was told that it leaves for good; else it is drained before it is started anew.
    pub is_leaving: bool,
    /// Everything that it held is held elsewhere.
    pub is_drained: bool,
    /// Transactions still to be held elsewhere.
    pub remaining: u64,
    /// Why it does not go on; empty while it does.
    pub reason: String,
}

/// The volume of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedClaim {
    /// `state-<peer>`.
    pub name: String,
    /// The pool that its peer is of.
    pub pool: String,
    /// Ordinal of its peer.
    pub ordinal: u32,
    /// `spec.resources.requests.storage`.
    pub requested: String,
    /// `status.capacity.storage`; none until it is bound.
    pub capacity: Option<String>,
    /// Its deletion has begun: somebody has given up what is on it.
    pub is_terminating: bool,
    /// Since when it exists.
    pub created_unix_ms: i64,
    /// `allowVolumeExpansion` of its class; none where that is not known.
    pub can_grow: Option<bool>,
    /// Why it is not bound, or does not grow.
    pub trouble: Option<Trouble>,
}

/// The certificate authority of the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedAuthority {
    /// State of the Secret with the root's key.
    pub root: Root,
    /// By peer: the certificates in the pools' Secrets.
    pub certificates: BTreeMap<String, CertificateSeen>,
}

/// The Secret with the root's key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Root {
    /// There is none: one is made.
    #[default]
    Absent,
    /// It can sign.
    Usable {
        /// What peers trust, `ca.crt`: the roots as PEM.
        bundle: String,
        /// End of the root.
        not_after_unix_ms: i64,
    },
    /// It is there and cannot be used: nothing is made over it.
    Broken(String),
}

/// One certificate in a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSeen {
    /// Begin.
    pub not_before_unix_ms: i64,
    /// End.
    pub not_after_unix_ms: i64,
    /// Its identity, root and key are those that the peer needs.
    pub fits: bool,
}

/// Kind and name of an object in the network's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// Such as `StatefulSet`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
}

/// Somebody else's object under a planned name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Which.
    pub object: ObjectName,
    /// Whose, as far as labels and owners say.
    pub owner: String,
}

/// An object that the API server did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub object: ObjectName,
    /// `Invalid`, `Forbidden`, ...
    pub reason: String,
    /// The API server's sentence.
    pub message: String,
}
