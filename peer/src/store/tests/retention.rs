//! Retention: what goes, in which order, in which steps; that sums, cursors and figures stay right.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sorcha_peer_core::event::{Expired, RangeDetail, RangeQuery};
use sorcha_peer_core::message::{Fingerprint, SyncBound};

use super::super::schema::EXPIRE_MAX;
use super::*;
use crate::store::Arrival;

fn at(ms: u64) -> WallTime {
    WallTime::from_unix_ms(ms)
}

/// One step.
pub(super) fn step(
    store: &Store,
    before: u64,
    bytes_max: u64,
    keep_from: u64,
) -> Result<Expired, StoreFault> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let done = Box::new(move |result| drop(sender.send(result)));
    store.expire(at(before), bytes_max, at(keep_from), done);
    receiver.recv_timeout(PATIENCE).expect("an answer comes")
}

/// All steps; how many it took.
fn expire(store: &Store, before: u64, bytes_max: u64, keep_from: u64) -> (u64, u64, usize) {
    let (mut removed, mut steps) = (0, 0);
    loop {
        let expired = step(store, before, bytes_max, keep_from).expect("durable");
        removed += expired.removed;
        steps += 1;
        if !expired.more {
            return (removed, expired.floor.as_unix_ms(), steps);
        }
    }
}

const NO_BOUND: u64 = u64::MAX;

#[test]
fn what_is_older_goes_from_every_table_and_the_rest_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let mut rng = StdRng::seed_from_u64(7);
    let mut held = Vec::new();
    for number in 1..=600_u64 {
        let size = [10, 4096, 5000, 70_000][rng.random_range(0..4)];
        let transaction = transaction(number, 1_000 + rng.random_range(0..500), vec![number as u8; size]);
        submit(&store, transaction.clone(), &format!("key {number}"));
        held.push(transaction);
    }
    persist(&store, small(9_999)).expect("durable");
    for floor in [1_100, 1_101, 1_350, 1_500] {
        let (removed, found, _) = expire(&store, floor, NO_BOUND, NO_BOUND);
        let published = |(envelope, _): &(Arc<Envelope>, Arc<Body>)| envelope.header().published.as_unix_ms();
        let (gone, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(|it| published(it) < floor);
        assert_eq!((removed, found), (gone.len() as u64, floor));
        for (envelope, _) in &gone {
            assert!(store.transaction(&envelope.id()).expect("readable").is_none());
            assert!(store.body(&envelope.id()).expect("readable").is_none());
        }
        let mut sum = Fingerprint::default();
        sum.add(&small(9_999).0.id());
        for (envelope, body) in &kept {
            assert!(store.body(&envelope.id()).expect("readable").as_ref() == Some(body.bytes()));
            sum.add(&envelope.id());
        }
        let all = RangeQuery {
            lower: SyncBound::MIN,
            upper: SyncBound::MAX,
            ids_max: 10_000,
            parts: 2,
            unless: None,
        };
        let view = store.inspect(&[all]).expect("readable").remove(0);
        assert_eq!(view.fingerprint, sum, "the sums are those of what is left");
        let RangeDetail::Ids(ids) = view.detail else { panic!("they are listed") };
        assert_eq!(ids.len(), kept.len() + 1);
        assert_eq!(store.stats().transactions, kept.len() as u64 + 1);
        held = kept;
    }
    store.close();
    assert_eq!(check(directory.path()).expect("checked").faults, []);
    let (store, recovered) = open(directory.path());
    assert_eq!((recovered.transactions, recovered.floor), (1, at(1_500)), "the floor is durable");
    store.close();
}

