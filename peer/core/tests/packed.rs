//! Bodies that travel packed: to those who read that, through relays as they came, and never to anybody else.

mod network;

use std::time::Duration;

use bytes::Bytes;
use network::Network;
use sorcha_peer_core::event::{Event, EvidenceKind};
use sorcha_peer_core::message::Message;
use sorcha_peer_core::payload::{Coding, Codings, Payload};
use sorcha_peer_core::types::bounds::CHUNK_BYTES;

const SECOND: Duration = Duration::from_secs(1);

/// Stands in for a codec, of which the core knows nothing.
fn half(plain: Bytes) -> Payload {
    let packed = plain.slice(..plain.len() / 2);
    Payload::packed(plain, Coding::Lz4Block, packed)
}

/// Peers that know one another; those of `older` say nothing of codings and read none.
fn linked(count: usize, older: &[usize]) -> Network {
    let mut network = Network::with(count, |at, config| {
        if older.contains(&at) {
            config.codings = Codings::NONE;
        }
    });
    network.packs = half;
    network.run_until(10 * SECOND, "all know all", |network| {
        network.nodes.iter().all(|node| node.peer().status().peers_known == count - 1)
    });
    network.run_for(5 * SECOND);
    network.trace.clear();
    network
}

/// Bodies and chunks that were sent from one to another, as (packed, all).
fn sent(network: &Network, matches: impl Fn(usize, usize) -> bool) -> (usize, usize) {
    let bodies = network.trace.iter().filter(|(from, to, _)| matches(*from, *to));
    let bodies: Vec<&Payload> = bodies.filter_map(|(_, _, message)| message.payload()).collect();
    (bodies.iter().filter(|body| body.coded().is_some()).count(), bodies.len())
}

#[test]
fn who_reads_packed_bodies_gets_them_and_an_older_peer_gets_plain_ones() {
    let mut network = linked(3, &[2]);
    for (token, at, bytes) in [(1, 0, 2000), (2, 0, 20 * CHUNK_BYTES), (3, 2, 2000), (4, 2, 20 * CHUNK_BYTES)]
    {
        let body = vec![token as u8; bytes];
        network.submit(at, token, body.clone());
        let id = network.accepted(at, token);
        network.run_until(20 * SECOND, "all hold it", |network| network.holders(&id) == 3);
        assert!(network.nodes.iter().all(|node| node.disk.body(&id) == Some(body.clone().into())));
    }
    let (packed, all) = sent(&network, |from, to| from == 0 && to == 1);
    assert!(packed > 0 && packed == all, "{packed} of {all} bodies went packed to the one who reads that");
    let (packed, all) = sent(&network, |from, to| from == 2 || to == 2);
    assert!(packed == 0 && all > 20, "{packed} of {all} bodies went packed to or from the older peer");
}

#[test]
fn relays_pass_a_body_on_as_it_came() {
    let mut network = linked(30, &[]);
    network.submit(3, 1, vec![5; 3000]);
    let id = network.accepted(3, 1);
    network.run_until(5 * SECOND, "all hold it", |network| network.holders(&id) == 30);
    let (packed, all) = sent(&network, |from, _| from != 3);
    assert!(all > 0, "there are relays among 30 peers");
    assert_eq!(packed, all);
    assert_eq!(network.nodes[29].disk.body(&id), Some(vec![5; 3000].into()));
}

#[test]
fn packed_bytes_that_do_not_unpack_are_a_bad_body_and_come_from_another() {
    let mut network = linked(3, &[]);
    network.tamper = Some(Box::new(|from, to, frame| {
        let garbled = match &frame.message {
            Message::Chunk { id, index, .. } => Some((*id, Some(*index))),
            Message::Push(push) if push.body.is_some() => Some((push.envelope.id(), None)),
            _ => None,
        };
        if let (0, 2, Some((id, chunk))) = (from, to, garbled) {
            frame.message = Message::Garbled { id, chunk, detail: "it is a bomb".into() };
        }
        true
    }));
    for (token, bytes) in [(1, 20 * CHUNK_BYTES), (2, 3000)] {
        network.submit(0, token, vec![9; bytes]);
        let id = network.accepted(0, token);
        let took = network.run_until(20 * SECOND, "all hold it", |network| network.holders(&id) == 3);
        assert!(
            bytes < CHUNK_BYTES || took < 2 * SECOND,
            "nobody waits for chunks that came broken: {took:?}"
        );
    }
    let origin = network.nodes[0].id();
    let told = |event: &Event| {
        matches!(event, Event::Evidence { peer, kind: EvidenceKind::BadBody, detail }
            if *peer == origin && detail.ends_with("it is a bomb"))
    };
    assert!(network.nodes[2].count(told) >= 2);
    assert!(network.nodes[1].count(told) == 0);
    assert_eq!(network.linked(), [2, 2, 2], "a bad body costs nobody his link");
}
