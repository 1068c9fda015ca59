//! A handful of peers: links, dissemination, catching up, large bodies, leaving.

mod network;

use std::time::Duration;

use bytes::Bytes;
use network::Network;
use sorcha_peer_core::Input;
use sorcha_peer_core::event::{Event, EvidenceKind, StoreFault, SubmitRefused};
use sorcha_peer_core::message::Message;
use sorcha_peer_core::types::bounds::CHUNK_BYTES;
use sorcha_peer_core::view::State;

const SECOND: Duration = Duration::from_secs(1);

fn linked(count: usize) -> Network {
    let mut network = Network::new(count);
    network.run_until(3 * SECOND, "all are linked to all", |network| all_linked(network, count));
    network.run_for(3 * SECOND);
    assert!(all_linked(&network, count));
    network
}

fn all_linked(network: &Network, count: usize) -> bool {
    network.linked().iter().all(|linked| *linked == count - 1)
}

#[test]
fn five_peers_link_all_to_all_from_one_bootstrap() {
    let network = linked(5);
    assert_eq!(network.open_links(), 5 * 4 / 2, "one link for each pair");
    for node in &network.nodes {
        let status = node.peer().status();
        assert_eq!((status.state, status.peers_known, status.rows), (State::Online, 4, 1));
        let ids: Vec<_> = node.peer().peers().iter().map(|peer| peer.id).collect();
        assert!(ids.is_sorted() && node.peer().peers().iter().all(|peer| peer.link.is_some()));
    }
}

#[test]
fn peers_started_in_any_order_find_each_other() {
    let mut network = Network::with(4, |_, _| {});
    network.kill(0);
    network.run_for(5 * SECOND);
    assert_eq!(network.linked()[1..], [0, 0, 0]);
    assert_eq!(network.nodes[1].peer().status().state, State::Offline);
    network.start(0);
    network.run_until(32 * SECOND, "all are linked", |network| all_linked(network, 4));
}

#[test]
fn a_transaction_reaches_all_and_each_is_sent_it_once() {
    let mut network = linked(5);
    network.trace.clear();
    network.submit(2, 7, b"hello".to_vec());
    let id = network.accepted(2, 7);
    let took = network.run_until(SECOND, "all hold it", |network| network.holders(&id) == 5);
    assert!(took <= network.delay, "{took:?}");
    network.run_for(5 * SECOND);
    let pushes = network.trace.iter().filter(|(_, _, message)| matches!(message, Message::Push(_))).count();
    assert_eq!(pushes, 4);
    for (at, node) in network.nodes.iter().enumerate() {
        let received = node.count(|event| matches!(event, Event::Received { id: of, .. } if *of == id));
        assert_eq!(received, usize::from(at != 2));
    }
}

#[test]
fn a_lost_push_is_repaired() {
    let mut network = linked(5);
    network.tamper = Some(Box::new(|from, to, frame| {
        !(from == 0 && to == 3 && matches!(frame.message, Message::Push(_)))
    }));
    network.submit(0, 1, b"hello".to_vec());
    let id = network.accepted(0, 1);
    network.run_until(SECOND, "announcements bring it", |network| network.holders(&id) == 5);
}

#[test]
fn an_unacknowledged_push_goes_out_again() {
    let mut network = linked(2);
    let mut dropped = false;
    network.tamper = Some(Box::new(move |_, _, frame| {
        let drop = matches!(frame.message, Message::Push(_)) && !dropped;
        dropped |= drop;
        !drop
    }));
    network.submit(0, 1, b"hello".to_vec());
    let id = network.accepted(0, 1);
    network.run_until(SECOND, "it was sent again", |network| network.holders(&id) == 2);
}

#[test]
fn a_restarted_peer_catches_up() {
    let mut network = linked(5);
    network.submit(0, 0, b"before".to_vec());
    network.run_for(SECOND);
    network.kill(3);
    network.run_for(SECOND);
    for token in 1..=200 {
        network.submit(token as usize % 3, token, token.to_le_bytes().to_vec());
    }
    network.run_for(SECOND);
    network.start(3);
    let complete = |network: &Network| network.nodes[3].disk.held.len() == 201;
    let took = network.run_until(10 * SECOND, "it has everything", complete);
    assert!(took < 3 * SECOND, "{took:?}");
    // All of it is older than its start; what it asked for after a look at its store needs no second one.
    assert_eq!(network.nodes[3].disk.looked_up, 0);
    network.run_until(5 * SECOND, "all are linked", |network| all_linked(network, 5));
    network.run_for(30 * SECOND);
    assert!(network.nodes.iter().all(|node| node.disk.held.len() == 201));
}

