//! What others are known to hold: the outbox, catching up, and drains that leave nothing behind.

mod network;

use std::time::Duration;

use network::Network;
use sorcha_peer_core::Input;
use sorcha_peer_core::event::{Event, SubmitRefused};
use sorcha_peer_core::message::Message;
use sorcha_peer_core::types::TxId;
use sorcha_peer_core::view::State;

const SECOND: Duration = Duration::from_secs(1);

fn linked(count: usize) -> Network {
    let mut network = Network::new(count);
    let all = |network: &Network| network.linked().iter().all(|linked| *linked == count - 1);
    network.run_until(3 * SECOND, "all are linked to all", all);
    network.run_for(3 * SECOND);
    network
}

fn outbox(network: &Network, at: usize) -> u64 {
    network.nodes[at].peer().status().outbox
}

fn drained(network: &Network, at: usize) -> bool {
    network.nodes[at].peer().status().drain.is_some_and(|drain| drain.drained && drain.remaining == 0)
}

fn drain(network: &mut Network, at: usize, leaving: &[usize], leave: bool) {
    let leaving = leaving.iter().map(|leaving| network.nodes[*leaving].id()).collect();
    network.input(at, Input::Drain { leaving, leave });
}

#[test]
fn the_outbox_is_empty_as_soon_as_another_peer_has_acknowledged() {
    let mut network = linked(3);
    network.submit(0, 1, b"small".to_vec());
    assert_eq!(outbox(&network, 0), 1);
    let took = network.run_until(SECOND, "it is acknowledged", |network| outbox(network, 0) == 0);
    assert!(took < SECOND / 10, "{took:?}");
}

#[test]
fn a_slow_disk_elsewhere_keeps_it_in_the_outbox() {
    let mut network = linked(2);
    network.nodes[1].disk.slow = true;
    network.submit(0, 1, b"small".to_vec());
    network.run_for(10 * SECOND);
    assert_eq!(outbox(&network, 0), 1);
    network.nodes[1].disk.slow = false;
    network.flush(1);
    network.run_until(5 * SECOND, "it is durable there", |network| outbox(network, 0) == 0);
}

#[test]
fn a_large_body_leaves_the_outbox_when_it_is_whole_elsewhere() {
    let mut network = linked(2);
    network.submit(0, 1, vec![7; 100_000]);
    let id = network.accepted(0, 1);
    network.run_until(5 * SECOND, "it is held there", |network| network.holders(&id) == 2);
    network.run_until(5 * SECOND, "it was asked about", |network| outbox(network, 0) == 0);
}

#[test]
fn a_lost_acknowledgement_is_made_up_for_by_a_question() {
    let mut network = linked(2);
    network.tamper = Some(Box::new(|from, _, frame| {
        let lost = from == 1 && matches!(frame.message, Message::Ack);
        if from == 1 {
            (frame.ack, frame.ack_bits) = (0, 0);
        }
        !lost
    }));
    network.submit(0, 1, b"small".to_vec());
    network.run_for(SECOND / 2);
    assert_eq!(outbox(&network, 0), 1);
    network.run_until(3 * SECOND, "it was asked about", |network| outbox(network, 0) == 0);
}

#[test]
fn after_a_restart_the_outbox_is_what_no_round_has_covered() {
    let mut network = linked(2);
    network.kill(1);
    network.run_for(SECOND);
    for token in 0..100 {
        network.submit(0, token, token.to_le_bytes().to_vec());
    }
    network.run_for(SECOND);
    assert_eq!(outbox(&network, 0), 100);
    network.kill(0);
    network.start(0);
    network.run_for(SECOND);
    assert_eq!(outbox(&network, 0), 100, "nothing is known of what others hold");
    network.start(1);
    network.run_until(20 * SECOND, "a round covers it", |network| outbox(network, 0) == 0);
    assert_eq!(network.nodes[1].disk.held.len(), 100);
}

