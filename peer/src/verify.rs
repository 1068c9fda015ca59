//! Signing and checking on threads of their own: a bounded pool, so that a flood of signatures delays
//! nothing but other signatures.
//!
//! Knows keys, certificates and the bytes that are signed; does not know who asks or what follows.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sorcha_peer_core::envelope::{Envelope, Header, Record, SignedRecord};
use sorcha_peer_core::event::{Verdict, Verifiable};
use sorcha_peer_core::types::{PeerId, RECORD_DOMAIN, TX_DOMAIN, WallTime};
use sorcha_peer_pki::{CheckError, SpiffeId, describe, verify_signature};

use crate::driver::wall_now;
use crate::tls::{Material, TlsState};

/// Jobs that wait at most; one more is answered as not checked, without blame, and what it was about comes
/// again by reconciliation. Above the core's own bound of operations under way.
const QUEUE_MAX: usize = 16_384;
/// Certificates whose chain is remembered as checked; at the bound all are forgotten (about 1 KiB each).
const CHECKED_MAX: usize = 4_096;

/// Called with what the pool's threads share, or with `None` where the queue was full.
type Job = Box<dyn FnOnce(Option<&Shared>) + Send>;

/// The pool. Cheap to clone; its threads end with the last clone.
#[derive(Debug, Clone)]
pub struct SignaturePool {
    jobs: SyncSender<Job>,
}

/// What the threads share.
struct Shared {
    tls: Arc<TlsState>,
    checked: Mutex<CheckedCertificates>,
}

/// Chains that held, for the trust bundle they were checked against.
#[derive(Default)]
struct CheckedCertificates {
    bundle: Option<Arc<Material>>,
    by_digest: HashMap<[u8; 32], Checked>,
}

/// A certificate whose chain holds as long as it is valid itself.
#[derive(Clone)]
struct Checked {
    uri: SpiffeId,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl SignaturePool {
    /// Starts `threads` threads (at least one).
    pub fn start(tls: Arc<TlsState>, threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let shared = Arc::new(Shared { tls, checked: Mutex::default() });
        for number in 0..threads.max(1) {
            let (queue, shared) = (Arc::clone(&queue), Arc::clone(&shared));
            std::thread::Builder::new()
                .name(format!("signatures-{number}"))
                .spawn(move || work(&queue, &shared))?;
        }
        Ok(Self { jobs })
    }

    /// Encodes and signs a header with the key of the moment.
    pub fn seal(&self, header: Header, done: impl FnOnce(Result<Arc<Envelope>, String>) + Send + 'static) {
        self.push(Box::new(move |shared| {
            done(shared.map_or_else(busy, |shared| seal(&shared.tls.current(), header)));
        }));
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

    /// Checks signature, chain, identity and validity.
    pub fn verify(&self, item: Verifiable, done: impl FnOnce(Verdict) + Send + 'static) {
        self.push(Box::new(move |shared| {
            done(match shared {
                Some(shared) => shared.verify(&item),
                None => Verdict::Untrusted("it was not checked: too many signatures are waiting".to_owned()),
            });
        }));
    }

    fn push(&self, job: Job) {
        // Disconnected: the threads have ended, so the process is ending; the job answers the same.
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.jobs.try_send(job) {
            job(None);
        }
    }
}

fn busy<T>() -> Result<T, String> {
    Err("too many signatures are waiting: try again in a moment".to_owned())
}

fn work(queue: &Mutex<Receiver<Job>>, shared: &Shared) {
    loop {
        let job = lock(queue).recv();
        match job {
            Ok(job) => job(Some(shared)),
            Err(_) => return,
        }
    }
}

/// Nothing is left half done by a panic while these locks are held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sign(material: &Material, domain: &[u8], signed: &[u8]) -> Result<Bytes, String> {
    let signature = material.key.sign(&[domain, signed].concat()).map_err(|error| error.to_string())?;
    Ok(Bytes::from(signature))
}

fn seal(material: &Material, header: Header) -> Result<Arc<Envelope>, String> {
    let signed = sorcha_peer_wire::encode_header(&header);
    let signature = sign(material, TX_DOMAIN, &signed)?;
    Ok(Arc::new(Envelope::new(header, signed, signature, Bytes::copy_from_slice(&material.certificate))))
}

fn seal_record(material: &Material, record: Record) -> Result<Arc<SignedRecord>, String> {
    let signed = sorcha_peer_wire::encode_record(&record);
    let signature = sign(material, RECORD_DOMAIN, &signed)?;
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
    domain: &'static [u8],
    signed: &'a [u8],
    signature: &'a [u8],
    certificate: &'a [u8],
    peer: PeerId,
    network: Option<&'a str>,
    at: WallTime,
}

impl Shared {
    fn verify(&self, item: &Verifiable) -> Verdict {
        let claim = match item {
            Verifiable::Envelope(envelope) => Claim {
                domain: TX_DOMAIN,
                signed: envelope.signed(),
                signature: envelope.signature(),
                certificate: envelope.certificate(),
                peer: envelope.header().origin,
                network: Some(&envelope.header().network),
                at: envelope.header().published,
            },
            Verifiable::Record(record) => Claim {
                domain: RECORD_DOMAIN,
                signed: &record.signed,
                signature: &record.signature,
                certificate: &record.certificate,
                peer: record.peer,
                network: None,
                at: wall_now(),
            },
        };
        self.check(&claim)
    }

