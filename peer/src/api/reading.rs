//! Reads from the store for the APIs: on threads that may block, in bounded pieces.

use bytes::{Bytes, BytesMut};
use futures::Stream;
use sorcha_peer_core::event::StoreFault;
use sorcha_peer_core::tree::chunk_count;
use sorcha_peer_core::types::TxId;
use sorcha_peer_core::types::bounds::CHUNK_BYTES;

use crate::api::refusal::{Kind, Refusal};
use crate::store::{Store, Stored};

/// Bytes of a body in one piece, in a delivery or on a REST connection.
pub const PIECE_BYTES_MAX: usize = 256 * 1024;
/// Chunks in one piece.
const PIECE_CHUNKS: u64 = (PIECE_BYTES_MAX / CHUNK_BYTES) as u64;

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
    next_chunk: u64,
    chunks: u64,
}

impl Pieces {
    /// Of this transaction.
    pub fn new(store: Store, stored: &Stored) -> Self {
        let chunks = chunk_count(stored.envelope.header().body_bytes);
        Self { store, id: stored.envelope.id(), next_chunk: 0, chunks }
    }

    /// Whether everything has been read.
    pub fn done(&self) -> bool {
        self.next_chunk >= self.chunks
    }

    /// The next piece, at most `PIECE_BYTES_MAX`; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if self.done() {
            return Ok(None);
        }
        let (id, from) = (self.id, self.next_chunk);
        let to = self.chunks.min(from + PIECE_CHUNKS);
        let whole = from == 0 && to == self.chunks;
        let found = read(&self.store, move |store| {
            if whole {
                return store.body(&id);
            }
            let mut piece = BytesMut::with_capacity(PIECE_BYTES_MAX);
            for index in from..to {
                match store.chunk(&id, index as u32)? {
                    Some((chunk, _proof)) => piece.extend_from_slice(&chunk),
                    None => return Ok(None),
                }
            }
            Ok(Some(piece.freeze()))
        });
        let piece = found.await?.ok_or_else(|| missing(&id))?;
        self.next_chunk = to;
        Ok(Some(piece))
    }

    /// As a stream that ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Refusal>> {
        futures::stream::try_unfold(self, |mut pieces| async move {
            Ok(pieces.next().await?.map(|piece| (piece, pieces)))
        })
    }
}
