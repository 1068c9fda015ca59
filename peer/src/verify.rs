//! Signing and checking on threads of their own: a bounded pool, so that a flood of signatures delays
//! nothing but other signatures.
//!
//! Knows keys, certificates and the bytes that are signed; does not know who asks or what follows. Own headers are
//! signed on a thread of their own, so that no flood of others' delays a submission.

mod batch;
mod sealer;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sorcha_peer_core::envelope::{Envelope, Header, Record, SignedRecord, certificate_digest};
use sorcha_peer_core::event::{Verdict, Verifiable};
use sorcha_peer_core::types::{PeerId, RECORD_DOMAIN, TX_DOMAIN, WallTime};
use sorcha_peer_pki::{Chain, CheckError, PublicKey, SpiffeId};

use self::batch::Signed;
use self::sealer::Sealer;
pub use self::sealer::{Pace, pace_of_commits};
use crate::clock::wall_now;
use crate::tls::{Material, TlsState};

/// Jobs that wait at most; one more is answered as not checked, without blame, and what it was about comes
/// again by reconciliation. Above the core's own bound of operations under way.
const QUEUE_MAX: usize = 16_384;
/// Signatures that one thread takes at once at most: waking it costs as much as a few hashes. Guess: 1.3 ms where each has to
/// be checked by itself.
const ITEMS_PER_JOB: usize = 16;
/// Certificates whose chain is remembered as checked; at the bound all are forgotten (about 1 KiB each).
const CHECKED_MAX: usize = 4_096;
/// Signatures over several headers that are remembered as good; at the bound all are forgotten (32 bytes each). Guess: the
/// headers of one travel together, but for those that are late.
const TREES_MAX: usize = 16_384;

/// Called with what the pool's threads share, or with `None` where the queue was full.
type Job = Box<dyn FnOnce(Option<&Shared>) + Send>;

/// The pool. Cheap to clone; its threads end with the last clone.
#[derive(Debug, Clone)]
pub struct SignaturePool {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
    sealer: Arc<Sealer>,
    threads: usize,
}

/// What the threads share.
struct Shared {
    tls: Arc<TlsState>,
    checked: Mutex<CheckedCertificates>,
    /// SHA-256 over certificate, signature and what it signs, of signatures over several headers that hold.
    trees: Mutex<HashSet<[u8; 32]>>,
}

/// Chains that held, for the trust bundle they were checked against.
#[derive(Default)]
struct CheckedCertificates {
    bundle: Option<Arc<Material>>,
    by_digest: HashMap<[u8; 32], Chain>,
}

impl SignaturePool {
    /// Starts `threads` threads (at least one).
    pub fn start(tls: Arc<TlsState>, threads: usize, pace: Pace) -> std::io::Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by `waiting`: a bounded channel takes room for all that may wait from the start"
        )]
        let (jobs, queue) = channel::<Job>();
        let waiting = Arc::<AtomicUsize>::default();
        let queue = Arc::new(Mutex::new(queue));
        let sealer = Arc::new(Sealer::start(Arc::clone(&tls), pace)?);
        let shared = Arc::new(Shared { tls, checked: Mutex::default(), trees: Mutex::default() });
        let threads = threads.max(1);
        for number in 0..threads {
            let (queue, waiting, shared) = (Arc::clone(&queue), Arc::clone(&waiting), Arc::clone(&shared));
            std::thread::Builder::new()
                .name(format!("signatures-{number}"))
                .spawn(move || work(&queue, &waiting, &shared))?;
        }
        Ok(Self { jobs, waiting, sealer, threads })
    }

    /// Encodes and signs a header with the key of the moment, together with others that wait.
    pub fn seal(&self, header: Header, done: impl FnOnce(Result<Arc<Envelope>, String>) + Send + 'static) {
        self.sealer.seal(header, Box::new(done));
    }

    /// Encodes and signs a record of this peer's.
    pub fn seal_record(
        &self,
        record: Record,
        done: impl FnOnce(Result<Arc<SignedRecord>, String>) + Send + 'static,
    ) {
        self.push(Box::new(move |shared| {
            done(shared.map_or_else(busy, |shared| seal_record(&shared.tls.current(), record)));
        }));
    }

    /// Checks signature, chain, identity and validity of each, on all threads; `done` hears of each by its number.
    pub fn verify<N: Send + 'static>(
        &self,
        items: Vec<(N, Verifiable)>,
        done: impl Fn(N, Verdict) + Clone + Send + 'static,
    ) {
        let each = items.len().div_ceil(self.threads).clamp(1, ITEMS_PER_JOB);
        let mut items = items.into_iter();
        loop {
            let some: Vec<(N, Verifiable)> = items.by_ref().take(each).collect();
            if some.is_empty() {
                return;
            }
            let done = done.clone();
            self.push(Box::new(move |shared| {
                for (number, item) in some {
                    let verdict = match shared {
                        Some(shared) => guarded(|| shared.verify(&item)),
                        None => Verdict::Untrusted(
                            "it was not checked: too many signatures are waiting".to_owned(),
                        ),
                    };
                    done(number, verdict);
                }
            }));
        }
    }

    fn push(&self, job: Job) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return job(None);
        }
        // Disconnected: the threads have ended, so the process is ending; the job answers the same.
        if let Err(SendError(job)) = self.jobs.send(job) {
            job(None);
        }
    }
}

