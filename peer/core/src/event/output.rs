//! What the core wants done, and when it wants to be woken.

use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::Input;
use super::{Event, LoadWhat, RangeQuery, StoreFault};
use crate::envelope::{Envelope, Header, Record, SignedRecord};
use crate::message::Frame;
use crate::tree::Body;
use crate::types::{Address, LinkId, OpId, PeerId, TxId, WallTime};

/// Something the driver shall do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Put a frame on a link's queue.
    Send {
        /// Which link.
        link: LinkId,
        /// Which queue.
        class: Class,
        /// To be encoded.
        frame: Frame,
    },
    /// Open a link.
    Dial {
        /// Answered by `LinkUp` or `DialFailed`.
        op: OpId,
        /// Where.
        address: Address,
        /// Who must answer there; `None` for a bootstrap address.
        expect: Option<PeerId>,
    },
    /// Send what is queued, then close.
    Close {
        /// Which link; `LinkDown` follows.
        link: LinkId,
        /// As a sentence, for the log.
        reason: String,
    },
    /// Encode and sign a header.
    Seal {
        /// Answered by `Sealed`.
        op: OpId,
        /// What to sign.
        header: Header,
    },
    /// Encode and sign the own record.
    SealRecord {
        /// Answered by `RecordSealed`.
        op: OpId,
        /// What to sign.
        record: Record,
    },
    /// Which transaction was accepted under this key?
    Recall {
        /// Answered by `Recalled`.
        op: OpId,
        /// The key.
        idempotency_key: String,
    },
    /// Check signature, chain, identity and validity.
    Verify {
        /// Answered by `Verified`.
        op: OpId,
        /// What to check.
        item: Verifiable,
    },
    /// Make durable.
    Persist {
        /// Answered by `Persisted` or `PersistFailed`.
        op: OpId,
        /// Header and proof.
        envelope: Arc<Envelope>,
        /// The whole body.
        body: Arc<Body>,
        /// Of a local submission; empty: none.
        idempotency_key: String,
    },
    /// Read from the store.
    Load {
        /// Answered by `Loaded`.
        op: OpId,
        /// Which transaction.
        id: TxId,
        /// What of it.
        what: LoadWhat,
    },
    /// Which of these does the store hold?
    Lookup {
        /// Answered by `LookedUp`.
        op: OpId,
        /// At most `IDS_PER_FRAME_MAX`.
        ids: Vec<TxId>,
    },
    /// Summarise ranges of the store.
    Inspect {
        /// Answered by `Inspected`.
        op: OpId,
        /// At most `SYNC_RANGES_MAX`.
        queries: Vec<RangeQuery>,
    },
    /// Remove what retention does not keep any more, oldest first and not too much at once.
    Expire {
        /// Answered by `Expired`.
        op: OpId,
        /// What was published before this goes.
        before: WallTime,
        /// While the transactions take more than this, the oldest goes; `u64::MAX`: no bound.
        bytes_max: u64,
        /// Nothing that was published at this time or later goes, whatever else is asked.
        keep_from: WallTime,
    },
    /// Keep this record over restarts; not answered.
    Remember {
        /// Verified.
        record: Arc<SignedRecord>,
    },
    /// Keep it no longer; not answered.
    Forget {
        /// Whose record.
        peer: PeerId,
    },
    /// Answer to [`Input::Submit`].
    SubmitReply {
        /// Of the submission.
        token: u64,
        /// The id, durable, or why not.
        result: Result<Accepted, SubmitRefused>,
    },
    /// Answer to [`Input::AwaitHolders`].
    HoldersReply {
        /// Of the question.
        token: u64,
        /// Other peers that are known to hold it; at most 64 are counted.
        holders: u32,
    },
    /// For logs, metrics and those who watch.
    Event(Event),
}

/// Queues of a link, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Hello, acknowledgements, pings, goodbyes, records, requests.
    Control,
    /// Announcements.
    Announce,
    /// Pushes.
    Push,
    /// Chunks and what reconciliation sends.
    Bulk,
}

/// A signed value.
#[derive(Debug, Clone)]
pub enum Verifiable {
    /// A transaction's header: the certificate must have been valid when it was published.
    Envelope(Arc<Envelope>),
    /// A peer's record: the certificate must be valid now.
    Record(Arc<SignedRecord>),
}

/// A submission that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: TxId,
    /// The key was known: the id is of the transaction accepted earlier.
    pub duplicate: bool,
    /// When it was published, milliseconds since the Unix epoch; 0 for a duplicate.
    pub published_unix_ms: u64,
}

/// Why a submission was not accepted. Nothing was stored; `retry` says whether trying again helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitRefused {
    /// Longer than the peer's bound.
    #[error(
        "the body has {bytes} bytes; this peer accepts at most {max}: split it, or raise limits.bodyBytesMax"
    )]
    BodyTooLarge {
        /// Given.
        bytes: u64,
        /// Allowed.
        max: u64,
    },
    /// Register label longer than 128 bytes or with control characters.
    #[error("register '{register}' is not a label: use at most 128 bytes without control characters")]
    BadRegister {
        /// Given, cut to 80 characters.
        register: String,
    },
    /// Longer than 64 bytes.
    #[error("the idempotency key has {bytes} bytes; use at most 64")]
    BadKey {
        /// Given.
        bytes: usize,
    },
    /// Too many submissions are under way.
    #[error("{pending} submissions are under way, as many as this peer takes at once: try again in {} ms", retry_after.as_millis())]
    Busy {
        /// How many.
        pending: usize,
        /// When to come back.
        retry_after: Duration,
    },
    /// The store refused.
    #[error("{0}")]
    Store(StoreFault),
    /// No signature could be made.
    #[error("the transaction could not be signed: {0}")]
    Unsigned(String),
    /// The peer is stopping, or is drained.
    #[error("the peer is shutting down or being drained: submit to another, or to this one later")]
    Draining,
}

/// Why the core wants to be woken; the earliest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// A link is to be dialled.
    Dial,
    /// A link is to be pinged or given up.
    Liveness,
    /// Records are to be exchanged.
    PeerExchange,
    /// A push, a fetch or an announcement is to be repeated or sent.
    Gossip,
    /// A round of reconciliation is due.
    Sync,
    /// A member is to be forgotten.
    Membership,
    /// The store is to be asked what retention does not keep any more.
    Retention,
}
