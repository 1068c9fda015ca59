//! Retention: what is removed, what must stay, and that what is gone does not come back.

mod network;

use std::time::Duration;

use network::{Network, WALL_MS};
use sorcha_peer_core::event::Event;
use sorcha_peer_core::message::Message;
use sorcha_peer_core::types::WallTime;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Peers of which those named keep for so long.
fn keeping(count: usize, ages: &[(usize, Duration)]) -> Network {
    let mut network = Network::with(count, |at, config| {
        config.retention_age = ages.iter().find(|(peer, _)| *peer == at).map(|(_, age)| *age);
    });
    let all = |network: &Network| network.linked().iter().all(|linked| *linked == count - 1);
    network.run_until(3 * SECOND, "all are linked to all", all);
    network
}

fn submit_every_second(network: &mut Network, at: usize, tokens: std::ops::Range<u64>) {
    for token in tokens {
        network.submit(at, token, format!("body {token}").into_bytes());
        network.run_for(SECOND);
    }
}

fn held(network: &Network) -> Vec<usize> {
    network.nodes.iter().map(|node| node.disk.held.len()).collect()
}

fn wants(network: &Network) -> usize {
    let wants = |message: &Message| matches!(message, Message::Sync(sync) if !sync.want.is_empty());
    network.trace.iter().filter(|(_, _, message)| wants(message)).count()
}

#[test]
fn what_one_peer_has_removed_does_not_come_back_from_those_that_keep_it() {
    let mut network = keeping(3, &[(0, 10 * MINUTE)]);
    submit_every_second(&mut network, 1, 0..20);
    assert_eq!(held(&network), [20, 20, 20]);
    network.run_for(15 * MINUTE);
    assert_eq!(held(&network), [0, 20, 20]);
    let expired: u64 = (network.nodes[0].events.iter())
        .map(|event| if let Event::Expired { removed, .. } = event { *removed } else { 0 })
        .sum();
    assert_eq!(expired, 20);
    // A fresh link reconciles, and so do a restart and the rounds of an hour: nothing is asked for, nothing sent.
    let before = wants(&network);
    network.break_all();
    network.run_for(MINUTE);
    network.kill(0);
    network.start(0);
    network.run_for(60 * MINUTE);
    assert_eq!(held(&network), [0, 20, 20]);
    assert_eq!(wants(&network), before, "nobody wants what is gone");
    // What is above the floor is reconciled as ever.
    network.submit(2, 99, b"new".to_vec());
    network.run_for(MINUTE);
    assert_eq!(held(&network), [1, 21, 21]);
}

#[test]
fn a_transaction_that_is_too_old_is_refused_without_blame_and_not_taken_for_held() {
    let mut network = keeping(2, &[(0, 10 * MINUTE)]);
    network.cut.insert((0, 1));
    network.break_all();
    network.run_for(SECOND);
    submit_every_second(&mut network, 1, 0..5);
    network.run_for(30 * MINUTE);
    network.cut.clear();
    network.run_until(5 * MINUTE, "they are linked again", |network| network.linked() == [1, 1]);
    network.run_for(5 * MINUTE);
    assert_eq!(held(&network), [0, 5]);
    assert_eq!(network.nodes[0].count(|event| matches!(event, Event::Evidence { .. })), 0);
    assert_eq!(network.nodes[1].peer().status().outbox, 5, "nobody else holds them, and that is shown");
}

#[test]
fn what_nobody_else_holds_stays_however_old_it_is() {
    let mut network = keeping(3, &[(1, 10 * MINUTE), (2, 10 * MINUTE)]);
    network.nodes[0].config.retention_age = Some(10 * MINUTE);
    network.kill(0);
    network.start(0);
    network.run_for(MINUTE);
    for other in [1, 2] {
        network.cut.insert((0, other));
        network.nodes[other].config.retention_age = None;
        network.kill(other);
        network.start(other);
    }
    network.break_all();
    network.run_for(SECOND);
    submit_every_second(&mut network, 0, 0..5);
    network.run_for(60 * MINUTE);
    assert_eq!(held(&network), [5, 0, 0], "an hour old, and the only copy");
    network.kill(0);
    network.start(0);
    network.run_for(30 * MINUTE);
    assert_eq!(held(&network), [5, 0, 0], "also after a start");
    network.cut.clear();
    network.run_until(10 * MINUTE, "the others have them", |network| held(network)[1..] == [5, 5]);
    network.run_for(10 * MINUTE);
    assert_eq!(held(&network), [0, 5, 5], "held elsewhere, they go");
}

#[test]
fn bytes_are_bounded_oldest_first_and_a_clock_set_back_makes_nothing_too_old() {
    let mut network = Network::with(2, |at, config| {
        config.retention_bytes = (at == 0).then_some(100);
    });
    network.run_until(3 * SECOND, "they are linked", |network| network.linked() == [1, 1]);
    for token in 0..50 {
        network.submit(1, token, vec![token as u8; 10]);
        network.run_for(SECOND);
    }
    network.run_for(5 * MINUTE);
    assert_eq!(held(&network), [10, 50]);
    let oldest = network.nodes[0].disk.held.keys().next().expect("some are held");
    assert!(oldest.published > WallTime::from_unix_ms(WALL_MS + 39_000), "{oldest:?}");
    assert!(network.nodes[0].disk.floor > WallTime::from_unix_ms(WALL_MS + 38_000));
    // The floor lies ahead of a clock that was set back, as after a start with a wrong one.
    network.nodes[0].disk.floor = WallTime::from_unix_ms(network.now().wall.as_unix_ms() + 3_600_000);
    network.nodes[0].disk.held.clear();
    network.kill(0);
    network.start(0);
    network.run_for(SECOND);
    network.submit(0, 100, b"own".to_vec());
    network.run_for(SECOND);
    let own = network.accepted(0, 100);
    assert!(network.nodes[0].disk.holds(&own));
    network.run_for(MINUTE);
    assert!(network.nodes[0].disk.holds(&own), "it is not below the own floor");
}
