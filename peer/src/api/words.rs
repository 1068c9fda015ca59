//! Events of the core in words: stable ones for programs, sentences for people.

use sorcha_peer_core::event::Event;

/// Stable word, peer concerned, sentence.
pub(super) fn words(event: &Event) -> (&'static str, String, String) {
    match event {
        Event::LinkReady { peer, dialled, .. } => {
            let side = if *dialled { "dialled by this peer" } else { "dialled by the other" };
            ("link.up", peer.uri.clone(), format!("linked, {side}"))
        }
        Event::LinkEnded { peer, reason, .. } => ("link.down", peer.uri.clone(), reason.clone()),
        Event::DialFailed { address, failures, error, .. } => {
            ("dial.failed", String::new(), format!("{address}: {error} (failure {failures} in a row)"))
        }
        Event::PeerJoined { uri, .. } => ("peer.joined", uri.clone(), "became known".to_owned()),
        Event::PeerLeft { uri, reason, .. } => ("peer.left", uri.clone(), reason.clone()),
        Event::RowsChanged { from, to } => {
            ("grid.rows", String::new(), format!("the grid has {to} rows, {from} before"))
        }
        Event::Accepted { id, body_bytes } => {
            ("transaction.accepted", String::new(), format!("{id} with {body_bytes} bytes is durable here"))
        }
        Event::Received { id, from, hops, body_bytes, age_ms } => (
            "transaction.received",
            from.to_string(),
            format!("{id} with {body_bytes} bytes came over {hops} hops, {age_ms} ms after publication"),
        ),
        Event::Duplicate { from } => {
            ("transaction.duplicate", from.to_string(), "brought a transaction that is held".to_owned())
        }
        Event::StoreFault { fault: Some(fault) } => ("store.fault", String::new(), fault.to_string()),
        Event::StoreFault { fault: None } => {
            ("store.recovered", String::new(), "the store accepts again".to_owned())
        }
        Event::TooOld { from } => (
            "transaction.too_old",
            from.to_string(),
            "brought a transaction that is older than what is kept here".to_owned(),
        ),
        Event::Unresolved { from } => (
            "transaction.unresolved",
            from.to_string(),
            "referred to a certificate that is not known here: asked for whole".to_owned(),
        ),
        Event::Expired { removed, floor } => (
            "store.expired",
            String::new(),
            format!(
                "retention removed {removed} transactions; what was published before {} is gone",
                crate::api::readiness::time_text(*floor)
            ),
        ),
        Event::StateChanged { from, to } => {
            ("state", String::new(), format!("{}, {} before", to.as_str(), from.as_str()))
        }
        Event::Quarantined { id, origin, reason } => (
            "transaction.quarantined",
            origin.to_string(),
            format!("{id} is kept aside, its signer is not trusted here: {reason}"),
        ),
        Event::QuarantineReleased { count } => (
            "quarantine.released",
            String::new(),
            format!("{count} transactions that were kept aside are checked again"),
        ),
        Event::Equivocation { origin, incarnation, sequence, first, second } => (
            "origin.equivocation",
            origin.to_string(),
            format!(
                "number {sequence} of its start {incarnation} stands for {first} and for {second}; both are held"
            ),
        ),
        Event::SyncEnded { peer, received, sent } => (
            "sync.ended",
            peer.to_string(),
            format!("reconciled: {received} transactions came, {sent} went out"),
        ),
        Event::Evidence { peer, kind, detail } => {
            ("evidence", peer.to_string(), format!("{}: {detail}", kind.as_str()))
        }
    }
}