#[test]
fn what_was_accepted_while_alone_reaches_the_others_later() {
    let mut network = linked(3);
    network.cut = [(0, 2), (1, 2)].into();
    network.kill(2);
    network.start(2);
    network.submit(2, 1, b"offline".to_vec());
    let id = network.accepted(2, 1);
    network.run_for(10 * SECOND);
    assert_eq!(network.holders(&id), 1);
    network.cut.clear();
    network.run_until(60 * SECOND, "all hold it", |network| network.holders(&id) == 3);
}

#[test]
fn a_mebibyte_arrives_whole() {
    let mut network = linked(4);
    let body: Vec<u8> = (0..1024 * 1024 + 5).map(|at: usize| (at * 7 / 3) as u8).collect();
    network.submit(1, 1, body.clone());
    let id = network.accepted(1, 1);
    network.run_until(5 * SECOND, "all hold it", |network| network.holders(&id) == 4);
    assert!(network.nodes.iter().all(|node| node.disk.body(&id) == Some(Bytes::from(body.clone()))));
}

#[test]
fn a_large_body_arrives_though_the_link_breaks_in_the_middle() {
    let mut network = linked(2);
    network.submit(0, 1, vec![5; 200 * CHUNK_BYTES]);
    let id = network.accepted(0, 1);
    network.run_for(Duration::from_millis(17));
    assert_eq!(network.holders(&id), 1);
    network.break_all();
    network.run_until(20 * SECOND, "both hold it", |network| network.holders(&id) == 2);
}

#[test]
fn a_bad_chunk_is_evidence_and_comes_from_another() {
    let mut network = linked(3);
    network.tamper = Some(Box::new(|from, to, frame| {
        if let (0, 2, Message::Chunk { data, .. }) = (from, to, &mut frame.message) {
            *data = Bytes::from(vec![0; data.len()]).into();
        }
        true
    }));
    network.submit(0, 1, vec![9; 20 * CHUNK_BYTES]);
    let id = network.accepted(0, 1);
    network.run_until(20 * SECOND, "all hold it", |network| network.holders(&id) == 3);
    let origin = network.nodes[0].id();
    let bad = |event: &Event| matches!(event, Event::Evidence { peer, kind: EvidenceKind::BadBody, .. } if *peer == origin);
    assert!(network.nodes[2].count(bad) >= 1);
}

#[test]
fn nothing_is_acknowledged_or_announced_before_it_is_durable() {
    let mut network = linked(3);
    network.nodes[1].disk.slow = true;
    network.trace.clear();
    network.submit(0, 1, b"hello".to_vec());
    let id = network.accepted(0, 1);
    let resends = |network: &Network| {
        network
            .trace
            .iter()
            .filter(|(_, to, message)| *to == 1 && matches!(message, Message::Push(_)))
            .count()
    };
    network.run_for(3 * SECOND);
    assert_eq!(resends(&network), 4, "sent again because it was not acknowledged");
    let announced = |network: &Network| {
        network
            .trace
            .iter()
            .any(|(from, _, message)| *from == 1 && matches!(message, Message::Announce { .. }))
    };
    assert!(!announced(&network));
    assert!(!network.nodes[1].disk.holds(&id));
    network.flush(1);
    network.run_for(SECOND);
    assert!(network.nodes[1].disk.holds(&id));
    assert_eq!(network.nodes[1].count(|event| matches!(event, Event::Received { .. })), 1);
}

#[test]
fn a_submission_is_answered_when_it_is_durable_and_leaves_only_then() {
    let mut network = linked(2);
    network.nodes[0].disk.slow = true;
    network.trace.clear();
    network.submit(0, 1, b"hello".to_vec());
    network.run_for(SECOND);
    assert!(network.nodes[0].replies.is_empty());
    assert!(!network.trace.iter().any(|(_, _, message)| matches!(message, Message::Push(_))));
    network.flush(0);
    let id = network.accepted(0, 1);
    network.run_until(SECOND, "both hold it", |network| network.holders(&id) == 2);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut network = linked(2);
    network.nodes[0].disk.full = true;
    network.submit(0, 1, b"one".to_vec());
    let refused = &network.nodes[0].replies[0].1;
    assert!(matches!(refused, Err(SubmitRefused::Store(StoreFault::Full(_)))), "{refused:?}");
    assert!(network.nodes[0].peer().status().store_fault.is_some());
    network.submit(1, 2, b"two".to_vec());
    let id = network.accepted(1, 2);
    network.run_for(5 * SECOND);
    assert_eq!(network.holders(&id), 1);
    network.nodes[0].disk.full = false;
    network.submit(0, 3, b"three".to_vec());
    network.accepted(0, 3);
    assert!(network.nodes[0].peer().status().store_fault.is_none());
    network.run_until(60 * SECOND, "what was missed has come", |network| network.holders(&id) == 2);
    let sequences: Vec<u64> =
        network.nodes[0].disk.held.values().map(|(held, _)| held.header().sequence).collect();
    assert_eq!(sequences, [1, 1], "the refused submission left no gap");
}

