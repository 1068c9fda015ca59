//! Certificates by reference: to those who read that and know the record, and whole where anything is in doubt.

mod network;

use std::time::Duration;

use bytes::Bytes;
use network::Network;
use sorcha_peer_core::envelope::{Carried, certificate_digest};
use sorcha_peer_core::event::{Event, EvidenceKind};
use sorcha_peer_core::message::Message;
use sorcha_peer_core::types::bounds::CHUNK_BYTES;
use sorcha_peer_core::types::{Hash, TxId};

const SECOND: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(2);
/// A round trip for the push, another one for the whole, and waits for company; no resend comes as soon.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Peers that know one another for longer than `AFTER`; those of `older` say nothing of references.
fn linked(count: usize, older: &[usize]) -> Network {
    let mut network = Network::with(count, |at, config| {
        config.references_after = Some(AFTER).filter(|_| !older.contains(&at));
    });
    know_one_another(&mut network);
    network
}

fn know_one_another(network: &mut Network) {
    let count = network.nodes.len();
    network.run_until(10 * SECOND, "all know all", |network| {
        network.nodes.iter().all(|node| node.peer().status().peers_known == count - 1)
    });
    network.run_for(5 * SECOND);
    network.trace.clear();
}

fn submit(network: &mut Network, at: usize, token: u64, bytes: usize) -> TxId {
    network.submit(at, token, vec![token as u8; bytes]);
    network.accepted(at, token)
}

/// Pushes from one to another, as (by reference, all).
fn pushes(network: &Network, matches: impl Fn(usize, usize) -> bool) -> (usize, usize) {
    let pushes = network.trace.iter().filter_map(|(from, to, message)| match message {
        Message::Push(push) if matches(*from, *to) => Some(matches!(push.envelope, Carried::Referring(_))),
        _ => None,
    });
    let pushes: Vec<bool> = pushes.collect();
    (pushes.iter().filter(|refers| **refers).count(), pushes.len())
}

fn asked_for_whole(network: &Network, from: usize, to: usize) -> usize {
    let asks = network.trace.iter().filter(|(by, of, message)| {
        (*by, *of) == (from, to) && matches!(message, Message::Fetch { whole: true, .. })
    });
    asks.count()
}

fn accused(network: &Network) -> Vec<(usize, EvidenceKind)> {
    let of = |event: &Event| match event {
        Event::Evidence { kind, .. } => Some(*kind),
        _ => None,
    };
    let nodes = network.nodes.iter().enumerate();
    nodes.flat_map(|(at, node)| node.events.iter().filter_map(of).map(move |kind| (at, kind))).collect()
}

/// What every node stores carries its certificate.
fn all_is_whole(network: &Network, certificate: &[u8]) -> bool {
    network
        .nodes
        .iter()
        .all(|node| node.disk.held.values().all(|(held, _)| held.certificate() == certificate))
}

/// References on the way from one to another lead to nothing.
fn misleads(network: &mut Network, matches: impl Fn(usize, usize) -> bool + 'static) {
    network.tamper = Some(Box::new(move |from, to, frame| {
        if let Message::Push(push) = &mut frame.message
            && let Carried::Referring(referring) = &push.envelope
            && matches(from, to)
        {
            let whole = referring.with(Bytes::new());
            push.envelope = Carried::Referring(whole.referring(Hash::from_bytes([9; 32])));
        }
        true
    }));
}

#[test]
fn who_knows_the_record_gets_a_reference_and_holds_the_whole() {
    let mut network = linked(4, &[]);
    for (token, at, bytes) in [(1, 0, 256), (2, 3, 256), (3, 1, 20 * CHUNK_BYTES)] {
        let id = submit(&mut network, at, token, bytes);
        network.run_until(5 * SECOND, "all hold it", |network| network.holders(&id) == 4);
    }
    let (referring, all) = pushes(&network, |_, _| true);
    assert!(all >= 9 && referring == all, "{referring} of {all} pushes refer to their certificate");
    assert!(all_is_whole(&network, b"c"));
    assert_eq!(accused(&network), []);
}

