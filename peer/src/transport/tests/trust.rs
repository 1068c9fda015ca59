//! Who gets a link and who does not.

use jiff::{SignedDuration, Timestamp};
use sorcha_peer_core::event::DialError;

use super::{Peer, World, link};

/// Dials an honest peer of `ours` with the certificates of `tls`, and the other way round; both must come to
/// nothing, the honest side with `honest` in its sentence, the other being told that it was refused.
#[track_caller]
fn untrusted(error: &DialError, part: &str) {
    assert!(matches!(error, DialError::Untrusted(_)), "{error:?}");
    assert!(error.to_string().contains(part), "{error}\nwanted: {part}");
}

async fn refused(mut honest: Peer, mut other: Peer, part: &str) {
    honest.dial(1, &other);
    untrusted(&honest.dial_failed().await, part);
    // The other trusts the honest one; the answer to its own certificate comes after its handshake.
    other.dial(2, &honest);
    untrusted(&other.dial_failed().await, "it refuses this peer's certificate (CertificateUnknown)");
    assert!(honest.inputs.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_of_an_unknown_ca_is_refused_by_both_directions() {
    let (ours, theirs) = (World::new(), World::new());
    let other = Peer::start(theirs.tls("net", "mallory", Timestamp::now(), &[&ours]), 10).await;
    refused(ours.peer("alice").await, other, "is signed by an unknown CA").await;
}

#[tokio::test]
async fn an_expired_peer_is_refused_by_both_directions() {
    let past = Timestamp::now() - SignedDuration::from_hours(31 * 24);
    let world = World::at(past);
    let other = Peer::start(world.tls("net", "old", past, &[]), 10).await;
    refused(world.peer("alice").await, other, "spiffe://example.org/net/old expired at").await;
}

#[tokio::test]
async fn a_peer_from_the_future_is_refused_by_both_directions() {
    let world = World::new();
    let future = Timestamp::now() + SignedDuration::from_hours(24);
    let other = Peer::start(world.tls("net", "early", future, &[]), 10).await;
    refused(world.peer("alice").await, other, "spiffe://example.org/net/early is not valid before").await;
}

#[tokio::test]
async fn a_peer_of_another_network_is_refused_by_both_directions() {
    let world = World::new();
    let (mut alice, mut other) = (
        world.peer("alice").await,
        Peer::start(world.tls("elsewhere", "bob", Timestamp::now(), &[]), 10).await,
    );
    let part =
        "spiffe://example.org/elsewhere/bob belongs to the network 'elsewhere', and this peer to 'net'";
    alice.dial(1, &other);
    untrusted(&alice.dial_failed().await, part);
    other.dial(2, &alice);
    untrusted(&other.dial_failed().await, "belongs to the network 'net', and this peer to 'elsewhere'");
}

#[tokio::test]
async fn a_reload_is_used_by_the_next_handshake() {
    let world = World::new();
    let stranger = World::new();
    let tls = world.tls("net", "alice", Timestamp::now(), &[]);
    let mut alice = Peer::start(tls.clone(), 10).await;
    let mut bob = Peer::start(stranger.tls("net", "bob", Timestamp::now(), &[&world]), 10).await;
    alice.dial(1, &bob);
    untrusted(&alice.dial_failed().await, "unknown CA");
    // The same directory, written again with one more root.
    world.tls("net", "alice", Timestamp::now(), &[&stranger]);
    tls.reload(Timestamp::now()).unwrap();
    link(&mut alice, &mut bob).await;
    // And without it again: links are refused to whom they were granted before.
    world.tls("net", "alice", Timestamp::now(), &[]);
    tls.reload(Timestamp::now()).unwrap();
    bob.dial(2, &alice);
    untrusted(&bob.dial_failed().await, "it refuses this peer's certificate");
}
