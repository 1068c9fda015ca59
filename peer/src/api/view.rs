//! What both APIs show: the protobuf messages of `Node`, and the same in JSON.
//!
//! JSON follows the messages field by field in camelCase. Unlike protobuf's own JSON mapping, ids are
//! hexadecimal, 64-bit counters are numbers and the state is a plain word.

use serde::{Deserialize, Serialize};
use sorcha_peer_core::envelope::Envelope;
use sorcha_peer_core::types::WallTime;
use sorcha_peer_core::view::{
    BootstrapView, DrainView, OutboxView, PeerView, QuarantineView, State, StatusView,
};
use sorcha_proto::v1;

use crate::api::readiness::Certificate;
use crate::api::words::words;
use crate::node::{Identity, NodeEvent};
use crate::store::{StoreStats, Stored};

/// A transaction's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionJson {
    /// Place in the order of arrival at this peer, from 1; 0 where it was not asked for.
    pub position: u64,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Label.
    pub register: String,
    /// SPIFFE URI of the origin.
    pub origin: String,
    /// Of the origin.
    pub incarnation: u64,
    /// Of the origin, within its incarnation.
    pub sequence: u64,
    /// By the origin's clock.
    pub published_unix_ms: u64,
    /// By this peer's clock.
    pub received_unix_ms: u64,
    /// Length of the body.
    pub body_bytes: u64,
}

/// The peer at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusJson {
    /// SPIFFE URI.
    pub uri: String,
    /// 64 hexadecimal digits.
    pub peer_id: String,
    /// Last part of the URI.
    pub name: String,
    /// Network id.
    pub network: String,
    /// `online`, `degraded`, `offline`, `draining`.
    pub state: String,
    /// Tells the starts apart: higher at each.
    pub incarnation: u64,
    /// Of the program.
    pub version: String,
    /// Since the start.
    pub uptime_ms: u64,
    /// Itself not counted.
    pub peers_known: u32,
    /// With a link.
    pub peers_linked: u32,
    /// Of the grid.
    pub rows: u32,
    /// The own.
    pub row: u32,
    /// Transactions held.
    pub transactions: u64,
    /// On disk.
    pub store_bytes: u64,
    /// 0 where there is no certificate.
    pub certificate_not_after_unix_ms: u64,
    /// Told to others.
    pub addresses: Vec<String>,
    /// Operator's word for where it is.
    pub site: String,
    /// Empty while the store accepts.
    pub store_fault: String,
    /// Highest in the order of arrival.
    pub position: u64,
    /// Transactions accepted here that no other peer is known to hold durably.
    pub outbox: u64,
    /// Since this start one reconciliation has ended with nothing missing here.
    pub caught_up: bool,
    /// Bytes that the transactions held take in the store, indices estimated.
    #[serde(default)]
    pub store_live_bytes: u64,
    /// What was published before this was removed by retention; 0: nothing was.
    #[serde(default)]
    pub floor_unix_ms: u64,
    /// When the oldest transaction held was published; 0: none is held.
    #[serde(default)]
    pub oldest_unix_ms: u64,
    /// Transactions that retention has removed since the start.
    #[serde(default)]
    pub expired: u64,
    /// Transactions kept aside because their signer is not trusted here.
    pub quarantined: u64,
    /// The addresses it begins with.
    #[serde(default)]
    pub bootstrap: Vec<BootstrapJson>,
}

/// One address that a peer begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapJson {
    /// `host:port`.
    pub address: String,
    /// 64 hexadecimal digits, of whoever was met there or says that it is there; empty: nobody yet.
    pub peer_id: String,
    /// Dials in a row that came to nothing.
    pub failures: u32,
    /// What the last one ended in; empty where it came to a link.
    pub last_error: String,
}

/// How far a drain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainJson {
    /// Everything held here is held by a peer that stays.
    pub drained: bool,
    /// Transactions that no staying peer is known to hold.
    pub remaining: u64,
    /// Why it does not go on; empty while it does.
    pub reason: String,
}

/// Another peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerJson {
    /// 64 hexadecimal digits.
    pub peer_id: String,
    /// SPIFFE URI.
    pub uri: String,
    /// Last part of the URI.
    pub name: String,
    /// A link stands.
    pub linked: bool,
    /// This side dialled it.
    pub dialled: bool,
    /// Of the link, or where it says it can be dialled.
    pub address: String,
    /// `stream`, `exchange`, `rest`; empty while not linked.
    pub transport: String,
    /// Smoothed round-trip time, microseconds; 0 while unknown.
    pub rtt_us: u64,
    /// In the grid.
    pub row: u32,
    /// Counts its starts.
    pub incarnation: u64,
    /// 0 while not linked.
    pub linked_since_unix_ms: u64,
    /// 0 where it gave no sign of life in this run.
    pub last_seen_unix_ms: u64,
    /// Operator's word for where it is.
    pub site: String,
    /// Of the last dial, since the last link.
    pub last_error: String,
    /// Program and version.
    pub software: String,
}

