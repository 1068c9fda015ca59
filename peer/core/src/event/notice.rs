//! What happened, for people and metrics; the core itself does not depend on anyone's reading it.

use super::{DialError, StoreFault};
use crate::message::LinkPeer;
use crate::types::{Address, LinkId, PeerId, TxId, WallTime};
use crate::view::State;

/// What happened, for people and metrics. Names of variants are stable words in logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link said hello.
    LinkReady {
        /// Which.
        link: LinkId,
        /// To whom.
        peer: LinkPeer,
        /// This side dialled.
        dialled: bool,
    },
    /// A link ended.
    LinkEnded {
        /// Which.
        link: LinkId,
        /// To whom.
        peer: LinkPeer,
        /// As a sentence.
        reason: String,
    },
    /// No link came of a dial.
    DialFailed {
        /// What was dialled.
        address: Address,
        /// Who was to be there; `None`: whoever is, at a bootstrap address.
        peer: Option<PeerId>,
        /// How often in a row.
        failures: u32,
        /// What it ended in.
        error: DialError,
    },
    /// A peer became known.
    PeerJoined {
        /// Who.
        peer: PeerId,
        /// SPIFFE URI.
        uri: String,
    },
    /// A peer was forgotten.
    PeerLeft {
        /// Who.
        peer: PeerId,
        /// SPIFFE URI.
        uri: String,
        /// As a sentence.
        reason: String,
    },
    /// The grid has another number of rows.
    RowsChanged {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// A transaction of this peer's is durable.
    Accepted {
        /// Which.
        id: TxId,
        /// Body length.
        body_bytes: u64,
    },
    /// A transaction of another's is durable.
    Received {
        /// Which.
        id: TxId,
        /// Who brought it.
        from: PeerId,
        /// Hops from the origin; 0 by repair: fetched after an announcement, or reconciled.
        hops: u32,
        /// Body length.
        body_bytes: u64,
        /// Publication to durability by both peers' wall clocks, ms; 0 where the clocks disagree.
        age_ms: u64,
    },
    /// A transaction came again.
    Duplicate {
        /// Who brought it.
        from: PeerId,
    },
    /// A transaction refers to a certificate that is not known here: it is asked for whole. No fault of the sender's.
    Unresolved {
        /// Who brought it.
        from: PeerId,
    },
    /// The store refuses, or does so no longer.
    StoreFault {
        /// `None`: it works again.
        fault: Option<StoreFault>,
    },
    /// How well the peer is linked has changed.
    StateChanged {
        /// Before.
        from: State,
        /// Now.
        to: State,
    },
    /// A transaction is kept aside: its signer is not trusted here.
    Quarantined {
        /// Which.
        id: TxId,
        /// Who signed it, as it says.
        origin: PeerId,
        /// As a sentence.
        reason: String,
    },
    /// Transactions that were kept aside are looked at again.
    QuarantineReleased {
        /// How many.
        count: usize,
    },
    /// An origin has published two transactions under one number; both are held.
    Equivocation {
        /// Whose they are.
        origin: PeerId,
        /// Of the origin.
        incarnation: u64,
        /// The number.
        sequence: u64,
        /// Held before.
        first: TxId,
        /// Came now.
        second: TxId,
    },
    /// A round of reconciliation ended.
    SyncEnded {
        /// With whom.
        peer: PeerId,
        /// Transactions that came of it.
        received: u64,
        /// Transactions that went out.
        sent: u64,
    },
    /// Retention has removed the oldest transactions.
    Expired {
        /// How many.
        removed: u64,
        /// What was published before this is gone.
        floor: WallTime,
    },
    /// A transaction came in that is older than what is kept here. No fault of the sender's: it keeps for longer.
    TooOld {
        /// Who brought it.
        from: PeerId,
    },
    /// Something in favour of, or against, a peer.
    Evidence {
        /// Whose link brought it.
        peer: PeerId,
        /// What.
        kind: EvidenceKind,
        /// As a sentence.
        detail: String,
    },
}

/// Kinds of evidence against a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceKind {
    /// A frame that cannot be read or breaks its bounds.
    Protocol,
    /// A signature that does not hold.
    BadSignature,
    /// A body or chunk that does not match its root.
    BadBody,
    /// An envelope or hello of another network.
    OtherNetwork,
    /// A publication time in the future: a clock fault, no malice.
    ClockAhead,
    /// A signer that is unknown, expired or revoked: no fault of the relay's.
    UntrustedSigner,
    /// What was announced was not delivered.
    Unanswered,
}

impl EvidenceKind {
    /// The word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::BadSignature => "bad_signature",
            Self::BadBody => "bad_body",
            Self::OtherNetwork => "other_network",
            Self::ClockAhead => "clock_ahead",
            Self::UntrustedSigner => "untrusted_signer",
            Self::Unanswered => "unanswered",
        }
    }
}
