//! What the core shows of itself on request: copies, so that nobody outside holds a piece of its state.

use std::sync::Arc;
use std::time::Duration;

use crate::envelope::Envelope;
use crate::event::Rung;
use crate::types::{Address, LinkId, PeerId, Time, TxId, WallTime};

/// How well the peer is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Linked as the grid wants, or alone by configuration.
    Online,
    /// Fewer links than the grid wants.
    Degraded,
    /// No link; transactions are accepted and kept.
    Offline,
    /// Stopping: nothing is accepted.
    Draining,
}

impl State {
    /// The word used in status, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
            Self::Draining => "draining",
        }
    }
}

/// The peer at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusView {
    /// How well it is linked.
    pub state: State,
    /// Peers known, itself not counted.
    pub peers_known: usize,
    /// Peers with a link that said hello.
    pub peers_linked: usize,
    /// Row count of the grid; 1 where everyone is sent everything.
    pub rows: u32,
    /// The own row.
    pub row: u32,
    /// Where it tells others to dial it.
    pub addresses: Vec<Address>,
    /// Submissions under way.
    pub submissions_pending: usize,
    /// Bodies being fetched.
    pub fetches_pending: usize,
    /// Why the store refuses; `None` while it accepts.
    pub store_fault: Option<String>,
    /// Transactions accepted here that no other peer is known to hold durably. After a start it counts all that the
    /// store holds until a round of reconciliation has said better.
    pub outbox: u64,
    /// Since this start one round of reconciliation has ended with nothing missing here, or no other peer is known.
    pub caught_up: bool,
    /// The drain that was asked for.
    pub drain: Option<DrainView>,
    /// Transactions kept aside because their signer is not trusted here.
    pub quarantined: usize,
    /// The addresses it begins with.
    pub bootstrap: Vec<BootstrapView>,
}

/// One bootstrap address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapView {
    /// `host:port`.
    pub address: Address,
    /// Who was met there, or says that it is there; this peer itself, too.
    pub peer: Option<PeerId>,
    /// Dials in a row that came to nothing.
    pub failures: u32,
    /// As a sentence, what the last one ended in; empty where it came to a link.
    pub last_error: String,
}

/// One transaction that no other peer is known to hold durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxView {
    /// Which.
    pub id: TxId,
    /// For how long, in this run.
    pub age: Duration,
    /// How often a linked peer has said that it does not hold it.
    pub denied: u32,
    /// As a sentence, why it is taken for undeliverable; empty while it waits for links or is on its way.
    pub undeliverable: String,
}

/// One transaction that is kept aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineView {
    /// Header and proof.
    pub envelope: Arc<Envelope>,
    /// Who brought it; not at fault.
    pub from: PeerId,
    /// As a sentence, what is wrong with its signer.
    pub reason: String,
    /// Since when.
    pub since: WallTime,
}

/// How far a drain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainView {
    /// Everything that is held here is held by a peer that stays, and with `leave` the others were told.
    pub drained: bool,
    /// Transactions that no staying peer is known to hold.
    pub remaining: u64,
    /// As a sentence, why it does not go on; empty while it does.
    pub reason: String,
}

/// One other peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// SHA-256 of its URI.
    pub id: PeerId,
    /// SPIFFE URI.
    pub uri: String,
    /// Its row at the own row count.
    pub row: u32,
    /// Counts its starts.
    pub incarnation: u64,
    /// Where it says it can be dialled.
    pub addresses: Vec<Address>,
    /// Its operator's word for where it is.
    pub site: String,
    /// Program and version.
    pub software: String,
    /// The link to it, where there is one.
    pub link: Option<LinkView>,
    /// Last sign of life, where there was one in this run.
    pub last_seen: Option<WallTime>,
    /// What the last dial failed with, since the last link.
    pub last_error: Option<String>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// Its id.
    pub link: LinkId,
    /// This side dialled.
    pub dialled: bool,
    /// Address dialled, or source address.
    pub address: Address,
    /// Which rung carries it.
    pub rung: Rung,
    /// Smoothed round-trip time (RFC 6298), once measured.
    pub rtt: Option<Duration>,
    /// Since when.
    pub since: WallTime,
    /// Since when, for measuring.
    pub since_time: Time,
}

/// How full one of the core's collections is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Which.
    pub name: &'static str,
    /// What it holds.
    pub len: usize,
    /// Its named bound.
    pub max: usize,
}