#[test]
fn what_another_peer_has_fetched_leaves_the_outbox_without_waiting_for_the_next_round() {
    let mut network = linked(2);
    network.kill(1);
    network.run_for(SECOND);
    for token in 0..2000 {
        network.submit(0, token, token.to_le_bytes().to_vec());
    }
    network.kill(0);
    network.start(0);
    network.start(1);
    network.run_until(20 * SECOND, "all is there", |network| network.nodes[1].disk.held.len() == 2000);
    let took = network.run_until(20 * SECOND, "it was asked", |network| outbox(network, 0) == 0);
    assert!(took < SECOND / 10, "{took:?}");
}

#[test]
fn a_peer_is_caught_up_when_it_has_what_others_had_at_its_start() {
    let mut network = linked(3);
    network.kill(2);
    network.run_for(SECOND);
    for token in 0..2000 {
        network.submit(0, token, token.to_le_bytes().to_vec());
    }
    network.run_for(SECOND);
    network.start(2);
    let caught_up = |network: &Network| network.nodes[2].peer().status().caught_up;
    assert!(network.nodes[2].peer().status().peers_known > 0 && !caught_up(&network));
    network.run_until(10 * SECOND, "it has caught up", |network| {
        let held = network.nodes[2].disk.held.len();
        assert!(!caught_up(network) || held == 2000, "with {held} of 2000");
        caught_up(network)
    });
}

#[test]
fn a_peer_alone_is_caught_up() {
    let network = Network::new(1);
    assert!(network.nodes[0].peer().status().caught_up);
}

/// Something is always on its way: no two looks at two stores find the same.
#[test]
fn a_peer_catches_up_and_drains_under_constant_traffic() {
    let mut network = linked(3);
    network.kill(2);
    network.run_for(SECOND);
    let mut token = 0;
    let mut traffic = |network: &mut Network, rounds: u64, from: usize| {
        for _ in 0..rounds {
            token += 1;
            network.submit(from, token, token.to_le_bytes().to_vec());
            network.run_for(Duration::from_millis(7));
        }
    };
    traffic(&mut network, 300, 0);
    network.start(2);
    traffic(&mut network, 700, 0);
    assert!(network.nodes[2].peer().status().caught_up);
    traffic(&mut network, 50, 2);
    let own: Vec<TxId> = network.nodes[2].disk.held.keys().map(|key| key.id).collect();
    drain(&mut network, 2, &[2], false);
    traffic(&mut network, 700, 0);
    assert!(drained(&network, 2), "{:?}", network.nodes[2].peer().status().drain);
    assert!(own.iter().all(|id| network.holders(id) == 3));
}

#[test]
fn a_drained_peer_accepts_nothing_and_all_that_it_held_is_at_those_that_stay() {
    let mut network = linked(3);
    for token in 0..50 {
        network.submit(2, token, vec![token as u8; 10_000]);
    }
    drain(&mut network, 2, &[2], true);
    network.submit(2, 99, b"too late".to_vec());
    let refused = |(token, reply): &(u64, Result<_, SubmitRefused>)| {
        *token == 99 && matches!(reply, Err(SubmitRefused::Draining))
    };
    assert!(network.nodes[2].replies.iter().any(refused));
    assert_eq!(network.nodes[2].peer().status().state, State::Draining);
    network.run_until(20 * SECOND, "it is drained", |network| drained(network, 2));
    for token in 0..50 {
        let id = network.accepted(2, token);
        assert!(network.nodes[..2].iter().any(|node| node.disk.holds(&id)), "{token}");
    }
    network.run_for(SECOND);
    for node in &network.nodes[..2] {
        assert_eq!(node.peer().status().peers_known, 1, "the others have forgotten it");
        assert_eq!(node.count(|event| matches!(event, Event::PeerLeft { .. })), 1);
    }
    network.run_for(120 * SECOND);
    assert_eq!(network.linked(), [1, 1, 0], "it is left alone");

    network.input(2, Input::Resume);
    network.run_until(40 * SECOND, "it is back", |network| network.linked() == [2, 2, 2]);
    network.submit(2, 100, b"again".to_vec());
    let id = network.accepted(2, 100);
    network.run_until(5 * SECOND, "all hold it", |network| network.holders(&id) == 3);
}

