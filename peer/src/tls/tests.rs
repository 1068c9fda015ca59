//! What a directory of certificates must be to be taken.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sorcha_peer_pki::authority::ROOT_VALIDITY;
use sorcha_peer_pki::{Authority, IssueRequest, SpiffeId, files};

use super::{TlsState, follow};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn identity(name: &str) -> SpiffeId {
    SpiffeId::new("example.org", "net", name).unwrap()
}

fn authority() -> Authority {
    Authority::generate("example.org", now(), ROOT_VALIDITY).unwrap()
}

fn write(directory: &Path, authority: &Authority, uri: SpiffeId, from: Timestamp) {
    let issued = authority.issue(&IssueRequest::new(uri, from)).unwrap();
    files::write_identity(directory, &issued, authority.certificate_pem()).unwrap();
}

#[test]
fn a_good_directory_is_taken_and_a_reload_swaps_it() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority();
    write(directory.path(), &authority, identity("alice"), now());
    let state = TlsState::load(directory.path(), identity("alice"), now()).unwrap();
    let first = state.current();
    assert_eq!(first.uri, identity("alice"));
    assert!(first.not_before < now() && now() < first.not_after);
    assert_eq!(first.server.send_tls13_tickets, 0);

    write(directory.path(), &authority, identity("alice"), now());
    state.reload(now()).unwrap();
    assert_ne!(state.current().certificate, first.certificate);

    let second = state.current();
    std::fs::remove_file(directory.path().join(files::KEY_FILE)).unwrap();
    assert!(state.reload(now()).is_err());
    assert_eq!(state.current().certificate, second.certificate);
}

#[test]
fn a_wrong_directory_is_refused_with_the_file_and_the_reason() {
    /// `change` spoils a good directory of alice's.
    #[track_caller]
    fn check(change: impl FnOnce(&Path, &Authority), wanted: &str) {
        let directory = tempfile::tempdir().unwrap();
        let authority = authority();
        write(directory.path(), &authority, identity("alice"), now());
        change(directory.path(), &authority);
        let error = TlsState::load(directory.path(), identity("alice"), now()).unwrap_err().to_string();
        assert!(error.contains(wanted), "\n{error}\nwanted: {wanted}");
    }
    let file =
        |directory: &Path, name: &str, content: &str| std::fs::write(directory.join(name), content).unwrap();
    for name in [files::CERTIFICATE_FILE, files::KEY_FILE, files::TRUST_FILE] {
        check(
            |directory, _| std::fs::remove_file(directory.join(name)).unwrap(),
            &format!("{name} cannot be read: No such file"),
        );
    }
    check(
        |directory, _| {
            for name in [files::CERTIFICATE_FILE, files::KEY_FILE] {
                std::fs::remove_file(directory.join(name)).unwrap();
            }
        },
        "holds no certificate for this peer: neither tls.crt with tls.key nor alice.crt with alice.key is there",
    );
    check(
        |directory, _| {
            std::fs::rename(directory.join("tls.crt"), directory.join("alice.crt")).unwrap();
            std::fs::remove_file(directory.join("tls.key")).unwrap();
        },
        "alice.key cannot be read: No such file",
    );
    check(|directory, _| std::fs::remove_dir_all(directory).unwrap(), "cannot be read: No such file");
    check(|directory, _| file(directory, "tls.crt", ""), "tls.crt is not usable: it holds no certificate");
    check(|directory, _| file(directory, "tls.key", ""), "tls.key is not usable: it holds no private key");
    check(
        |directory, _| file(directory, "ca.crt", ""),
        "ca.crt is not usable: the trust bundle is not readable",
    );
    check(
        |directory, authority| {
            let other = authority.issue(&IssueRequest::new(identity("alice"), now())).unwrap();
            file(directory, "tls.key", &other.key_pem);
        },
        "does not belong to the certificate in",
    );
    check(
        |directory, authority| write(directory, authority, identity("bob"), now()),
        "is the certificate of spiffe://example.org/net/bob, and this peer is configured as spiffe://example.org/net/alice",
    );
    check(
        |directory, authority| {
            write(directory, authority, SpiffeId::new("example.org", "other", "alice").unwrap(), now());
        },
        "change networkId, trustDomain or name",
    );
    check(
        |directory, _| {
            let from = now() - SignedDuration::from_hours(31 * 24);
            let old = Authority::generate("example.org", from, ROOT_VALIDITY).unwrap();
            write(directory, &old, identity("alice"), from);
        },
        "alice expired at",
    );
    check(
        |directory, authority| {
            write(directory, authority, identity("alice"), now() + SignedDuration::from_hours(1));
        },
        "alice is not valid before",
    );
    check(
        |directory, _| {
            file(
                directory,
                "ca.crt",
                Authority::generate("example.org", now(), ROOT_VALIDITY).unwrap().certificate_pem(),
            );
        },
        "is signed by an unknown CA",
    );
    check(
        |directory, _| {
            file(
                directory,
                "ca.crt",
                Authority::generate("other.org", now(), ROOT_VALIDITY).unwrap().certificate_pem(),
            );
        },
        "add the root of 'example.org' to ca.crt",
    );
}

