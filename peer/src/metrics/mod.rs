//! Figures for Prometheus, made from events and copies of the driver's and the store's state.
//!
//! The core knows nothing of this. Names follow Prometheus' conventions: base units, `_total` for counters,
//! labels from small fixed sets only (never a peer's or a transaction's name).

use std::sync::Arc;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use sorcha_peer_core::event::{Class, Event};
use sorcha_peer_core::payload::Payload;
use sorcha_peer_core::view::{State, StatusView};

use crate::api::readiness::Certificate;
use crate::node::Identity;
use crate::store::StoreStats;

/// Seconds; around the promise of 90 % of the peers within 0.1 to 1 s, with room for repair and days offline.
const AGE_SECONDS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 3600.0, 86400.0];
/// Hops: 0 by repair (asked for, or reconciled), 1 or 2 by the grid.
const HOPS: [f64; 6] = [0.0, 1.0, 2.0, 3.0, 5.0, 8.0];

/// Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    events: Events,
    frames: Frames,
    gauges: Gauges,
}

#[derive(Debug)]
struct Events {
    links_up: IntCounter,
    links_down: IntCounter,
    dials_failed: IntCounter,
    peers_joined: IntCounter,
    peers_left: IntCounter,
    accepted: IntCounter,
    accepted_bytes: IntCounter,
    received: IntCounter,
    received_bytes: IntCounter,
    duplicates: IntCounter,
    too_old: IntCounter,
    unresolved: IntCounter,
    expired: IntCounter,
    age: Histogram,
    hops: Histogram,
    store_faults: IntCounter,
    sync_rounds: IntCounter,
    sync_received: IntCounter,
    sync_sent: IntCounter,
    evidence: IntCounterVec,
    state_changes: IntCounter,
    quarantined: IntCounter,
    equivocations: IntCounter,
}

#[derive(Debug)]
struct Frames {
    sent: IntCounterVec,
    sent_bytes: IntCounterVec,
    received: IntCounter,
    received_bytes: IntCounter,
    bodies_sent: IntCounterVec,
    bodies_received: IntCounterVec,
}

#[derive(Debug)]
struct Gauges {
    info: IntGaugeVec,
    incarnation: IntGauge,
    driver_up: IntGauge,
    state: IntGaugeVec,
    peers_known: IntGauge,
    peers_linked: IntGauge,
    rows: IntGauge,
    submissions: IntGauge,
    outbox: IntGauge,
    caught_up: IntGauge,
    quarantine: IntGauge,
    fetches: IntGauge,
    store_writable: IntGauge,
    store_transactions: IntGauge,
    store_bytes: IntGauge,
    store_live_bytes: IntGauge,
    store_floor: IntGauge,
    store_oldest: IntGauge,
    store_commits: IntCounter,
    store_commit_seconds: Gauge,
    certificate: GaugeVec,
}

/// What is copied at each scrape.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// Who this peer is.
    pub identity: &'a Identity,
    /// `None` where the driver does not answer.
    pub status: Option<&'a StatusView>,
    /// Of the store.
    pub store: StoreStats,
    /// `None` where none is loaded.
    pub certificate: Option<Certificate>,
}