#[test]
fn peers_that_leave_together_do_not_count_on_each_other() {
    let mut network = linked(3);
    // What the two that leave say to the one that stays is lost for now.
    network.cut.extend([(0, 1), (0, 2), (1, 0), (2, 0)]);
    network.break_all();
    network.run_for(3 * SECOND);
    network.submit(1, 1, b"one".to_vec());
    network.submit(2, 2, b"two".to_vec());
    network.run_for(2 * SECOND);
    assert_eq!((outbox(&network, 1), outbox(&network, 2)), (0, 0), "each is held by the other");
    for at in [1, 2] {
        drain(&mut network, at, &[1, 2], false);
    }
    network.run_for(10 * SECOND);
    for at in [1, 2] {
        let view = network.nodes[at].peer().status().drain.expect("it drains");
        assert!(
            !view.drained && view.remaining > 0 && view.reason == "no staying peer is linked",
            "{view:?}"
        );
    }
    network.cut.clear();
    network.run_until(60 * SECOND, "both are drained", |network| drained(network, 1) && drained(network, 2));
    for (at, token) in [(1, 1), (2, 2)] {
        assert!(network.nodes[0].disk.holds(&network.accepted(at, token)));
    }
}

#[test]
fn a_drain_that_is_taken_back_leaves_the_peer_as_it_was() {
    let mut network = linked(2);
    drain(&mut network, 1, &[0, 1], false);
    network.run_for(SECOND);
    network.input(1, Input::Resume);
    assert_eq!(network.nodes[1].peer().status().drain, None);
    network.submit(1, 1, b"accepted".to_vec());
    let id = network.accepted(1, 1);
    network.run_until(SECOND, "both hold it", |network| network.holders(&id) == 2);
}

fn await_holders(network: &mut Network, at: usize, token: u64, id: TxId, wanted: u32, wait: Duration) {
    network.input(at, Input::AwaitHolders { token, id, wanted, wait });
}

fn told(network: &Network, at: usize, token: u64) -> Option<u32> {
    let answered = &network.nodes[at].holders_replies;
    answered.iter().find(|(of, _)| *of == token).map(|(_, holders)| *holders)
}

#[test]
fn whoever_waits_for_holders_is_told_when_enough_hold_it() {
    let mut network = linked(4);
    network.submit(0, 1, b"small".to_vec());
    let id = network.accepted(0, 1);
    await_holders(&mut network, 0, 7, id, 3, 10 * SECOND);
    assert_eq!(told(&network, 0, 7), None);
    let took = network.run_until(SECOND, "all hold it", |network| told(network, 0, 7) == Some(3));
    assert!(took < SECOND / 4, "pushes are acknowledged, nobody had to be asked: {took:?}");
    await_holders(&mut network, 0, 8, id, 3, Duration::ZERO);
    assert_eq!(told(&network, 0, 8), Some(3), "a look is answered at once");
}

#[test]
fn holders_of_large_bodies_and_of_others_transactions_are_asked() {
    let mut network = linked(3);
    network.submit(0, 1, vec![7; 100_000]);
    let id = network.accepted(0, 1);
    await_holders(&mut network, 0, 7, id, 2, 20 * SECOND);
    network.run_until(10 * SECOND, "both hold it", |network| told(network, 0, 7) == Some(2));
    assert_eq!(network.holders(&id), 3);
    await_holders(&mut network, 2, 8, id, 2, 20 * SECOND);
    network.run_until(2 * SECOND, "it is asked about", |network| told(network, 2, 8) == Some(2));
}

#[test]
fn a_wait_ends_in_time_and_a_slow_disk_does_not_count() {
    let mut network = linked(3);
    network.nodes[1].disk.slow = true;
    network.submit(0, 1, b"small".to_vec());
    let id = network.accepted(0, 1);
    await_holders(&mut network, 0, 7, id, 2, 3 * SECOND);
    network.run_for(29 * SECOND / 10);
    assert_eq!(told(&network, 0, 7), None);
    network.run_for(SECOND / 5);
    assert_eq!(told(&network, 0, 7), Some(1));
    network.nodes[1].disk.slow = false;
    network.flush(1);
    await_holders(&mut network, 0, 8, id, 2, 30 * SECOND);
    network.run_until(5 * SECOND, "the disk is done", |network| told(network, 0, 8) == Some(2));
}

