//! Reads from the store for the APIs: on threads that may block, in bounded pieces.

use bytes::Bytes;
use futures::Stream;
use sorcha_peer_core::event::StoreFault;
use sorcha_peer_core::types::TxId;

use crate::api::refusal::{Kind, Refusal};
use crate::store::{Store, Stored};

/// Bytes of a body in one piece, in a delivery or on a REST connection.
pub const PIECE_BYTES_MAX: usize = 256 * 1024;

/// Runs a read on a thread that may block.
pub async fn read<T, F>(store: &Store, work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce(&Store) -> Result<T, StoreFault> + Send + 'static,
{
    let store = store.clone();
    match tokio::task::spawn_blocking(move || work(&store)).await {
        Ok(found) => found.map_err(Refusal::from),
        Err(_) => Err(Refusal::new(Kind::Unavailable, "a read of the store ended early: try again")),
    }
}

/// One transaction's header, or the refusal that it is not here.
pub async fn transaction(store: &Store, id: TxId) -> Result<Stored, Refusal> {
    read(store, move |store| store.transaction(&id)).await?.ok_or_else(|| missing(&id))
}

fn missing(id: &TxId) -> Refusal {
    Refusal::new(Kind::NotFound, format!("transaction {id} is not held here: it may not have arrived yet"))
}

/// A body being read piece by piece.
#[derive(Debug)]
pub struct Pieces {
    store: Store,
    id: TxId,
    next: u64,
    bytes: u64,
}

impl Pieces {
    /// Of this transaction.
    pub fn new(store: Store, stored: &Stored) -> Self {
        Self { store, id: stored.envelope.id(), next: 0, bytes: stored.envelope.header().body_bytes }
    }

    /// Whether everything has been read.
    pub fn done(&self) -> bool {
        self.next >= self.bytes
    }

    /// The next piece, at most `PIECE_BYTES_MAX`; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if self.done() {
            return Ok(None);
        }
        let (id, from) = (self.id, self.next);
        let found = read(&self.store, move |store| store.body_part(&id, from, PIECE_BYTES_MAX)).await?;
        let piece = found.filter(|piece| !piece.is_empty()).ok_or_else(|| missing(&id))?;
        self.next += piece.len() as u64;
        Ok(Some(piece))
    }

    /// As a stream that ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Refusal>> {
        futures::stream::try_unfold(self, |mut pieces| async move {
            Ok(pieces.next().await?.map(|piece| (piece, pieces)))
        })
    }
}