/// Registers; our own names are valid and unique, which the tests hold.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("our own names are valid");
        self.0.register(Box::new(collector.clone())).expect("our own names are unique");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(format!("sorcha_peer_{name}"), help))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(format!("sorcha_peer_{name}"), help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(format!("sorcha_peer_{name}"), help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(format!("sorcha_peer_{name}"), help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        let events = Events {
            links_up: make.counter("links_opened_total", "Links that said hello."),
            links_down: make.counter("links_ended_total", "Links that ended, for whatever reason."),
            dials_failed: make.counter("dials_failed_total", "Dials that came to nothing."),
            peers_joined: make.counter("peers_joined_total", "Peers that became known."),
            peers_left: make.counter("peers_left_total", "Peers that were forgotten."),
            accepted: make.counter("transactions_accepted_total", "Transactions submitted here and durable."),
            accepted_bytes: make.counter(
                "transactions_accepted_bytes_total",
                "Body bytes of transactions submitted here and durable.",
            ),
            received: make
                .counter("transactions_received_total", "Transactions of other peers, durable here."),
            received_bytes: make.counter(
                "transactions_received_bytes_total",
                "Body bytes of transactions of other peers, durable here.",
            ),
            duplicates: make.counter("transactions_duplicate_total", "Transactions that came again."),
            too_old: make.counter(
                "transactions_too_old_total",
                "Transactions of other peers that are older than what is kept here, not taken.",
            ),
            unresolved: make.counter(
                "transactions_unresolved_total",
                "Transactions of other peers that referred to a certificate not known here, asked for whole.",
            ),
            expired: make.counter("transactions_expired_total", "Transactions that retention removed."),
            age: make.histogram(
                "transaction_age_seconds",
                "From publication to durability here, by both peers' wall clocks.",
                &AGE_SECONDS,
            ),
            hops: make.histogram(
                "transaction_hops",
                "Hops from the origin; 0 where it was asked for or reconciled.",
                &HOPS,
            ),
            store_faults: make.counter("store_faults_total", "Times that the store began to refuse."),
            sync_rounds: make.counter("sync_rounds_total", "Rounds of reconciliation that ended."),
            sync_received: make
                .counter("sync_transactions_received_total", "Transactions that came of reconciliation."),
            sync_sent: make.counter("sync_transactions_sent_total", "Transactions that reconciliation sent."),
            state_changes: make
                .counter("state_changes_total", "Changes of the state (online, degraded, ...)."),
            quarantined: make.counter(
                "transactions_quarantined_total",
                "Transactions kept aside because their signer is not trusted here.",
            ),
            equivocations: make
                .counter("equivocations_total", "Times that an origin used one number for two transactions."),
            evidence: make.counters("evidence_total", "Evidence against peers.", "kind"),
        };
        let frames = Frames {
            sent: make.counters("frames_sent_total", "Frames sent on links.", "class"),
            sent_bytes: make.counters("frames_sent_bytes_total", "Bytes of frames sent on links.", "class"),
            received: make.counter("frames_received_total", "Frames that came on links."),
            received_bytes: make
                .counter("frames_received_bytes_total", "Bytes of frames that came on links."),
            bodies_sent: make.counters(
                "frames_sent_body_bytes_total",
                "Bytes of bodies within the frames sent: plain, and as they were carried, packed or not.",
                "form",
            ),
            bodies_received: make.counters(
                "frames_received_body_bytes_total",
                "Bytes of bodies within the frames that came: plain, and as they were carried, packed or not.",
                "form",
            ),
        };
        let labels = ["version", "name", "network"];
        let gauges = Gauges {
            info: make
                .add(IntGaugeVec::new(Opts::new("sorcha_peer_info", "Who this peer is; always 1."), &labels)),
            incarnation: make.gauge(
                "incarnation",
                "Number of this start: a later start has a higher one, also with another store.",
            ),
            driver_up: make.gauge("driver_up", "1 while the driver answers."),
            state: make.add(IntGaugeVec::new(
                Opts::new("sorcha_peer_state", "1 for the present state, 0 for the others."),
                &["state"],
            )),
            peers_known: make.gauge("peers_known", "Other peers in the roster."),
            peers_linked: make.gauge("peers_linked", "Other peers with a link."),
            rows: make.gauge("grid_rows", "Rows of the grid; 1 where everyone is sent everything."),
            submissions: make.gauge("submissions_pending", "Submissions under way."),
            outbox: make.gauge(
                "outbox_transactions",
                "Transactions accepted here that no other peer is known to hold durably.",
            ),
            caught_up: make
                .gauge("caught_up", "1 once a reconciliation has ended with nothing missing here."),
            quarantine: make.gauge("quarantine_transactions", "Transactions kept aside now."),
            fetches: make.gauge("fetches_pending", "Bodies being fetched."),
            store_writable: make.gauge("store_writable", "1 while the store accepts."),
            store_transactions: make.gauge("store_transactions", "Transactions held."),
            store_bytes: make.gauge("store_size_bytes", "Bytes on disk."),
            store_live_bytes: make.gauge(
                "store_live_bytes",
                "Bytes that the transactions held take, indices estimated; what retention.bytes bounds.",
            ),
            store_floor: make.gauge(
                "store_floor_timestamp_seconds",
                "What was published before this was removed by retention; 0 while nothing was.",
            ),
            store_oldest: make.gauge(
                "store_oldest_timestamp_seconds",
                "When the oldest transaction held was published; 0 where none is held.",
            ),
            store_commits: make.counter("store_commits_total", "Groups committed since the start."),
            store_commit_seconds: make.add(Gauge::new(
                "sorcha_peer_store_last_commit_seconds",
                "Time that the last commit took, fsync included.",
            )),
            certificate: make.add(GaugeVec::new(
                Opts::new(
                    "sorcha_peer_certificate_validity_timestamp_seconds",
                    "When the certificate's validity begins and ends.",
                ),
                &["bound"],
            )),
        };
        let metrics = Self { inner: Arc::new(Inner { registry, events, frames, gauges }) };
        metrics.show_all_labels();
        metrics
    }

    /// Every label value from the start, so that a rate over a first occurrence is seen.
    fn show_all_labels(&self) {
        use sorcha_peer_core::event::EvidenceKind as Kind;
        let kinds = [
            Kind::Protocol,
            Kind::BadSignature,
            Kind::BadBody,
            Kind::OtherNetwork,
            Kind::ClockAhead,
            Kind::UntrustedSigner,
            Kind::Unanswered,
        ];
        for kind in kinds {
            self.inner.events.evidence.with_label_values(&[kind.as_str()]).inc_by(0);
        }
        for class in [Class::Control, Class::Announce, Class::Push, Class::Bulk] {
            self.frames_sent(class, 0, 0);
        }
        let nothing = Payload::default();
        self.body_sent(Some(&nothing));
        self.body_received(Some(&nothing));
    }

    /// Counts an event of the core.
    pub fn observe_event(&self, event: &Event) {
        let to = &self.inner.events;
        match event {
            Event::LinkReady { .. } => to.links_up.inc(),
            Event::LinkEnded { .. } => to.links_down.inc(),
            Event::DialFailed { .. } => to.dials_failed.inc(),
            Event::PeerJoined { .. } => to.peers_joined.inc(),
            Event::PeerLeft { .. } => to.peers_left.inc(),
            Event::Accepted { body_bytes, .. } => {
                to.accepted.inc();
                to.accepted_bytes.inc_by(*body_bytes);
            }
            Event::Received { hops, body_bytes, age_ms, .. } => {
                to.received.inc();
                to.received_bytes.inc_by(*body_bytes);
                to.hops.observe(f64::from(*hops));
                // 0 says that the clocks disagree: no measurement.
                if *age_ms > 0 {
                    to.age.observe(*age_ms as f64 / 1e3);
                }
            }
            Event::Duplicate { .. } => to.duplicates.inc(),
            Event::TooOld { .. } => to.too_old.inc(),
            Event::Unresolved { .. } => to.unresolved.inc(),
            Event::Expired { removed, .. } => to.expired.inc_by(*removed),
            Event::StoreFault { fault: Some(_) } => to.store_faults.inc(),
            Event::StateChanged { .. } => to.state_changes.inc(),
            Event::Quarantined { .. } => to.quarantined.inc(),
            Event::Equivocation { .. } => to.equivocations.inc(),
            Event::SyncEnded { received, sent, .. } => {
                to.sync_rounds.inc();
                to.sync_received.inc_by(*received);
                to.sync_sent.inc_by(*sent);
            }
            Event::Evidence { kind, .. } => to.evidence.with_label_values(&[kind.as_str()]).inc(),
            // Shown by gauges.
            Event::RowsChanged { .. }
            | Event::QuarantineReleased { .. }
            | Event::StoreFault { fault: None } => {}
        }
    }

    /// Counts frames that went out, by queue.
    pub fn frames_sent(&self, class: Class, frames: u64, bytes: u64) {
        let class = match class {
            Class::Control => "control",
            Class::Announce => "announce",
            Class::Push => "push",
            Class::Bulk => "bulk",
        };
        self.inner.frames.sent.with_label_values(&[class]).inc_by(frames);
        self.inner.frames.sent_bytes.with_label_values(&[class]).inc_by(bytes);
    }

    /// Counts frames that came in.
    pub fn frames_received(&self, frames: u64, bytes: u64) {
        self.inner.frames.received.inc_by(frames);
        self.inner.frames.received_bytes.inc_by(bytes);
    }

    /// Counts what a frame that went out carries of a body.
    pub fn body_sent(&self, body: Option<&Payload>) {
        count_body(&self.inner.frames.bodies_sent, body);
    }

    /// Counts what a frame that came in carries of a body.
    pub fn body_received(&self, body: Option<&Payload>) {
        count_body(&self.inner.frames.bodies_received, body);
    }

    /// Prometheus' text format 0.0.4. Without a driver that answers, its gauges keep their last values.
    pub fn render(&self, now: &Snapshot<'_>) -> String {
        let to = &self.inner.gauges;
        let who = now.identity;
        to.info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), who.name.as_str(), who.network.as_str()])
            .set(1);
        to.incarnation.set(who.incarnation as i64);
        to.driver_up.set(i64::from(now.status.is_some()));
        if let Some(status) = now.status {
            for state in [State::Online, State::Degraded, State::Offline, State::Draining] {
                to.state.with_label_values(&[state.as_str()]).set(i64::from(state == status.state));
            }
            to.peers_known.set(status.peers_known as i64);
            to.peers_linked.set(status.peers_linked as i64);
            to.rows.set(i64::from(status.rows));
            to.submissions.set(status.submissions_pending as i64);
            to.outbox.set(i64::try_from(status.outbox).unwrap_or(i64::MAX));
            to.caught_up.set(i64::from(status.caught_up));
            to.quarantine.set(status.quarantined as i64);
            to.fetches.set(status.fetches_pending as i64);
            to.store_writable.set(i64::from(status.store_fault.is_none()));
        }
        to.store_transactions.set(now.store.transactions as i64);
        to.store_bytes.set(now.store.bytes as i64);
        to.store_live_bytes.set(now.store.live_bytes as i64);
        to.store_floor.set((now.store.floor.as_unix_ms() / 1000) as i64);
        to.store_oldest.set(now.store.oldest.map_or(0, |oldest| oldest.as_unix_ms() / 1000) as i64);
        to.store_commits.inc_by(now.store.commits.saturating_sub(to.store_commits.get()));
        to.store_commit_seconds.set(now.store.last_commit_us as f64 / 1e6);
        if let Some(certificate) = now.certificate {
            for (bound, at) in [("begin", certificate.not_before), ("end", certificate.not_after)] {
                to.certificate.with_label_values(&[bound]).set(at.as_unix_ms() as f64 / 1e3);
            }
        }
        TextEncoder::new()
            .encode_to_string(&self.inner.registry.gather())
            .expect("our own families are complete")
    }
}

fn count_body(counters: &IntCounterVec, body: Option<&Payload>) {
    if let Some(body) = body {
        counters.with_label_values(&["plain"]).inc_by(body.len() as u64);
        counters.with_label_values(&["carried"]).inc_by(body.carried_len() as u64);
    }
}

#[cfg(test)]
mod tests;