/// All other peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersJson {
    /// By peer id.
    pub peers: Vec<PeerJson>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventJson {
    /// By this peer's clock.
    pub at_unix_ms: u64,
    /// Stable word.
    pub kind: String,
    /// SPIFFE URI or id of the peer concerned, where there is one.
    pub peer: String,
    /// As a sentence.
    pub message: String,
}

/// Answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmittedJson {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The idempotency key was known: the id is of the transaction accepted earlier.
    pub duplicate: bool,
    /// By this peer's clock; 0 for a duplicate.
    pub published_unix_ms: u64,
    /// Other peers known to hold it durably; 0 where they were not asked for.
    pub holders: u32,
    /// Fewer hold it than were asked for when the wait was over; it is accepted all the same.
    pub pending: bool,
}

/// Who else holds a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldersJson {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Other peers known to hold it durably; at most 64 are counted.
    pub holders: u32,
}

/// What no other peer is known to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxJson {
    /// How many there are.
    pub transactions: u64,
    /// The oldest of them.
    pub entries: Vec<OutboxEntryJson>,
}

/// One transaction that no other peer is known to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEntryJson {
    /// 64 hexadecimal digits.
    pub id: String,
    /// In this run.
    pub age_ms: u64,
    /// How often a linked peer has said that it does not hold it.
    pub denied: u32,
    /// Why it is taken for undeliverable; empty while it waits or is on its way.
    pub undeliverable: String,
}

/// What is kept aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantineJson {
    /// The oldest first.
    pub entries: Vec<QuarantineEntryJson>,
}

/// One transaction that is kept aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantineEntryJson {
    /// 64 hexadecimal digits.
    pub id: String,
    /// SPIFFE URI in its certificate.
    pub origin: String,
    /// What is wrong with the signer.
    pub reason: String,
    /// By this peer's clock.
    pub since_unix_ms: u64,
    /// Id of the peer that brought it, which is not at fault.
    pub from: String,
}

/// All named cursors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CursorsJson {
    /// By name.
    pub cursors: Vec<CursorJson>,
}

/// A named cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CursorJson {
    /// As given.
    pub name: String,
    /// Everything up to here is acknowledged.
    pub position: u64,
    /// So many beyond it too.
    pub ahead: u64,
    /// Positions between it and the newest transaction.
    pub behind: u64,
    /// Somebody subscribes with it now.
    pub subscribed: bool,
    /// Of its present or last subscriber in this run; 0: none.
    pub generation: u64,
}

/// A page of the transactions held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageJson {
    /// In the order of arrival.
    pub transactions: Vec<TransactionJson>,
    /// Ask for the next page with `after` set to this.
    pub next: u64,
    /// Highest position now; equal to `next` on the last page.
    pub head: u64,
}

impl From<v1::Transaction> for TransactionJson {
    fn from(from: v1::Transaction) -> Self {
        Self {
            position: 0,
            id: hex::encode(&from.id),
            register: from.register,
            origin: from.origin,
            incarnation: from.incarnation,
            sequence: from.sequence,
            published_unix_ms: from.published_unix_ms,
            received_unix_ms: from.received_unix_ms,
            body_bytes: from.body_bytes,
        }
    }
}

impl From<v1::Status> for StatusJson {
    fn from(from: v1::Status) -> Self {
        let state = from.state().as_str_name().trim_start_matches("STATE_").to_lowercase();
        Self {
            uri: from.uri,
            peer_id: hex::encode(&from.peer_id),
            name: from.name,
            network: from.network,
            state,
            incarnation: from.incarnation,
            version: from.version,
            uptime_ms: from.uptime_ms,
            peers_known: from.peers_known,
            peers_linked: from.peers_linked,
            rows: from.rows,
            row: from.row,
            transactions: from.transactions,
            store_bytes: from.store_bytes,
            certificate_not_after_unix_ms: from.certificate_not_after_unix_ms,
            addresses: from.addresses,
            site: from.site,
            store_fault: from.store_fault,
            position: from.position,
            outbox: from.outbox,
            caught_up: from.caught_up,
            store_live_bytes: from.store_live_bytes,
            floor_unix_ms: from.floor_unix_ms,
            oldest_unix_ms: from.oldest_unix_ms,
            expired: from.expired,
            quarantined: from.quarantined,
            bootstrap: from.bootstrap.into_iter().map(BootstrapJson::from).collect(),
        }
    }
}