/// A check that panics has met what nobody thought of: no signature of ours. It costs neither the thread nor the
/// answer that the core waits for.
fn guarded(check: impl FnOnce() -> Verdict) -> Verdict {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check))
        .unwrap_or_else(|_| Verdict::Forged("the check of its certificate broke off".to_owned()))
}

fn busy<T>() -> Result<T, String> {
    Err("too many signatures are waiting: try again in a moment".to_owned())
}

fn work(queue: &Mutex<Receiver<Job>>, waiting: &AtomicUsize, shared: &Shared) {
    loop {
        let job = lock(queue).recv();
        let Ok(job) = job else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        job(Some(shared));
    }
}

/// Nothing is left half done by a panic while these locks are held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sign(material: &Material, message: &[u8]) -> Result<Bytes, String> {
    material.key.sign(message).map(Bytes::from).map_err(|error| error.to_string())
}

fn seal_record(material: &Material, record: Record) -> Result<Arc<SignedRecord>, String> {
    let signed = sorcha_peer_wire::encode_record(&record);
    let signature = sign(material, &[RECORD_DOMAIN, &signed].concat())?;
    let peer = record.peer();
    Ok(Arc::new(SignedRecord {
        peer,
        record,
        signed,
        signature,
        certificate: Bytes::copy_from_slice(&material.certificate),
    }))
}

/// What is claimed, and by which bytes.
struct Claim<'a> {
    certificate: &'a [u8],
    peer: PeerId,
    /// That its signer must be of: the header's, or for a record this peer's own.
    network: &'a str,
    at: WallTime,
}

impl Shared {
    fn verify(&self, item: &Verifiable) -> Verdict {
        match item {
            Verifiable::Envelope(envelope) => self.check_envelope(envelope),
            Verifiable::Record(record) => {
                let material = self.tls.current();
                let claim = Claim {
                    certificate: &record.certificate,
                    peer: record.peer,
                    network: material.uri.network(),
                    at: wall_now(),
                };
                let message = [RECORD_DOMAIN, &record.signed].concat();
                self.signer(&claim)
                    .and_then(|signer| signer.signed(&message, &record.signature))
                    .map_or_else(|verdict| verdict, |()| Verdict::Valid)
            }
        }
    }