#[test]
fn steps_are_bounded_and_appends_come_between_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let answers: Vec<_> =
        (1..=2_000).map(|number| submit(&store, transaction(number, number, "body"), "")).collect();
    for answer in answers {
        answer.recv_timeout(PATIENCE).expect("an answer").expect("durable");
    }
    let first = step(&store, 10_000, NO_BOUND, NO_BOUND).expect("durable");
    assert_eq!(first, Expired { floor: at(10_000), removed: EXPIRE_MAX, more: true });
    assert_eq!(persist(&store, transaction(20_000, 20_000, "body")), Ok(2_001));
    let (removed, _, steps) = expire(&store, 10_000, NO_BOUND, NO_BOUND);
    assert_eq!((removed, steps), (2_000 - EXPIRE_MAX, 3));
    assert_eq!(store.stats().removed, 2_000);
    store.close();
    assert_eq!(check(directory.path()).expect("checked").faults, []);
}

#[test]
fn what_must_stay_stays_whatever_is_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for number in 1..=10 {
        persist(&store, transaction(number, number * 10, vec![1; 1000])).expect("durable");
    }
    assert_eq!(expire(&store, 1_000, 0, 50), (4, 50, 1), "published at 10 to 40; 50 stays");
    assert_eq!(store.stats().oldest, Some(at(50)));
    assert_eq!(expire(&store, 0, NO_BOUND, 0), (0, 50, 1), "a floor never moves back");
    store.close();
}

#[test]
fn bytes_are_bounded_by_taking_the_oldest_whole_milliseconds() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for number in 1..=100 {
        persist(&store, transaction(number, number / 10, vec![number as u8; 10_000])).expect("durable");
    }
    let full = store.stats().live_bytes;
    assert!((1_000_000..1_200_000).contains(&full), "{full}");
    let (removed, floor, _) = expire(&store, 0, full / 2, NO_BOUND);
    assert_eq!(
        (removed, floor),
        (59, 6),
        "nine of the first, ten of each after; the one that was begun goes whole"
    );
    assert!(store.stats().live_bytes <= full / 2);
    store.close();
    assert_eq!(check(directory.path()).expect("checked").faults, []);
}

#[test]
fn readers_in_the_order_of_arrival_are_told_what_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    // Published in another order than they arrived.
    for (number, published) in [(1, 10), (2, 90), (3, 11), (4, 12), (5, 80), (6, 13)] {
        persist(&store, transaction(number, published, "body")).expect("durable");
    }
    let told = |position, limit| {
        let arrivals = store.arrivals(position, limit).expect("readable").into_iter();
        let told = arrivals.map(|arrival| match arrival {
            Arrival::Held(stored) => (stored.position, stored.position, true),
            Arrival::Gone { from, to } => (from, to, false),
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(told(4, 9), [(5, 5, true), (6, 6, true)]);
    expire(&store, 50, NO_BOUND, NO_BOUND);
    let all = [(1, 1, false), (2, 2, true), (3, 4, false), (5, 5, true), (6, 6, false)];
    assert_eq!(told(0, 9), all);
    assert_eq!(told(0, 1), all[..2], "no word of what lies beyond the limit");
    assert_eq!(told(3, 9), [(4, 4, false), (5, 5, true), (6, 6, false)]);
    assert_eq!(told(6, 9), []);
    expire(&store, 1_000, NO_BOUND, NO_BOUND);
    assert_eq!(told(2, 9), [(3, 6, false)], "also where nothing is held any more");
    store.close();
    let (store, _) = open(directory.path());
    assert_eq!(*store.head().borrow(), 6, "positions are not given out twice");
    assert_eq!(persist(&store, transaction(7, 2_000, "body")), Ok(7));
    store.close();
    assert_eq!(check(directory.path()).expect("checked").faults, []);
}

#[test]
fn certificates_go_when_nothing_is_left_that_they_signed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let day = 86_400_000;
    for number in 1..=9 {
        // One certificate for each three numbers modulo 3; the last of each is a day apart.
        persist(&store, transaction(number, (number % 3 + 1) * day, "body")).expect("durable");
    }
    expire(&store, 2 * day, NO_BOUND, NO_BOUND);
    let report = |directory: &Path| check(directory).expect("checked");
    store.close();
    let found = report(directory.path());
    assert_eq!((found.transactions, found.certificates, found.faults), (6, 2, vec![]));
}
