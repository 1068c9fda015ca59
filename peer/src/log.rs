//! Logs: text or JSON on standard output, made from the core's outputs, outside the pure crates.
//!
//! Levels: `error` the peer cannot do its work; `warn` somebody should look; `info` what an operator
//! follows in normal times (links, peers, start and stop); `debug` single transactions and dials with
//! addresses; `trace` frames.

use sorcha_peer_core::event::{Event, EvidenceKind};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging; a filter that cannot be read is answered with a sentence.
pub fn init(filter: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!(
            "log.level: '{filter}' is not a log filter ({error}): write error, warn, info, debug or trace"
        )
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let result = if json {
        registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true)).try_init()
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_ansi(false)).try_init()
    };
    result.map_err(|error| format!("logging could not be started: {error}"))
}

/// One line for one event.
pub fn event(event: &Event) {
    match event {
        Event::LinkReady { peer, dialled, .. } => {
            tracing::info!(peer = peer.uri, dialled, "linked");
        }
        Event::LinkEnded { peer, reason, .. } => tracing::info!(peer = peer.uri, reason, "link ended"),
        Event::DialFailed { address, failures, error } => {
            tracing::debug!(%address, failures, "no link: {error}");
        }
        Event::PeerJoined { uri, .. } => tracing::info!(peer = uri, "peer known"),
        Event::PeerLeft { uri, reason, .. } => tracing::info!(peer = uri, reason, "peer forgotten"),
        Event::RowsChanged { from, to } => tracing::info!(from, to, "the grid has another number of rows"),
        Event::Accepted { id, body_bytes } => tracing::debug!(%id, body_bytes, "accepted"),
        Event::Received { id, hops, body_bytes, age_ms, .. } => {
            tracing::debug!(%id, hops, body_bytes, age_ms, "received");
        }
        Event::Duplicate { from } => tracing::trace!(%from, "duplicate"),
        Event::StoreFault { fault: Some(fault) } => tracing::error!("{fault}"),
        Event::StoreFault { fault: None } => tracing::info!("the store accepts again"),
        Event::SyncEnded { peer, received, sent } if received + sent > 0 => {
            tracing::info!(%peer, received, sent, "reconciled");
        }
        Event::SyncEnded { peer, .. } => tracing::trace!(%peer, "reconciled: nothing was missing"),
        Event::Evidence { peer, kind: EvidenceKind::UntrustedSigner | EvidenceKind::Unanswered, detail } => {
            tracing::debug!(%peer, "{detail}");
        }
        Event::Evidence { peer, kind, detail } => tracing::warn!(%peer, kind = kind.as_str(), "{detail}"),
    }
}
