//! What a plan does beside applying objects: a step names its object by uid where it destroys something, so that a
//! step decided on an old view does no harm.

use core::net::IpAddr;

use crate::observed::ObjectName;

/// One step. Steps are carried out in the plan's order, each at most once per plan; a step that fails ends the pass,
/// and the next plan decides anew.
///
/// The order of a pass: the authority's Secret, the pools' Secrets, steps for which [`Step::is_before_objects`], the
/// objects, the other steps.
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
    /// Tell a peer to accept nothing any more and to bring what it holds to peers that stay.
    Drain {
        /// Which.
        peer: PeerAddress,
        /// URIs of all peers that leave.
        leaving: Vec<String>,
        /// It leaves for good; else it is drained before it is started anew.
        leave: bool,
    },
    /// Tell a peer that was drained that it stays as it is.
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

impl Step {
    /// Whether it is carried out before the objects are applied.
    pub fn is_before_objects(&self) -> bool {
        matches!(self, Self::RecreateSet { .. })
    }
}

/// A peer to be called on its TLS port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name of its pod, also the peer's name.
    pub pod: String,
    /// Uid of its pod: what it was told is worth nothing for another pod of the same name.
    pub pod_uid: String,
    /// Its SPIFFE URI, which its certificate must carry.
    pub uri: String,
    /// Its pod's address.
    pub address: IpAddr,
}

/// The Secret with the root's key: made where there is none, never written again, never pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityPlan {
    /// Name of the Secret.
    pub secret: String,
    /// It does not exist and is to be made. False where it is missing although certificates of it are in use: a new
    /// root would divide the network, so a person has to decide.
    pub make: bool,
    /// It goes when the manifest goes: the manifest is its owner. Else it has no owner and stays.
    pub goes_with_network: bool,
}

/// The certificates that a pool's Secret must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePlan {
    /// Name of the Secret; keys `ca.crt`, and for each peer `<peer>.crt` and `<peer>.key`.
    pub secret: String,
    /// The pool.
    pub pool: String,
    /// All peers whose certificate belongs into it: (name, URI). What else is in it goes.
    pub peers: Vec<(String, String)>,
    /// Those of them that get a new certificate now: missing, wrong, or to be renewed.
    pub issue: Vec<String>,
}
