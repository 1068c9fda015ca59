//! Starts what the core asks for and sends the answers back as inputs.
//!
//! Reads run on tokio's blocking threads (bounded when the runtime is built); writes on the store's own
//! thread; signatures in the verification pool. The core bounds how many of each are under way.

use bytes::Bytes;
use sorcha_peer_core::event::{Expired, LoadWhat, Loaded, StoreFault, Verifiable};
use sorcha_peer_core::payload::Payload;
use sorcha_peer_core::types::bounds::PUSH_BODY_BYTES_MAX;
use sorcha_peer_core::types::{OpId, PeerId, TxId};
use sorcha_peer_core::{Input, Output};
use tokio::sync::mpsc;

use crate::clock::wall_now;
use crate::metrics::Metrics;
use crate::store::{Source, Store, WithBody};
use crate::transport::Transport;
use crate::verify::SignaturePool;

/// Transactions that one thread reads one after another, from one snapshot of the store. Guess: what the threads do
/// side by side counts more where there are many.
const LOADS_PER_READ: usize = 16;

/// Work that costs less where much of it is started at once.
#[derive(Debug, Default)]
pub struct Gathered {
    loads: Vec<(OpId, TxId)>,
    lookups: Vec<(OpId, Vec<TxId>)>,
    checks: Vec<(OpId, Verifiable)>,
}

/// Everything that can be set to work.
pub struct Effects {
    /// Whose effects they are.
    pub me: PeerId,
    /// Writes and reads.
    pub store: Store,
    /// Links.
    pub transport: Transport,
    /// Counts what goes out.
    pub metrics: Metrics,
    /// Signing and checking.
    pub signatures: SignaturePool,
    /// Whether what is loaded for others is packed.
    pub packing: bool,
    /// Where answers go.
    pub completions: mpsc::UnboundedSender<Input>,
    /// What is started by [`Effects::flush`].
    pub gathered: Gathered,
}

impl Effects {
    /// Starts one effect, or gathers it for [`Effects::flush`]; never blocks.
    ///
    /// # Panics
    /// On outputs that are no effects: the driver handles those itself.
    pub fn start(&mut self, output: Output) {
        match output {
            Output::Send { link, class, frame } => {
                if let Some(bytes) = self.transport.send(link, class, &frame) {
                    self.metrics.frames_sent(class, 1, bytes as u64);
                    self.metrics.body_sent(frame.message.payload());
                }
            }
            Output::Dial { op, address, expect } => self.transport.dial(op, address, expect),
            Output::Close { link, reason } => self.transport.close(link, reason),
            Output::Seal { op, header } => {
                let done = self.completions.clone();
                self.signatures.seal(header, move |result| answer(&done, Input::Sealed { op, result }));
            }
            Output::SealRecord { op, record } => {
                let done = self.completions.clone();
                self.signatures
                    .seal_record(record, move |result| answer(&done, Input::RecordSealed { op, result }));
            }
            Output::Verify { op, item } => self.gathered.checks.push((op, item)),
            Output::Persist { op, envelope, body, idempotency_key } => {
                let done = self.completions.clone();
                let reply = move |result: Result<u64, StoreFault>| {
                    let input = match result {
                        Ok(_) => Input::Persisted { op },
                        Err(fault) => Input::PersistFailed { op, fault },
                    };
                    answer(&done, input);
                };
                let is_own = envelope.header().origin == self.me;
                let source = if is_own { Source::Client(idempotency_key) } else { Source::Peer };
                self.store.persist(envelope, body, source, wall_now(), Box::new(reply));
            }
            Output::Load { op, id, what: LoadWhat::Envelope } => self.gathered.loads.push((op, id)),
            Output::Load { op, id, what: LoadWhat::Chunk { index } } => {
                let packing = self.packing;
                self.read(move |store| Input::Loaded { op, found: load_chunk(store, id, index, packing) });
            }
            Output::Lookup { op, ids } => self.gathered.lookups.push((op, ids)),
            Output::Inspect { op, queries } => self.read(move |store| {
                let views = store.inspect(&queries).unwrap_or_else(|fault| {
                    report(op, &fault);
                    Vec::new()
                });
                Input::Inspected { op, views }
            }),
            Output::Recall { op, idempotency_key } => self.read(move |store| {
                let result = store.recall(&idempotency_key);
                if let Err(fault) = &result {
                    report(op, fault);
                }
                Input::Recalled { op, result }
            }),
            Output::Expire { op, before, bytes_max, keep_from } => {
                let done = self.completions.clone();
                let reply = move |result: Result<Expired, StoreFault>| {
                    if let Err(fault) = &result {
                        report(op, fault);
                    }
                    answer(&done, Input::Expired { op, result: result.ok() });
                };
                self.store.expire(before, bytes_max, keep_from, Box::new(reply));
            }
            Output::Remember { record } => self.store.remember(record),
            Output::Forget { peer } => self.store.forget(peer),
            Output::SubmitReply { .. } | Output::HoldersReply { .. } | Output::Event(_) => {
                unreachable!("the driver handles replies and events itself")
            }
        }
    }