impl From<v1::BootstrapAddress> for BootstrapJson {
    fn from(from: v1::BootstrapAddress) -> Self {
        let v1::BootstrapAddress { address, peer_id, failures, last_error } = from;
        Self { address, peer_id: hex::encode(peer_id), failures, last_error }
    }
}

impl From<v1::DrainResponse> for DrainJson {
    fn from(from: v1::DrainResponse) -> Self {
        let v1::DrainResponse { drained, remaining, reason } = from;
        Self { drained, remaining, reason }
    }
}

/// How far a drain is.
pub fn drain(view: DrainView) -> v1::DrainResponse {
    let DrainView { drained, remaining, reason } = view;
    v1::DrainResponse { drained, remaining, reason }
}

impl From<v1::PeerInfo> for PeerJson {
    fn from(from: v1::PeerInfo) -> Self {
        Self {
            peer_id: hex::encode(&from.peer_id),
            uri: from.uri,
            name: from.name,
            linked: from.linked,
            dialled: from.dialled,
            address: from.address,
            transport: from.transport,
            rtt_us: from.rtt_us,
            row: from.row,
            incarnation: from.incarnation,
            linked_since_unix_ms: from.linked_since_unix_ms,
            last_seen_unix_ms: from.last_seen_unix_ms,
            site: from.site,
            last_error: from.last_error,
            software: from.software,
        }
    }
}

impl From<v1::Event> for EventJson {
    fn from(from: v1::Event) -> Self {
        Self { at_unix_ms: from.at_unix_ms, kind: from.kind, peer: from.peer, message: from.message }
    }
}

impl From<v1::SubmitResponse> for SubmittedJson {
    fn from(from: v1::SubmitResponse) -> Self {
        Self {
            id: hex::encode(&from.id),
            duplicate: from.duplicate,
            published_unix_ms: from.published_unix_ms,
            holders: from.holders,
            pending: from.pending,
        }
    }
}

impl From<v1::Holders> for HoldersJson {
    fn from(from: v1::Holders) -> Self {
        Self { id: hex::encode(&from.id), holders: from.holders }
    }
}

impl From<v1::Outbox> for OutboxJson {
    fn from(from: v1::Outbox) -> Self {
        let entry = |entry: v1::OutboxEntry| OutboxEntryJson {
            id: hex::encode(&entry.id),
            age_ms: entry.age_ms,
            denied: entry.denied,
            undeliverable: entry.undeliverable,
        };
        Self { transactions: from.transactions, entries: from.entries.into_iter().map(entry).collect() }
    }
}

impl From<v1::Quarantine> for QuarantineJson {
    fn from(from: v1::Quarantine) -> Self {
        let entry = |entry: v1::QuarantineEntry| QuarantineEntryJson {
            id: hex::encode(&entry.id),
            origin: entry.origin,
            reason: entry.reason,
            since_unix_ms: entry.since_unix_ms,
            from: entry.from,
        };
        Self { entries: from.entries.into_iter().map(entry).collect() }
    }
}

impl From<v1::Cursor> for CursorJson {
    fn from(from: v1::Cursor) -> Self {
        let v1::Cursor { name, position, ahead, behind, subscribed, generation } = from;
        Self { name, position, ahead, behind, subscribed, generation }
    }
}

impl From<v1::Cursors> for CursorsJson {
    fn from(from: v1::Cursors) -> Self {
        Self { cursors: from.cursors.into_iter().map(CursorJson::from).collect() }
    }
}

/// What no other peer is known to hold, of so many.
pub fn outbox(transactions: u64, views: &[OutboxView]) -> v1::Outbox {
    let entry = |view: &OutboxView| v1::OutboxEntry {
        id: view.id.as_bytes().to_vec().into(),
        age_ms: view.age.as_millis() as u64,
        denied: view.denied,
        undeliverable: view.undeliverable.clone(),
    };
    v1::Outbox { transactions, entries: views.iter().map(entry).collect() }
}

/// What is kept aside.
pub fn quarantine(views: &[QuarantineView]) -> v1::Quarantine {
    let entry = |view: &QuarantineView| v1::QuarantineEntry {
        id: view.envelope.id().as_bytes().to_vec().into(),
        origin: origin_uri(&view.envelope),
        reason: view.reason.clone(),
        since_unix_ms: view.since.as_unix_ms(),
        from: view.from.to_string(),
    };
    v1::Quarantine { entries: views.iter().map(entry).collect() }
}