#[test]
fn a_wait_goes_on_over_a_time_without_links() {
    let mut network = linked(2);
    network.kill(1);
    network.run_for(20 * SECOND);
    network.submit(0, 1, b"small".to_vec());
    let id = network.accepted(0, 1);
    await_holders(&mut network, 0, 7, id, 1, 120 * SECOND);
    network.run_for(10 * SECOND);
    assert_eq!(told(&network, 0, 7), None);
    network.start(1);
    network.run_until(60 * SECOND, "the other is back", |network| told(network, 0, 7) == Some(1));
}

#[test]
fn every_change_of_state_is_told_once() {
    let mut network = linked(3);
    network.kill(1);
    network.kill(2);
    network.run_for(40 * SECOND);
    network.input(0, Input::Drain { leaving: Vec::new(), leave: false });
    network.input(0, Input::Resume);
    let changes: Vec<(State, State)> = network.nodes[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::StateChanged { from, to } => Some((*from, *to)),
            _ => None,
        })
        .collect();
    assert!(changes.windows(2).all(|pair| pair[0].1 == pair[1].0), "{changes:?}");
    assert!(changes.iter().all(|(from, to)| from != to), "{changes:?}");
    let ends = [(State::Offline, State::Draining), (State::Draining, State::Offline)];
    assert!(changes.ends_with(&ends), "{changes:?}");
    assert!(changes.iter().any(|(_, to)| *to == State::Online), "{changes:?}");
}

#[test]
fn a_peer_that_keeps_nothing_is_no_holder() {
    let mut network = Network::with(3, |at, config| config.durable = at != 1);
    let all = |network: &Network| network.linked().iter().all(|linked| *linked == 2);
    network.run_until(3 * SECOND, "all are linked to all", all);
    network.run_for(3 * SECOND);
    network.submit(0, 1, b"small".to_vec());
    let id = network.accepted(0, 1);
    await_holders(&mut network, 0, 7, id, 2, 30 * SECOND);
    network.run_until(31 * SECOND, "the wait is over", |network| told(network, 0, 7).is_some());
    assert_eq!(told(&network, 0, 7), Some(1));
    assert_eq!(network.holders(&id), 3, "all have it");
}

#[test]
fn where_nobody_keeps_anything_nobody_is_asked_about_the_outbox() {
    let mut network = Network::with(3, |_, config| config.durable = false);
    let all = |network: &Network| network.linked().iter().all(|linked| *linked == 2);
    network.run_until(3 * SECOND, "all are linked to all", all);
    network.run_for(3 * SECOND);
    network.submit(0, 1, b"small".to_vec());
    network.run_for(30 * SECOND);
    assert_eq!(outbox(&network, 0), 1, "no other peer holds it durably");
    let asked = |network: &Network| {
        network.trace.iter().filter(|(_, _, message)| matches!(message, Message::HoldsRequest { .. })).count()
    };
    assert_eq!(asked(&network), 0, "their answers would not count");
}

#[test]
fn among_many_that_keep_nothing_the_one_that_does_is_asked_about_the_outbox() {
    let mut network = Network::with(6, |at, config| config.durable = at == 5);
    let all = |network: &Network| network.linked().iter().all(|linked| *linked == 5);
    network.run_until(3 * SECOND, "all are linked to all", all);
    network.run_for(3 * SECOND);
    // Its acknowledgements are lost, its answers are not.
    network.tamper = Some(Box::new(|from, _, frame| {
        let lost = from == 5 && matches!(frame.message, Message::Ack);
        if from == 5 {
            (frame.ack, frame.ack_bits) = (0, 0);
        }
        !lost
    }));
    network.submit(0, 1, b"small".to_vec());
    network.run_until(10 * SECOND, "it has answered", |network| outbox(network, 0) == 0);
}
