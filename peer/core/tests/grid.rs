//! From 24 peers on: rows, heads, two hops, lazy repair.

mod network;

use std::time::Duration;

use network::Network;
use sorcha_peer_core::event::Event;
use sorcha_peer_core::message::Message;
use sorcha_peer_core::types::bounds::CHUNK_BYTES;

const SECOND: Duration = Duration::from_secs(1);
const PEERS: usize = 40;

fn grid() -> Network {
    let mut network = Network::new(PEERS);
    let known =
        |network: &Network| network.nodes.iter().all(|node| node.peer().status().peers_known == PEERS - 1);
    network.run_until(10 * SECOND, "all know all", known);
    network.run_for(5 * SECOND);
    network
}

#[test]
fn forty_peers_stand_in_rows_and_a_transaction_takes_two_hops() {
    let mut network = grid();
    assert!(network.nodes.iter().all(|node| node.peer().status().rows == 8));
    network.trace.clear();
    network.submit(11, 1, b"hello".to_vec());
    let id = network.accepted(11, 1);
    let took = network.run_until(SECOND, "all hold it", |network| network.holders(&id) == PEERS);
    assert!(took <= 2 * network.delay, "{took:?}");
    network.run_for(5 * SECOND);
    let pushes = network.trace.iter().filter(|(_, _, message)| matches!(message, Message::Push(_))).count();
    assert_eq!(pushes, PEERS - 1);
    let hops = |node: &network::Node| {
        node.events.iter().find_map(|event| match event {
            Event::Received { hops, .. } => Some(*hops),
            _ => None,
        })
    };
    assert!(network.nodes.iter().filter_map(hops).all(|hops| hops <= 2));
}

fn sent(network: &Network, which: impl Fn(&Message) -> bool) -> usize {
    network.trace.iter().filter(|(_, _, message)| which(message)).count()
}

#[test]
fn the_chunks_of_a_body_of_64_kib_follow_its_header_through_two_hops() {
    let mut network = grid();
    network.trace.clear();
    network.submit(11, 1, vec![7; 4 * CHUNK_BYTES]);
    let id = network.accepted(11, 1);
    let took = network.run_until(SECOND, "all hold it", |network| network.holders(&id) == PEERS);
    assert!(took <= 2 * network.delay, "{took:?}");
    network.run_for(5 * SECOND);
    assert_eq!(sent(&network, |message| matches!(message, Message::Chunk { .. })), 4 * (PEERS - 1));
    assert_eq!(sent(&network, |message| matches!(message, Message::ChunkRequest { .. })), 0);
}

#[test]
fn a_larger_body_is_asked_for_and_goes_on_chunk_by_chunk_before_it_is_whole_or_durable() {
    let mut network = grid();
    network.trace.clear();
    let slow = network.nodes.len() - 1;
    // No head has it on its disk before all others hold it.
    network.submit(11, 1, vec![7; 40 * CHUNK_BYTES]);
    let id = network.accepted(11, 1);
    (0..=slow).filter(|node| *node != 11).for_each(|node| network.nodes[node].disk.slow = true);
    let all = |network: &Network| network.nodes.iter().all(|node| node.disk.has_come(&id));
    // Header and request; the second window of the origin is asked for when half of the first has come.
    let took = network.run_until(SECOND, "all have it in memory", all);
    assert!(took <= 8 * network.delay, "{took:?}");
    assert_eq!(sent(&network, |message| matches!(message, Message::Unavailable { .. })), 0);
    let chunks = sent(&network, |message| matches!(message, Message::Chunk { .. }));
    assert_eq!(chunks, 40 * (PEERS - 1));
}

#[test]
fn chunks_that_come_before_their_header_is_checked_are_kept_and_those_that_are_lost_asked_for() {
    let mut network = grid();
    network.trace.clear();
    let mut lost = 0;
    network.tamper = Some(Box::new(move |_, _, frame| {
        let is_first = matches!(frame.message, Message::Chunk { index: 2, .. }) && lost < 10;
        lost += u32::from(is_first);
        !is_first
    }));
    network.submit(11, 1, vec![7; 4 * CHUNK_BYTES]);
    let id = network.accepted(11, 1);
    network.run_until(10 * SECOND, "all hold it", |network| network.holders(&id) == PEERS);
    assert!(sent(&network, |message| matches!(message, Message::ChunkRequest { .. })) > 0);
    assert_eq!(network.nodes[0].disk.body(&id).map(|body| body.len()), Some(4 * CHUNK_BYTES));
}

#[test]
fn a_fifth_of_the_frames_lost_does_not_keep_anyone_out() {
    let mut network = grid();
    let mut counter = 0_u32;
    network.tamper = Some(Box::new(move |_, _, frame| {
        counter = counter.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let spared = matches!(frame.message, Message::Hello(_) | Message::Goodbye { .. });
        spared || counter >> 16 & 0xff >= 51
    }));
    for token in 0..20 {
        network.submit(token as usize, token, token.to_le_bytes().to_vec());
        network.run_for(SECOND / 10);
    }
    let ids: Vec<_> = (0..20).map(|token| network.accepted(token as usize, token)).collect();
    network.run_for(SECOND);
    let reached: usize = ids.iter().map(|id| network.holders(id)).sum();
    assert!(reached * 100 >= 99 * 20 * PEERS, "{reached} of {} after a second", 20 * PEERS);
    network
        .run_until(60 * SECOND, "all hold all", |network| ids.iter().all(|id| network.holders(id) == PEERS));
}

#[test]
fn a_member_whose_link_was_lost_is_not_forgotten_because_nobody_here_needs_it() {
    let mut network = grid();
    network.run_for(20 * SECOND);
    network.break_all();
    network.run_for(90 * SECOND);
    let forgotten: usize =
        network.nodes.iter().map(|node| node.count(|event| matches!(event, Event::PeerLeft { .. }))).sum();
    assert_eq!(forgotten, 0, "members that live were forgotten");
}