    /// Starts what was gathered since the last time.
    pub fn flush(&mut self) {
        let Gathered { loads, lookups, checks } = std::mem::take(&mut self.gathered);
        if !checks.is_empty() {
            let done = self.completions.clone();
            self.signatures.verify(checks, move |op, verdict| answer(&done, Input::Verified { op, verdict }));
        }
        if !lookups.is_empty() {
            let (store, done) = (self.store.clone(), self.completions.clone());
            tokio::task::spawn_blocking(move || look_up(&store, lookups, &done));
        }
        let mut loads = loads.into_iter();
        loop {
            let some: Vec<(OpId, TxId)> = loads.by_ref().take(LOADS_PER_READ).collect();
            if some.is_empty() {
                return;
            }
            let (store, done, packing) = (self.store.clone(), self.completions.clone(), self.packing);
            tokio::task::spawn_blocking(move || {
                let (ops, ids): (Vec<OpId>, Vec<TxId>) = some.into_iter().unzip();
                for (op, found) in ops.into_iter().zip(load_envelopes(&store, &ids, packing)) {
                    answer(&done, Input::Loaded { op, found });
                }
            });
        }
    }

    fn read(&self, work: impl FnOnce(&Store) -> Input + Send + 'static) {
        let (store, done) = (self.store.clone(), self.completions.clone());
        tokio::task::spawn_blocking(move || answer(&done, work(&store)));
    }
}

/// The driver may have ended; then nobody waits for the answer.
fn answer(completions: &mpsc::UnboundedSender<Input>, input: Input) {
    drop(completions.send(input));
}

fn report(op: OpId, fault: &StoreFault) {
    tracing::warn!(op = op.0, "the store did not do what it was asked: {fault}");
}

/// Answers all of them from one snapshot of the store.
fn look_up(store: &Store, lookups: Vec<(OpId, Vec<TxId>)>, done: &mpsc::UnboundedSender<Input>) {
    let ids: Vec<TxId> = lookups.iter().flat_map(|(_, ids)| ids).copied().collect();
    // A store that cannot be read holds nothing as far as others are concerned.
    let held = store.contains(&ids).unwrap_or_else(|fault| {
        tracing::warn!("looking up {} transactions failed: {fault}", ids.len());
        vec![false; ids.len()]
    });
    let mut held = held.into_iter();
    for (op, ids) in lookups {
        answer(done, Input::LookedUp { op, held: held.by_ref().take(ids.len()).collect() });
    }
}

/// On the thread that reads, off the driver's loop.
fn packed(bytes: Bytes, packing: bool) -> Payload {
    if packing { sorcha_peer_wire::pack(bytes) } else { Payload::from(bytes) }
}

fn unreadable<T>(id: TxId, fault: &StoreFault) -> Option<T> {
    tracing::warn!(%id, "reading a transaction failed: {fault}");
    None
}

fn load_chunk(store: &Store, id: TxId, index: u32, packing: bool) -> Option<Loaded> {
    match store.chunk(&id, index) {
        Ok(found) => found.map(|(data, proof)| Loaded::Chunk { data: packed(data, packing), proof }),
        Err(fault) => unreadable(id, &fault),
    }
}

/// One answer for each id, in order.
fn load_envelopes(store: &Store, ids: &[TxId], packing: bool) -> Vec<Option<Loaded>> {
    let loaded = |found: Option<WithBody>| {
        let (stored, body) = found?;
        let body = body.map(|body| packed(body, packing));
        Some(Loaded::Envelope { envelope: stored.envelope, body })
    };
    match (store.transactions(ids, PUSH_BODY_BYTES_MAX as u64), ids) {
        (Ok(found), _) => found.into_iter().map(loaded).collect(),
        (Err(fault), [id]) => vec![unreadable(*id, &fault)],
        // One of them is damaged: the others are not.
        (Err(_), _) => {
            ids.iter().flat_map(|id| load_envelopes(store, std::slice::from_ref(id), packing)).collect()
        }
    }
}
