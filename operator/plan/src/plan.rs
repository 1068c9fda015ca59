//! The plan of a network in a cluster: objects, certificates and steps, decided.

use std::time::Duration;

use crate::certificates;
use crate::kubernetes::Objects;
use crate::observed::ObservedNetwork;
use crate::step::{AuthorityPlan, CertificatePlan, Step};
use crate::validate::{Invalid, Validated};

/// Image of the peers where nothing else says: the one that belongs to this version.
pub const IMAGE_DEFAULT: &str = concat!("sorcha-peer:", env!("CARGO_PKG_VERSION"));
/// Namespace where neither manifest nor command line says, as kubectl does it.
pub const NAMESPACE_DEFAULT: &str = "default";

/// Everything that is done in a cluster for a network, until it is observed again.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPlan {
    /// `metadata.name`.
    pub network: String,
    /// Where the objects go.
    pub namespace: String,
    /// The objects, to be applied as they are.
    pub objects: Objects,
    /// The Secret with the root's key.
    pub authority: AuthorityPlan,
    /// What the pools' Secrets must hold. Empty while nothing can be issued.
    pub certificates: Vec<CertificatePlan>,
    /// What else is done, in this order.
    pub steps: Vec<Step>,
    /// When to observe and plan again though nothing was seen to change.
    pub again_after: Option<Duration>,
    /// What the decisions found worth telling; [`crate::status::status`] makes conditions of it.
    pub findings: Vec<Finding>,
}

/// What a decision found, for a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which condition it belongs to.
    pub concerns: Concern,
    /// In CamelCase.
    pub reason: &'static str,
    /// As a sentence; where it is a trouble, it says what to do.
    pub message: String,
}

/// The condition that a finding belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// `Progressing`: something is under way.
    Progress,
    /// `Degraded`: something stands still until somebody acts.
    Trouble,
    /// `CertificatesReady` is not true.
    Certificates,
}

impl Finding {
    pub(crate) fn new(concerns: Concern, reason: &'static str, message: impl Into<String>) -> Self {
        Self { concerns, reason, message: message.into() }
    }
}

/// Decides everything that is done for a network. The same input gives the same plan. A manifest that local mode takes
/// may be refused here, where it asks for more than a cluster can hold.
pub fn plan(network: &Validated, seen: &ObservedNetwork) -> Result<NetworkPlan, Invalid> {
    let certificates = certificates::decide(network, seen);
    Ok(NetworkPlan {
        network: network.name.clone(),
        namespace: seen.namespace.clone(),
        objects: Objects::build(network, seen),
        authority: certificates.authority,
        certificates: certificates.pools,
        steps: Vec::new(),
        again_after: None,
        findings: certificates.findings,
    })
}