#[test]
fn what_is_not_known_for_long_enough_travels_whole() {
    let mut network = Network::new(3);
    know_one_another(&mut network);
    for (token, wait, refers) in [(1, 0, false), (2, 2, false), (3, 20, true)] {
        network.run_for(wait * SECOND);
        network.trace.clear();
        let id = submit(&mut network, 0, token, 256);
        network.run_until(SECOND, "all hold it", |network| network.holders(&id) == 3);
        let (referring, all) = pushes(&network, |_, _| true);
        assert_eq!(referring, if refers { all } else { 0 }, "of {all} pushes of transaction {token}");
    }
}

#[test]
fn an_older_peer_gets_whole_certificates_and_refers_to_none() {
    let mut network = linked(3, &[2]);
    for at in 0..3 {
        let id = submit(&mut network, at, at as u64, 256);
        network.run_until(5 * SECOND, "all hold it", |network| network.holders(&id) == 3);
    }
    assert_eq!(pushes(&network, |from, to| from == 2 || to == 2).0, 0);
    let (referring, all) = pushes(&network, |from, to| from != 2 && to != 2);
    assert!(all > 0 && referring == all, "{referring} of {all}");
}

#[test]
fn a_reference_to_one_who_reads_none_breaks_the_protocol_and_loses_nothing() {
    let mut network = linked(2, &[1]);
    let mut is_first = true;
    network.tamper = Some(Box::new(move |from, _, frame| {
        if let Message::Push(push) = &mut frame.message
            && let Carried::Whole(envelope) = &push.envelope
            && from == 0
            && std::mem::take(&mut is_first)
        {
            push.envelope = Carried::Referring(envelope.referring(certificate_digest(b"c")));
        }
        true
    }));
    let id = submit(&mut network, 0, 1, 256);
    network.run_until(2 * SECOND, "it is sent again", |network| network.holders(&id) == 2);
    assert_eq!(accused(&network), [(1, EvidenceKind::Protocol)]);
}

#[test]
fn what_a_reference_does_not_lead_to_comes_whole_within_a_round_trip_and_nobody_is_blamed() {
    let mut network = linked(3, &[]);
    misleads(&mut network, |from, to| (from, to) == (0, 2));
    for (token, bytes) in [(1, 256), (2, 20 * CHUNK_BYTES)] {
        let id = submit(&mut network, 0, token, bytes);
        let took = network.run_until(5 * SECOND, "all hold it", |network| network.holders(&id) == 3);
        assert!(bytes > CHUNK_BYTES || took < AT_ONCE, "{took:?}");
        // For a while there are no more references to the one who could not follow them.
        let asked = asked_for_whole(&network, 2, 0);
        let next = submit(&mut network, 0, 10 + token, 256);
        network.run_until(SECOND, "all hold it", |network| network.holders(&next) == 3);
        assert_eq!(asked_for_whole(&network, 2, 0), asked);
        network.run_for(AFTER);
    }
    assert_eq!(asked_for_whole(&network, 2, 0), 2);
    assert_eq!(pushes(&network, |from, to| (from, to) == (0, 2)), (2, 6), "nothing is sent again");
    assert_eq!(network.nodes[2].count(|event| matches!(event, Event::Unresolved { .. })), 2);
    assert_eq!(asked_for_whole(&network, 1, 0), 0);
    assert!(all_is_whole(&network, b"c"));
    assert_eq!(accused(&network), []);
}

#[test]
fn who_has_not_learned_the_record_asks_the_one_who_passed_it_on() {
    let mut network = Network::with(3, |_, config| {
        config.references_after = Some(AFTER);
        config.bootstrap = vec![sorcha_peer_core::types::Address::new("p1:7450")];
    });
    network.cut.insert((0, 2));
    let origin = network.nodes[0].id();
    network.tamper = Some(Box::new(move |_, to, frame| {
        if let Message::Records { records, .. } = &mut frame.message
            && to == 2
        {
            records.retain(|record| record.peer != origin);
        }
        true
    }));
    network.run_for(10 * SECOND);
    network.trace.clear();
    let id = submit(&mut network, 0, 1, 256);
    network.run_until(SECOND, "all hold it", |network| network.holders(&id) == 3);
    assert!(pushes(&network, |from, to| (from, to) == (1, 2)).0 > 0, "it came by reference first");
    assert_eq!(asked_for_whole(&network, 2, 1), 1);
    assert_eq!(accused(&network), []);
}

