//! Sealing and checking with real certificates.

use std::path::Path;
use std::sync::mpsc::sync_channel;
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
    SignaturePool::start(Arc::clone(tls), 2, Box::new(|| Duration::from_millis(2))).expect("threads start")
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

fn verdict_of(checker: &SignaturePool, item: Verifiable) -> Verdict {
    let (answer, answered) = sync_channel(1);
    checker.verify(vec![(7, item)], move |number, verdict| {
        assert_eq!(number, 7);
        answer.send(verdict).expect("somebody waits");
    });
    answered.recv_timeout(Duration::from_secs(10)).expect("an answer in time")
}

/// What `checker` says of a header sealed by `sealer` and then spoilt.
fn check(
    sealer: &SignaturePool,
    checker: &SignaturePool,
    header: Header,
    spoil: impl FnOnce(&Envelope) -> Envelope,
) -> Verdict {
    let envelope = wait(|done| sealer.seal(header, done)).expect("sealed");
    let item = Verifiable::Envelope(Arc::new(spoil(&envelope)));
    verdict_of(checker, item)
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
fn headers_that_come_together_are_signed_together_and_each_is_checked_alone() {
    let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let ca = authority("one.test");
    let alice = pool(&state(one.path(), &ca, ca.certificate_pem(), ALICE));
    let bob = pool(&state(two.path(), &ca, ca.certificate_pem(), "spiffe://one.test/net/bob"));
    let (answer, answered) = sync_channel(600);
    for sequence in 0..600 {
        let answer = answer.clone();
        let header = Header { sequence, ..header(ALICE, "net", wall_now()) };
        alice.seal(header, move |sealed| answer.send(sealed).expect("somebody waits"));
    }
    let sealed: Vec<Arc<Envelope>> = (0..600)
        .map(|_| answered.recv_timeout(Duration::from_secs(10)).expect("an answer in time").expect("sealed"))
        .collect();
    assert!(sealed.iter().map(|envelope| envelope.header().sequence).eq(0..600), "in order");
    let der: HashSet<&[u8]> = sealed
        .iter()
        .map(|envelope| match batch::read(&envelope.id(), envelope.signature()) {
            Signed::Alone(der) | Signed::Among { der, .. } => der,
            Signed::Malformed => panic!("not read"),
        })
        .collect();
    assert!((3..300).contains(&der.len()), "600 headers, at most 256 under one of {} signatures", der.len());

    let verdict = |envelope: Arc<Envelope>| verdict_of(&bob, Verifiable::Envelope(envelope));
    let items = (0..).zip(sealed.iter().cloned().map(Verifiable::Envelope)).collect();
    let (answer, answered) = sync_channel(600);
    bob.verify(items, move |number: usize, verdict| answer.send((number, verdict)).expect("somebody waits"));
    let mut verdicts: Vec<(usize, Verdict)> = (0..600)
        .map(|_| answered.recv_timeout(Duration::from_secs(10)).expect("an answer in time"))
        .collect();
    verdicts.sort_by_key(|(number, _)| *number);
    assert!(verdicts.into_iter().eq((0..600).map(|number| (number, Verdict::Valid))));
    let with = |of: usize, signature: Bytes| {
        let of = &sealed[of];
        Arc::new(Envelope::new(of.header().clone(), of.signed().clone(), signature, of.certificate().clone()))
    };
    let forged = |verdict: Verdict, says: &str| match verdict {
        Verdict::Forged(sentence) => assert!(sentence.contains(says), "{sentence}"),
        other => panic!("{other:?}, not forged: {says}"),
    };
    // The tree itself is remembered as good by now.
    let last = sealed[599].signature();
    assert_eq!(verdict(with(599, last.clone())), Verdict::Valid);
    forged(verdict(with(598, last.clone())), "signature");
    forged(verdict(with(599, last.slice(..7))), "no known form");
    forged(verdict(with(599, last.slice(..last.len() - 1))), "signature");
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
        let verdict = verdict_of(&checker, Verifiable::Record(record));
        assert_eq!(verdict == Verdict::Valid, valid, "{uri}: {verdict:?}");
    }
}