/// The directory as Kubernetes mounts a Secret: names lead through `..data` to a directory that is swapped whole.
fn swap(directory: &Path, version: &str, write: impl FnOnce(&Path)) {
    let content = directory.join(version);
    write(&content);
    let fresh = directory.join("..data_new");
    std::os::unix::fs::symlink(&content, &fresh).unwrap();
    std::fs::rename(&fresh, directory.join("..data")).unwrap();
    for file in std::fs::read_dir(&content).unwrap() {
        let name = file.unwrap().file_name();
        let _there = std::os::unix::fs::symlink(Path::new("..data").join(&name), directory.join(&name));
    }
}

/// The Secret of a pool: every peer's certificate under its own name.
fn write_pool(directory: &Path, authority: &Authority, peers: &[&str], from: Timestamp) {
    for peer in peers {
        write(directory, authority, identity(peer), from);
        for (file, ending) in [(files::CERTIFICATE_FILE, "crt"), (files::KEY_FILE, "key")] {
            std::fs::rename(directory.join(file), directory.join(format!("{peer}.{ending}"))).unwrap();
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} was awaited"));
}

#[tokio::test]
async fn a_running_peer_follows_its_directory_and_keeps_what_was_good() {
    let directory = tempfile::tempdir().unwrap();
    let from = Timestamp::now();
    let authority = Authority::generate("example.org", from, ROOT_VALIDITY).unwrap();
    let renew = |version: &str| {
        swap(directory.path(), version, |content| write(content, &authority, identity("alice"), from));
    };
    renew("first");
    let state = Arc::new(TlsState::load(directory.path(), identity("alice"), from).unwrap());
    let first = state.current();
    let (told_in, told) = std::sync::mpsc::sync_channel(16);
    let following = tokio::spawn(follow(Arc::clone(&state), Duration::from_millis(10), move |material| {
        told_in.send(material.certificate.clone()).unwrap();
    }));

    renew("second");
    until("a renewal behind links", || state.current().certificate != first.certificate).await;
    let second = state.current();
    until("word of it", || told.try_recv() == Ok(second.certificate.clone())).await;

    swap(directory.path(), "broken", |content| {
        write(content, &authority, identity("alice"), from);
        std::fs::write(content.join(files::KEY_FILE), "no key").unwrap();
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    std::fs::remove_file(directory.path().join("..data")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(Arc::ptr_eq(&state.current(), &second), "what was good is used no longer");
    assert!(told.try_recv().is_err());

    renew("third");
    until("a renewal after a fault", || !Arc::ptr_eq(&state.current(), &second)).await;
    // Written in place, one file after the other.
    let third = state.current();
    write(&directory.path().join("third"), &authority, identity("alice"), from);
    until("a renewal in place", || state.current().certificate != third.certificate).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let last = state.current();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(Arc::ptr_eq(&state.current(), &last), "loaded again without a change");
    following.abort();
}

#[tokio::test]
async fn a_peer_takes_its_own_certificate_from_the_mounted_secret_of_its_pool() {
    let directory = tempfile::tempdir().unwrap();
    let from = Timestamp::now();
    let authority = Authority::generate("example.org", from, ROOT_VALIDITY).unwrap();
    let renew = |version: &str, peers: &[&str]| {
        swap(directory.path(), version, |content| write_pool(content, &authority, peers, from));
    };
    renew("first", &["alice", "bob"]);
    let load = |name: &str| TlsState::load(directory.path(), identity(name), from);
    assert_eq!(load("bob").unwrap().current().uri, identity("bob"));
    let sentence = load("carol").unwrap_err().to_string();
    assert!(sentence.contains("nor carol.crt with carol.key is there"), "{sentence}");

    let state = Arc::new(load("alice").unwrap());
    let first = state.current();
    let following = tokio::spawn(follow(Arc::clone(&state), Duration::from_millis(10), |_| {}));
    renew("second", &["alice", "bob", "carol"]);
    until("a renewal by name", || state.current().certificate != first.certificate).await;
    assert_eq!(load("carol").unwrap().current().uri, identity("carol"));

    // A directory of its own comes first, for those who write files by hand.
    let second = state.current();
    write(directory.path(), &authority, identity("alice"), from);
    until("a certificate of its own", || state.current().certificate != second.certificate).await;
    following.abort();
}

/// Between two files the kubelet swaps the directory: what is read is of one of the two.
#[test]
fn a_swap_while_the_files_are_read_mixes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority();
    swap(directory.path(), "0", |content| write_pool(content, &authority, &["alice"], now()));
    std::thread::scope(|threads| {
        let swapping = threads.spawn(|| {
            for version in 1..40 {
                swap(directory.path(), &version.to_string(), |content| {
                    write_pool(content, &authority, &["alice"], now());
                });
            }
        });
        let mut loads = 0;
        while !swapping.is_finished() || loads < 10 {
            TlsState::load(directory.path(), identity("alice"), now()).unwrap();
            loads += 1;
        }
    });
}