    fn check_envelope(&self, envelope: &Envelope) -> Verdict {
        let header = envelope.header();
        let claim = Claim {
            certificate: envelope.certificate(),
            peer: header.origin,
            network: &header.network,
            at: header.published,
        };
        let signer = match self.signer(&claim) {
            Ok(signer) => signer,
            Err(verdict) => return verdict,
        };
        let held = match batch::read(&envelope.id(), envelope.signature()) {
            Signed::Alone(der) => signer.signed(&[TX_DOMAIN, envelope.signed()].concat(), der),
            Signed::Among { message, der } => {
                let tree = tree_key(&signer.digest, &message, der);
                if lock(&self.trees).contains(&tree) {
                    return Verdict::Valid;
                }
                signer.signed(&message, der).inspect(|()| {
                    let mut trees = lock(&self.trees);
                    if trees.len() >= TREES_MAX {
                        trees.clear();
                    }
                    trees.insert(tree);
                })
            }
            Signed::Malformed => {
                let uri = &signer.uri;
                Err(Verdict::Forged(format!("the signature in the name of {uri} is of no known form")))
            }
        };
        held.map_or_else(|verdict| verdict, |()| Verdict::Valid)
    }

    /// Who signed, where the certificate is that of who is named.
    fn signer(&self, claim: &Claim<'_>) -> Result<Signer, Verdict> {
        let signer = match self.identity(claim.certificate, claim.at) {
            Ok(signer) => signer,
            Err(error) if error.is_a_matter_of_trust() => return Err(Verdict::Untrusted(error.to_string())),
            Err(error) => return Err(Verdict::Forged(error.to_string())),
        };
        let uri = &signer.uri;
        if PeerId::of_uri(uri.as_str()) != claim.peer {
            return Err(Verdict::Forged(format!("it is signed by {uri}, who is not the peer that it names")));
        }
        if claim.network != uri.network() {
            let network = claim.network;
            return Err(Verdict::Forged(format!(
                "it is of the network '{network}', its signer {uri} is not"
            )));
        }
        Ok(signer)
    }

    /// Whose certificate this is, where its chain, root included, holds at that time.
    fn identity(&self, certificate: &[u8], at: WallTime) -> Result<Signer, CheckError> {
        let at = timestamp(at);
        let material = self.tls.current();
        let digest = *certificate_digest(certificate).as_bytes();
        {
            let mut checked = lock(&self.checked);
            if checked.bundle.as_ref().is_none_or(|bundle| !Arc::ptr_eq(bundle, &material)) {
                *checked = CheckedCertificates { bundle: Some(Arc::clone(&material)), ..Default::default() };
            }
            if let Some(known) = checked.by_digest.get(&digest)
                && (known.not_before..=known.not_after).contains(&at)
            {
                return Ok(Signer { uri: known.uri.clone(), key: known.key.clone(), digest });
            }
        }
        let chain = material.bundle.check_chain(certificate, &[] as &[&[u8]], at)?;
        let signer = Signer { uri: chain.uri.clone(), key: chain.key.clone(), digest };
        let mut checked = lock(&self.checked);
        if checked.bundle.as_ref().is_none_or(|bundle| !Arc::ptr_eq(bundle, &material)) {
            // The roots were swapped meanwhile: this answer holds, but not for the next one who asks.
            return Ok(signer);
        }
        if checked.by_digest.len() >= CHECKED_MAX {
            checked.by_digest.clear();
        }
        checked.by_digest.insert(digest, chain);
        Ok(signer)
    }
}

/// Whose certificate it is, its key, and its SHA-256.
struct Signer {
    uri: SpiffeId,
    key: PublicKey,
    digest: [u8; 32],
}

impl Signer {
    fn signed(&self, message: &[u8], signature: &[u8]) -> Result<(), Verdict> {
        self.key
            .verify(message, signature)
            .map_err(|error| Verdict::Forged(format!("signed in the name of {}: {error}", self.uri)))
    }
}

/// By which a signature over several headers is remembered.
fn tree_key(certificate: &[u8; 32], message: &[u8], der: &[u8]) -> [u8; 32] {
    // Certificate and message are of a fixed length.
    Sha256::new().chain_update(certificate).chain_update(message).chain_update(der).finalize().into()
}

/// Times beyond what a calendar holds are no time at which any certificate is valid.
fn timestamp(at: WallTime) -> Timestamp {
    i64::try_from(at.as_unix_ms())
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