#[test]
fn an_idempotency_key_makes_one_transaction_of_two_submissions() {
    let mut network = linked(2);
    network.nodes[0].disk.slow = true;
    network.submit_with(0, 1, b"pay".to_vec(), "key");
    network.submit_with(0, 2, b"pay".to_vec(), "key");
    network.flush(0);
    network.submit_with(0, 3, b"pay".to_vec(), "key");
    let id = network.accepted(0, 1);
    let again: Vec<bool> = network.nodes[0]
        .replies
        .iter()
        .map(|(_, reply)| reply.as_ref().expect("accepted").duplicate)
        .collect();
    assert_eq!(again, [false, true, true]);
    assert_eq!((network.accepted(0, 2), network.accepted(0, 3)), (id, id));
}

#[test]
fn a_leaving_peer_is_forgotten_by_all() {
    let mut network = linked(4);
    network.input(2, Input::Shutdown { leaving: true });
    network.submit(2, 9, b"late".to_vec());
    assert_eq!(network.nodes[2].replies, [(9, Err(SubmitRefused::Draining))]);
    network.run_for(2 * SECOND);
    network.kill(2);
    for at in [0, 1, 3] {
        assert_eq!(network.nodes[at].peer().status().peers_known, 2, "{at}");
        assert_eq!(network.nodes[at].disk.records.len(), 2);
    }
    network.run_for(100 * SECOND);
    network.start(2);
    network.run_until(32 * SECOND, "it is back", |network| all_linked(network, 4));
}

#[test]
fn a_dead_peer_is_forgotten_after_a_while_and_comes_back_with_a_restart() {
    let mut network = linked(4);
    network.kill(2);
    network.run_for(14 * SECOND);
    assert_eq!(network.nodes[0].peer().status().peers_known, 3);
    // The others miss it too.
    network.run_for(16 * SECOND);
    for at in [0, 1, 3] {
        assert_eq!(network.nodes[at].peer().status().peers_known, 2, "{at}");
    }
    network.start(2);
    network.run_until(5 * SECOND, "it is back", |network| all_linked(network, 4));
}

#[test]
fn a_partition_heals_without_loss() {
    let mut network = linked(5);
    let across = [(0, 3), (0, 4), (1, 3), (1, 4), (2, 3), (2, 4)];
    network.cut = across.into();
    network.break_all();
    network.run_for(120 * SECOND);
    network.submit(0, 1, b"one".to_vec());
    network.submit(4, 2, b"two".to_vec());
    let ids = [network.accepted(0, 1), network.accepted(4, 2)];
    network.run_for(SECOND);
    assert_eq!(ids.map(|id| network.holders(&id)), [3, 2]);
    network.cut.clear();
    network.run_until(60 * SECOND, "all are linked", |network| all_linked(network, 5));
    network.run_until(30 * SECOND, "all hold both", |network| ids.iter().all(|id| network.holders(id) == 5));
}

#[test]
fn a_shutdown_says_goodbye_and_the_others_keep_the_member() {
    let mut network = linked(3);
    network.input(1, Input::Shutdown { leaving: false });
    network.run_for(Duration::from_millis(50));
    assert_eq!(network.linked(), [1, 0, 1]);
    assert_eq!(network.nodes[1].peer().status().state, State::Draining);
    assert_eq!(network.nodes[0].peer().status().peers_known, 2);
}

#[test]
fn the_same_inputs_give_the_same_trace() {
    let run = || {
        let mut network = linked(5);
        network.submit(1, 1, vec![1; 100_000]);
        network.kill(2);
        network.run_for(10 * SECOND);
        network.start(2);
        network.run_for(20 * SECOND);
        network.trace
    };
    assert_eq!(run(), run());
}
