//! What a subscription wants, and reading it in batches.

use std::collections::BTreeSet;

use bytes::Bytes;
use sorcha_peer_core::event::StoreFault;
use sorcha_peer_core::types::PeerId;
use sorcha_proto::v1::SubscribeOpen;

use crate::api::Local;
use crate::api::refusal::Refusal;
use crate::store::{Store, Stored};

/// Bodies up to this are read along with their headers: 256 KiB for a whole batch.
const BATCH_BODY_BYTES_MAX: u64 = 4 * 1024;
/// What a subscription wants.
pub(super) struct Filter {
    registers: Vec<String>,
    origins: BTreeSet<PeerId>,
    pub(super) headers_only: bool,
}

impl Filter {
    pub(super) fn new(local: &Local, open: &SubscribeOpen) -> Result<Self, Refusal> {
        let own = &local.node.identity().uri;
        let origins = open.origins.iter().map(|text| origin(own, text)).collect::<Result<_, _>>()?;
        Ok(Self { registers: open.registers.clone(), origins, headers_only: open.headers_only })
    }

    fn wants(&self, stored: &Stored) -> bool {
        let header = stored.envelope.header();
        (self.registers.is_empty() || self.registers.contains(&header.register))
            && (self.origins.is_empty() || self.origins.contains(&header.origin))
    }
}

/// A peer by its URI, by its name beside the own one, or by its id.
fn origin(own: &str, text: &str) -> Result<PeerId, Refusal> {
    if text.starts_with("spiffe://") {
        return Ok(PeerId::of_uri(text));
    }
    if text.len() == 64
        && let Ok(bytes) = hex::decode(text)
        && let Ok(bytes) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(PeerId::from_bytes(bytes));
    }
    let name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || !text.chars().all(name) {
        let shown: String = text.chars().take(80).flat_map(char::escape_default).collect();
        let sentence = format!(
            "origin '{shown}' is no peer: write its SPIFFE URI, its name, or its id of 64 hexadecimal digits"
        );
        return Err(Refusal::bad("origin", sentence));
    }
    let (beside, _) = own.rsplit_once('/').unwrap_or((own, ""));
    Ok(PeerId::of_uri(&format!("{beside}/{text}")))
}

/// A transaction to be delivered.
pub(super) struct Held {
    pub(super) stored: Stored,
    pub(super) wanted: bool,
    /// Read along with the batch where it is small.
    pub(super) body: Option<Bytes>,
}

/// Up to `limit` transactions after a position, with the small bodies that are wanted, in one go.
pub(super) fn batch(
    store: &Store,
    after: u64,
    limit: usize,
    filter: &Filter,
) -> Result<Vec<Held>, StoreFault> {
    let held = store.after(after, limit)?.into_iter().map(|stored| {
        let wanted = filter.wants(&stored);
        let small = stored.envelope.header().body_bytes <= BATCH_BODY_BYTES_MAX;
        let along = wanted && small && !filter.headers_only;
        let body = if along { store.body(&stored.envelope.id())? } else { None };
        Ok(Held { stored, wanted, body })
    });
    held.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_uri_a_name_or_an_id() {
        let own = "spiffe://test.local/net/me";
        let other = PeerId::of_uri("spiffe://test.local/net/other");
        for text in ["spiffe://test.local/net/other", "other", &other.to_string()] {
            assert_eq!(origin(own, text).expect(text), other);
        }
        for wrong in ["", "a b", "x/y"] {
            assert_eq!(origin(own, wrong).expect_err("no peer").field, Some("origin"), "{wrong}");
        }
    }
}