#[test]
fn who_refers_to_nothing_and_gives_nothing_is_held_to_it() {
    let mut network = linked(2, &[]);
    network.tamper = Some(Box::new(|from, _, frame| {
        if let Message::Push(push) = &mut frame.message
            && from == 0
        {
            let Carried::Referring(referring) = &push.envelope else { return false };
            let whole = referring.with(Bytes::new());
            push.envelope = Carried::Referring(whole.referring(Hash::from_bytes([9; 32])));
        }
        !(from == 0 && matches!(frame.message, Message::Sync(_)))
    }));
    for token in 0..3 {
        submit(&mut network, 0, token, 256);
    }
    network.run_for(5 * SECOND);
    assert_eq!(accused(&network), [(1, EvidenceKind::Unanswered); 3]);
    assert_eq!(network.linked(), [1, 1]);
    assert_eq!(network.nodes[1].disk.held.len(), 0);
    // Nothing was acknowledged that is not held, so nothing is lost.
    network.tamper = None;
    network.run_until(60 * SECOND, "it comes by reconciliation", |network| {
        network.nodes[1].disk.held.len() == 3
    });
}

#[test]
fn a_relay_gives_the_whole_before_it_is_durable_there_and_rows_are_served() {
    let mut network = linked(30, &[]);
    misleads(&mut network, |_, _| true);
    for node in network.nodes.iter_mut().skip(1) {
        node.disk.slow = true;
    }
    let id = submit(&mut network, 0, 1, 256);
    network.run_for(SECOND / 5);
    (1..30).for_each(|at| network.flush(at));
    assert_eq!(network.holders(&id), 30, "it was on its way into every one of them");
    assert!(pushes(&network, |from, _| from != 0).0 > 0, "there are relays among 30 peers");
    assert_eq!(accused(&network), []);
}

#[test]
fn a_renewed_certificate_travels_whole_until_its_record_is_known() {
    let mut network = Network::with(3, |_, config| {
        config.references_after = Some(AFTER);
        config.refresh_interval = 20 * SECOND;
    });
    know_one_another(&mut network);
    network.nodes[0].certificate = Bytes::from_static(b"renewed");
    let (mut seen, mut known) = (Vec::new(), Vec::new());
    let origin = network.nodes[0].id();
    for token in 0..40 {
        network.trace.clear();
        known.push(network.nodes[1].disk.records[&origin].certificate == "renewed");
        let id = submit(&mut network, 0, token, 256);
        network.run_until(SECOND, "all hold it", |network| network.holders(&id) == 3);
        let (referring, all) = pushes(&network, |_, _| true);
        assert!(referring == 0 || referring == all, "{referring} of {all}");
        seen.push(referring > 0);
        network.run_for(SECOND);
    }
    let from = |which: &[bool]| which.iter().position(|is| *is).expect("at some time");
    assert!(from(&known) > 0 && from(&seen) >= from(&known) + 2, "known {known:?}, referred to {seen:?}");
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(all_is_whole(&network, b"renewed"));
    assert_eq!(
        network
            .nodes
            .iter()
            .map(|node| node.count(|event| matches!(event, Event::Unresolved { .. })))
            .sum::<usize>(),
        0
    );
}

#[test]
fn what_the_store_has_lost_of_its_own_is_resolved_by_the_own_record() {
    let mut network = Network::with(2, |_, config| config.references_after = Some(Duration::ZERO));
    know_one_another(&mut network);
    let id = submit(&mut network, 0, 1, 256);
    network.run_until(SECOND, "both hold it", |network| network.holders(&id) == 2);
    network.trace.clear();
    network.kill(0);
    network.nodes[0].disk.held.clear();
    network.start(0);
    network.run_until(60 * SECOND, "it is back", |network| network.holders(&id) == 2);
    assert_eq!(pushes(&network, |from, _| from == 1), (1, 1));
    assert_eq!(asked_for_whole(&network, 0, 1), 0);
    assert_eq!(accused(&network), []);
}