/// A transaction as `Node` shows it, without its body.
pub fn transaction(stored: &Stored) -> v1::Transaction {
    let header = stored.envelope.header();
    v1::Transaction {
        id: stored.envelope.id().as_bytes().to_vec().into(),
        register: header.register.clone(),
        origin: origin_uri(&stored.envelope),
        incarnation: header.incarnation,
        sequence: header.sequence,
        published_unix_ms: header.published.as_unix_ms(),
        received_unix_ms: stored.received.as_unix_ms(),
        body_bytes: header.body_bytes,
        body: bytes::Bytes::new(),
    }
}

/// A transaction in JSON, with its position.
pub fn transaction_json(stored: &Stored) -> TransactionJson {
    TransactionJson { position: stored.position, ..transaction(stored).into() }
}

/// SPIFFE URI in the origin's certificate; the origin's id in hexadecimal where the certificate has none.
pub(super) fn origin_uri(envelope: &Envelope) -> String {
    sorcha_peer_pki::trust::leaf_identity_of(envelope.certificate())
        .map_or_else(|_| envelope.header().origin.to_string(), |identity| identity.as_str().to_owned())
}

/// The peer at a glance.
pub fn status(
    identity: &Identity,
    view: &StatusView,
    stats: StoreStats,
    position: u64,
    certificate: Option<Certificate>,
    uptime_ms: u64,
) -> v1::Status {
    let state = match view.state {
        State::Online => v1::status::State::Online,
        State::Degraded => v1::status::State::Degraded,
        State::Offline => v1::status::State::Offline,
        State::Draining => v1::status::State::Draining,
    };
    v1::Status {
        uri: identity.uri.clone(),
        peer_id: identity.id.as_bytes().to_vec().into(),
        name: identity.name.clone(),
        network: identity.network.clone(),
        state: state.into(),
        incarnation: identity.incarnation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms,
        peers_known: view.peers_known as u32,
        peers_linked: view.peers_linked as u32,
        rows: view.rows,
        row: view.row,
        transactions: stats.transactions,
        store_bytes: stats.bytes,
        certificate_not_after_unix_ms: certificate.map_or(0, |it| it.not_after.as_unix_ms()),
        addresses: view.addresses.iter().map(ToString::to_string).collect(),
        site: identity.site.clone(),
        store_fault: view.store_fault.clone().unwrap_or_default(),
        position,
        outbox: view.outbox,
        caught_up: view.caught_up,
        store_live_bytes: stats.live_bytes,
        floor_unix_ms: stats.floor.as_unix_ms(),
        oldest_unix_ms: stats.oldest.map_or(0, WallTime::as_unix_ms),
        expired: stats.removed,
        quarantined: view.quarantined as u64,
        bootstrap: view.bootstrap.iter().map(bootstrap).collect(),
    }
}

fn bootstrap(view: &BootstrapView) -> v1::BootstrapAddress {
    v1::BootstrapAddress {
        address: view.address.to_string(),
        peer_id: view.peer.map(|peer| peer.as_bytes().to_vec().into()).unwrap_or_default(),
        failures: view.failures,
        last_error: view.last_error.clone(),
    }
}

/// One other peer.
pub fn peer(view: &PeerView) -> v1::PeerInfo {
    let link = view.link.as_ref();
    let address = link.map(|link| &link.address).or(view.addresses.first());
    v1::PeerInfo {
        peer_id: view.id.as_bytes().to_vec().into(),
        uri: view.uri.clone(),
        name: view.uri.rsplit('/').next().unwrap_or_default().to_owned(),
        linked: link.is_some(),
        dialled: link.is_some_and(|link| link.dialled),
        address: address.map(ToString::to_string).unwrap_or_default(),
        transport: link.map_or("", |link| link.rung.as_str()).to_owned(),
        rtt_us: link.and_then(|link| link.rtt).map_or(0, |rtt| rtt.as_micros() as u64),
        row: view.row,
        incarnation: view.incarnation,
        linked_since_unix_ms: link.map_or(0, |link| link.since.as_unix_ms()),
        last_seen_unix_ms: view.last_seen.map_or(0, WallTime::as_unix_ms),
        site: view.site.clone(),
        last_error: view.last_error.clone().unwrap_or_default(),
        software: view.software.clone(),
    }
}

/// Something that happened. The words of `kind` are stable.
pub fn event(from: &NodeEvent) -> v1::Event {
    let (kind, peer, message) = words(&from.event);
    v1::Event { at_unix_ms: from.at.as_unix_ms(), kind: kind.to_owned(), peer, message }
}

/// A reader of events was too slow for some of them.
pub fn events_missed(at: WallTime, missed: u64) -> v1::Event {
    v1::Event {
        at_unix_ms: at.as_unix_ms(),
        kind: "events.missed".to_owned(),
        peer: String::new(),
        message: format!("{missed} events came faster than they were read and are left out"),
    }
}