    fn check(&self, claim: &Claim<'_>) -> Verdict {
        let uri = match self.identity(claim.certificate, claim.at) {
            Ok(uri) => uri,
            Err(error) if error.is_a_matter_of_trust() => return Verdict::Untrusted(error.to_string()),
            Err(error) => return Verdict::Forged(error.to_string()),
        };
        if PeerId::of_uri(uri.as_str()) != claim.peer {
            return Verdict::Forged(format!("it is signed by {uri}, who is not the peer that it names"));
        }
        if let Some(network) = claim.network
            && network != uri.network()
        {
            return Verdict::Forged(format!("it is of the network '{network}', its signer {uri} is not"));
        }
        let message = [claim.domain, claim.signed].concat();
        match verify_signature(claim.certificate, &message, claim.signature) {
            Ok(()) => Verdict::Valid,
            Err(error) => Verdict::Forged(format!("signed in the name of {uri}: {error}")),
        }
    }

    /// Whose certificate this is, where its chain holds at that time.
    fn identity(&self, certificate: &[u8], at: WallTime) -> Result<SpiffeId, CheckError> {
        let at = timestamp(at);
        let material = self.tls.current();
        let digest: [u8; 32] = Sha256::digest(certificate).into();
        {
            let mut checked = lock(&self.checked);
            if checked.bundle.as_ref().is_none_or(|bundle| !Arc::ptr_eq(bundle, &material)) {
                *checked = CheckedCertificates { bundle: Some(Arc::clone(&material)), ..Default::default() };
            }
            if let Some(known) = checked.by_digest.get(&digest)
                && (known.not_before..=known.not_after).contains(&at)
            {
                return Ok(known.uri.clone());
            }
        }
        let uri = material.bundle.check_leaf(certificate, &[] as &[&[u8]], at)?;
        let description = describe(certificate)?;
        let mut checked = lock(&self.checked);
        if checked.by_digest.len() >= CHECKED_MAX {
            checked.by_digest.clear();
        }
        let (not_before, not_after) = (description.not_before, description.not_after);
        checked.by_digest.insert(digest, Checked { uri: uri.clone(), not_before, not_after });
        Ok(uri)
    }
}

/// Times beyond what a calendar holds are no time at which any certificate is valid.
fn timestamp(at: WallTime) -> Timestamp {
    i64::try_from(at.as_unix_ms())
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}
