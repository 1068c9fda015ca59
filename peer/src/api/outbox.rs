//! The outbox and the quarantine as the APIs show them.

use bytes::Bytes;
use sorcha_peer_core::types::TxId;
use sorcha_peer_core::types::bounds::IDS_PER_FRAME_MAX;
use sorcha_proto::v1;

use crate::api::refusal::Refusal;
use crate::api::view;
use crate::node::NodeHandle;

/// Entries listed at most.
pub const LISTED_MAX: u64 = 1_000;
/// Entries listed where the request does not say.
pub const LISTED_DEFAULT: u64 = 100;

/// The oldest entries. 0: so many as by default.
pub async fn list(node: &NodeHandle, limit: u64) -> Result<v1::Outbox, Refusal> {
    if limit > LISTED_MAX {
        return Err(Refusal::bad("limit", format!("limit {limit} is out of range: use 1 to {LISTED_MAX}")));
    }
    let limit = if limit == 0 { LISTED_DEFAULT } else { limit };
    let views = node.outbox(limit as usize).await?;
    let transactions = node.status().await?.outbox;
    Ok(view::outbox(transactions, &views))
}

/// Ids as they come over gRPC.
pub fn ids(given: &[Bytes]) -> Result<Vec<TxId>, Refusal> {
    let id = |id: &Bytes| {
        TxId::from_slice(id)
            .ok_or_else(|| Refusal::bad("ids", format!("an id has 32 bytes, not {}", id.len())))
    };
    given.iter().map(id).collect()
}

/// Brings transactions to linked peers: these, or all that are undeliverable. Answers with the outbox.
pub async fn retry(node: &NodeHandle, ids: Vec<TxId>) -> Result<v1::Outbox, Refusal> {
    let ids = chosen(node, ids).await?;
    node.retry_outbox(ids).await?;
    list(node, 0).await
}

/// Takes transactions out of the outbox: these, or all that are undeliverable. Answers with the outbox.
pub async fn discard(node: &NodeHandle, ids: Vec<TxId>) -> Result<v1::Outbox, Refusal> {
    let ids = chosen(node, ids).await?;
    node.discard_outbox(ids).await?;
    list(node, 0).await
}

async fn chosen(node: &NodeHandle, ids: Vec<TxId>) -> Result<Vec<TxId>, Refusal> {
    if ids.len() > IDS_PER_FRAME_MAX {
        let sentence = format!("{} ids are named; at most {IDS_PER_FRAME_MAX} go in one request", ids.len());
        return Err(Refusal::bad("id", sentence));
    }
    let listed = node.outbox(65_536).await?;
    if ids.is_empty() {
        let stuck = listed.iter().filter(|view| !view.undeliverable.is_empty()).map(|view| view.id);
        return Ok(stuck.take(IDS_PER_FRAME_MAX).collect());
    }
    if let Some(other) = ids.iter().find(|id| !listed.iter().any(|view| view.id == **id)) {
        let sentence = format!(
            "transaction {other} is not in the outbox: another peer is known to hold it, or it was not submitted here in this run"
        );
        return Err(Refusal::new(crate::api::refusal::Kind::NotFound, sentence));
    }
    Ok(ids)
}
