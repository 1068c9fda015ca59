//! What a plan does beside applying objects: a step names its object by uid where it destroys something, so that a
//! step decided on an old view does no harm.

use std::net::IpAddr;

use crate::observed::ObjectName;

/// One step. Steps are carried out in the plan's order, each at most once per plan; a step that fails ends the pass,
/// and the next plan decides anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Before the objects: delete a StatefulSet and keep its pods (propagation `Orphan`), because a field that cannot
    /// change has changed; it is made again with the objects of the same plan.
    RecreateSet {
        /// Its name.
        set: String,
        /// Its uid, a precondition.
        uid: String,
        /// As a sentence, for the Event.
        why: String,
    },
    /// Raise what a volume claim asks for.
    GrowClaim {
        /// Its name.
        claim: String,
        /// A Quantity.
        size: String,
    },
    /// Tell a peer to take its files again now.
    Reload(PeerAddress),
    /// Tell a peer to drain for good: it leaves.
    Drain {
        /// Which.
        peer: PeerAddress,
        /// URIs of all peers that leave.
        leaving: Vec<String>,
    },
    /// Tell a peer that was to leave that it stays.
    Resume(PeerAddress),
    /// Delete a pod, so that its StatefulSet makes it again.
    ReplacePod {
        /// Its name.
        pod: String,
        /// Its uid, a precondition.
        uid: String,
        /// As a sentence, for the Event.
        why: String,
    },
    /// Delete an object that the manifest does not ask for any more.
    Prune(ObjectName),
}

/// A peer to be called on its TLS port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its SPIFFE URI, which its certificate must carry.
    pub uri: String,
    /// Its pod's address.
    pub address: IpAddr,
}

/// The certificates that a pool's Secret must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePlan {
    /// Name of the Secret.
    pub secret: String,
    /// All peers whose certificate belongs into it: (name, URI). What else is in it goes.
    pub peers: Vec<(String, String)>,
    /// Those of them that get a new certificate now: missing, wrong, or to be renewed.
    pub issue: Vec<String>,
}
