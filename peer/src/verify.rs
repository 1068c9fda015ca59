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
use sorcha_peer_pki::{Chain, CheckError, SpiffeId, verify_signature};

use crate::clock::wall_now;
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
    by_digest: HashMap<[u8; 32], Chain>,
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
                Some(shared) => guarded(|| shared.verify(&item)),
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

/// A check that panics has met what nobody thought of: no signature of ours. It costs neither the thread nor the
/// answer that the core waits for.
fn guarded(check: impl FnOnce() -> Verdict) -> Verdict {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check))
        .unwrap_or_else(|_| Verdict::Forged("the check of its certificate broke off".to_owned()))
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
    /// That its signer must be of: the header's, or for a record this peer's own.
    network: String,
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
                network: envelope.header().network.clone(),
                at: envelope.header().published,
            },
            Verifiable::Record(record) => Claim {
                domain: RECORD_DOMAIN,
                signed: &record.signed,
                signature: &record.signature,
                certificate: &record.certificate,
                peer: record.peer,
                network: self.tls.current().uri.network().to_owned(),
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
        if claim.network != uri.network() {
            let network = &claim.network;
            return Verdict::Forged(format!("it is of the network '{network}', its signer {uri} is not"));
        }
        let message = [claim.domain, claim.signed].concat();
        match verify_signature(claim.certificate, &message, claim.signature) {
            Ok(()) => Verdict::Valid,
            Err(error) => Verdict::Forged(format!("signed in the name of {uri}: {error}")),
        }
    }

    /// Whose certificate this is, where its chain, root included, holds at that time.
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
        let chain = material.bundle.check_chain(certificate, &[] as &[&[u8]], at)?;
        let uri = chain.uri.clone();
        let mut checked = lock(&self.checked);
        if checked.bundle.as_ref().is_none_or(|bundle| !Arc::ptr_eq(bundle, &material)) {
            // The roots were swapped meanwhile: this answer holds, but not for the next one who asks.
            return Ok(uri);
        }
        if checked.by_digest.len() >= CHECKED_MAX {
            checked.by_digest.clear();
        }
        checked.by_digest.insert(digest, chain);
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use sorcha_peer_core::types::Hash;
    use sorcha_peer_pki::{Authority, IssueRequest, files};

    use super::*;

    const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

    fn authority(domain: &str) -> Authority {
        Authority::generate(domain, Timestamp::now(), 365 * DAY).expect("a CA can be made")
    }

    /// The TLS state of `uri` as issued by `authority`, trusting `trusted`.
    fn state(directory: &Path, authority: &Authority, trusted: &str, uri: &str) -> Arc<TlsState> {
        let uri: SpiffeId = uri.parse().expect("a SPIFFE URI");
        let issued = authority.issue(&IssueRequest::new(uri.clone(), Timestamp::now())).expect("issued");
        files::write_identity(directory, &issued, trusted).expect("written");
        Arc::new(TlsState::load(directory, uri, Timestamp::now()).expect("loaded"))
    }

    fn pool(tls: &Arc<TlsState>) -> SignaturePool {
        SignaturePool::start(Arc::clone(tls), 2).expect("threads start")
    }

    fn wait<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
        let (answer, answered) = sync_channel(1);
        ask(Box::new(move |value| answer.send(value).expect("somebody waits")));
        answered.recv_timeout(Duration::from_secs(10)).expect("an answer in time")
    }

    fn header(uri: &str, network: &str, published: WallTime) -> Header {
        Header {
            network: network.to_owned(),
            origin: PeerId::of_uri(uri),
            incarnation: 1,
            sequence: 1,
            register: "r".to_owned(),
            published,
            body_bytes: 0,
            body_root: Hash::from_bytes([0; 32]),
        }
    }

    const ALICE: &str = "spiffe://one.test/net/alice";

    /// What `checker` says of a header sealed by `sealer` and then spoilt.
    fn check(
        sealer: &SignaturePool,
        checker: &SignaturePool,
        header: Header,
        spoil: impl FnOnce(&Envelope) -> Envelope,
    ) -> Verdict {
        let envelope = wait(|done| sealer.seal(header, done)).expect("sealed");
        let item = Verifiable::Envelope(Arc::new(spoil(&envelope)));
        wait(|done| checker.verify(item, done))
    }

    #[test]
    fn what_is_sealed_here_is_valid_there_and_nothing_else_is() {
        let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let ca = authority("one.test");
        let alice = pool(&state(one.path(), &ca, ca.certificate_pem(), ALICE));
        let bob = pool(&state(two.path(), &ca, ca.certificate_pem(), "spiffe://one.test/net/bob"));
        let now = wall_now();
        let sound = header(ALICE, "net", now);
        // Twice: the second time the chain is remembered.
        for _ in 0..2 {
            assert_eq!(check(&alice, &bob, sound.clone(), Envelope::clone), Verdict::Valid);
        }
        let forged = |verdict: Verdict, says: &str| match verdict {
            Verdict::Forged(sentence) => assert!(sentence.contains(says), "{sentence}"),
            other => panic!("{other:?}, not forged: {says}"),
        };
        let other = header("spiffe://one.test/net/carol", "net", now);
        forged(check(&alice, &bob, other, Envelope::clone), "not the peer that it names");
        forged(check(&alice, &bob, header(ALICE, "other", now), Envelope::clone), "'other'");
        let changed = |envelope: &Envelope| {
            let mut signed = envelope.signed().to_vec();
            signed.push(0);
            let (signature, certificate) = (envelope.signature().clone(), envelope.certificate().clone());
            Envelope::new(envelope.header().clone(), signed.into(), signature, certificate)
        };
        forged(check(&alice, &bob, sound.clone(), changed), "signature");
        let garbage = |envelope: &Envelope| {
            let (signed, signature) = (envelope.signed().clone(), envelope.signature().clone());
            Envelope::new(envelope.header().clone(), signed, signature, Bytes::from_static(b"garbage"))
        };
        assert!(matches!(check(&alice, &bob, sound, garbage), Verdict::Forged(_)));
    }

    #[test]
    fn a_foreign_ca_and_a_time_outside_the_certificate_are_matters_of_trust() {
        let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let (ca, imposter) = (authority("one.test"), authority("one.test"));
        let alice = pool(&state(one.path(), &imposter, imposter.certificate_pem(), ALICE));
        let bob_tls = state(two.path(), &ca, ca.certificate_pem(), "spiffe://one.test/net/bob");
        let bob = pool(&bob_tls);
        let untrusted = |verdict| assert!(matches!(verdict, Verdict::Untrusted(_)), "{verdict:?}");
        untrusted(check(&alice, &bob, header(ALICE, "net", wall_now()), Envelope::clone));
        let long_ago = header("spiffe://one.test/net/bob", "net", WallTime::from_unix_ms(1));
        untrusted(check(&bob, &bob, long_ago, Envelope::clone));
        let never = header("spiffe://one.test/net/bob", "net", WallTime::from_unix_ms(u64::MAX));
        untrusted(check(&bob, &bob, never, Envelope::clone));
    }

    #[test]
    fn a_chain_is_forgotten_when_the_roots_are_swapped() {
        let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let (old, new) = (authority("one.test"), authority("one.test"));
        let alice = pool(&state(one.path(), &old, old.certificate_pem(), ALICE));
        let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
        let bob_tls = state(two.path(), &new, &both, "spiffe://one.test/net/bob");
        let bob = pool(&bob_tls);
        let sound = header(ALICE, "net", wall_now());
        assert_eq!(check(&alice, &bob, sound.clone(), Envelope::clone), Verdict::Valid);
        std::fs::write(two.path().join("ca.crt"), new.certificate_pem()).expect("written");
        bob_tls.reload(Timestamp::now()).expect("reloaded");
        assert!(matches!(check(&alice, &bob, sound, Envelope::clone), Verdict::Untrusted(_)));
    }

    #[test]
    fn a_check_that_breaks_off_is_answered() {
        let verdict = guarded(|| panic!("a test of what follows a panic"));
        assert!(matches!(verdict, Verdict::Forged(_)));
    }

    #[test]
    fn a_record_is_checked_for_its_own_network() {
        let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let ca = authority("one.test");
        let stranger = "spiffe://one.test/elsewhere/alice";
        for (uri, directory, valid) in [(ALICE, &one, true), (stranger, &two, false)] {
            let sealer = pool(&state(directory.path(), &ca, ca.certificate_pem(), uri));
            let record = Record {
                uri: uri.to_owned(),
                incarnation: 1,
                sequence: 1,
                addresses: Vec::new(),
                site: String::new(),
                leaving: false,
                software: String::new(),
            };
            let record = wait(|done| sealer.seal_record(record, done)).expect("sealed");
            let third = tempfile::tempdir().expect("dir");
            let checker = pool(&state(third.path(), &ca, ca.certificate_pem(), "spiffe://one.test/net/bob"));
            let verdict = wait(|done| checker.verify(Verifiable::Record(record), done));
            assert_eq!(verdict == Verdict::Valid, valid, "{uri}: {verdict:?}");
        }
    }
}
