//! What is stored is read back, whole and in order, in this run and the next.

use sorcha_peer_core::tree;
use sorcha_peer_core::types::bounds::CHUNK_BYTES;

use super::*;

#[test]
fn a_transaction_is_read_back_as_it_came() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, recovered) = open(directory.path());
    assert!(recovered.incarnation > 0 && recovered.transactions == 0);
    let (envelope, body) = small(1);
    assert_eq!(persist(&store, (envelope.clone(), body.clone())), Ok(1));

    let stored = store.transaction(&envelope.id()).expect("readable").expect("held");
    assert_eq!((stored.position, &*stored.envelope), (1, &*envelope));
    assert_eq!(stored.received, WallTime::from_unix_ms(2_000_000));
    assert_eq!(store.body(&envelope.id()).expect("readable").as_ref(), Some(body.bytes()));
    assert_eq!(*store.head().borrow(), 1);
    let unknown = small(2).0.id();
    assert_eq!(store.contains(&[unknown, envelope.id()]), Ok(vec![false, true]));
    assert!(store.transaction(&unknown).expect("readable").is_none());
    assert_eq!(store.body(&unknown), Ok(None));
    assert_eq!(store.chunk(&unknown, 0), Ok(None));
    store.close();
}

#[test]
fn several_are_read_at_once_with_the_bodies_that_are_small() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let kept =
        [small(1), transaction(2, 1, vec![7; 4097]), transaction(3, 1, vec![7; 4096]), transaction(4, 1, "")];
    for one in &kept {
        persist(&store, one.clone()).expect("stored");
    }
    let ids = [kept[2].0.id(), small(9).0.id(), kept[1].0.id(), kept[3].0.id(), kept[0].0.id()];
    let found = store.transactions(&ids, 4096).expect("readable");
    let found: Vec<_> = found
        .into_iter()
        .map(|one| {
            one.map(|(stored, body)| (stored.position, stored.envelope.id(), body.map(|body| body.len())))
        })
        .collect();
    let expected = [
        Some((3, ids[0], Some(4096))),
        None,
        Some((2, ids[2], None)),
        Some((4, ids[3], Some(0))),
        Some((1, ids[4], Some(6))),
    ];
    assert_eq!(found, expected);
    store.close();
}

#[test]
fn positions_go_on_after_a_restart_and_a_duplicate_answers_with_its_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, first) = open(directory.path());
    for number in 1..=5 {
        assert_eq!(persist(&store, small(number)), Ok(number));
    }
    assert_eq!(persist(&store, small(2)), Ok(2));
    store.close();

    let (store, recovered) = open(directory.path());
    assert!(recovered.incarnation > first.incarnation && recovered.transactions == 5);
    assert_eq!(*store.head().borrow(), 5);
    assert_eq!(persist(&store, small(3)), Ok(3));
    assert_eq!(persist(&store, small(6)), Ok(6));
    let arrived: Vec<_> = store.after(3, 2).expect("readable").iter().map(|stored| stored.position).collect();
    assert_eq!(arrived, [4, 5]);
    assert!(store.after(6, 10).expect("readable").is_empty());
    assert!(store.after(u64::MAX, 10).expect("readable").is_empty());
    assert_eq!(store.stats().transactions, 6);
    store.close();
}

#[test]
fn bodies_of_every_size_come_back_byte_by_byte_and_chunk_by_chunk() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let segment = super::super::schema::SEGMENT_BYTES;
    let sizes = [
        0,
        1,
        4096,
        4097,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        segment - 1,
        segment,
        segment + 1,
        5 * segment,
        10 * 1024 * 1024,
    ];
    for (number, size) in (1..).zip(sizes) {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 / 7) as u8).collect();
        let (envelope, body) = transaction(number, 1, bytes);
        persist(&store, (envelope.clone(), body.clone())).expect("stored");
        let id = envelope.id();
        assert!(store.body(&id).expect("readable").as_ref() == Some(body.bytes()), "{size} bytes");
        let count = tree::chunk_count(size as u64);
        for index in (0..count).step_by(7).chain([count - 1]) {
            let (data, proof) = store.chunk(&id, index as u32).expect("readable").expect("there");
            let root = envelope.header().body_root;
            assert!(tree::verify(tree::leaf(&data), index, count, &proof, &root), "{index} of {size} bytes");
        }
        assert_eq!(store.chunk(&id, count as u32), Ok(None));
    }
    store.close();
}

#[test]
fn a_body_that_is_not_as_long_as_its_header_says_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let fault = persist(&store, (small(1).0, small(22).1)).expect_err("refused");
    assert!(fault.to_string().contains("has 7 bytes, its header says 6"), "{fault}");
    assert_eq!(persist(&store, small(2)), Ok(1));
    store.close();
}

#[test]
fn records_of_peers_survive_a_restart_the_newest_of_each() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for (name, sequence) in [("a", 1), ("a", 3), ("a", 2), ("b", 1), ("c", 1)] {
        store.remember(record(name, sequence));
    }
    store.forget(record("b", 1).peer);
    store.close();
    let (store, recovered) = open(directory.path());
    let mut found = recovered.records;
    found.sort_by_key(|record| record.record.uri.clone());
    assert_eq!(found, [record("a", 3), record("c", 1)]);
    store.close();
}

#[tokio::test]
async fn a_cursor_moves_forward_only_and_never_past_the_head() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for number in 1..=5 {
        persist(&store, small(number)).expect("stored");
    }
    assert_eq!(store.cursor("billing"), Ok(None));
    for (position, expected) in [(3, 3), (2, 3), (4, 4), (900, 5)] {
        store.acknowledge("billing", position).await.expect("durable");
        assert_eq!(store.cursor("billing"), Ok(Some(expected)));
    }
    store.close();
    let (store, _) = open(directory.path());
    assert_eq!(store.cursor("billing"), Ok(Some(5)));
    store.close();
}

#[tokio::test]
async fn a_closed_store_answers_with_a_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let head = store.head();
    let waiting: Vec<_> = (1..=50).map(|number| submit(&store, small(number), "")).collect();
    store.close();
    for (answer, number) in waiting.iter().zip(1..) {
        assert_eq!(answer.recv(), Ok(Ok(number)), "what was queued is done before the store closes");
    }
    assert_eq!(*head.borrow(), 50);
    let refused = persist(&store, small(51)).expect_err("refused");
    assert_eq!(refused.to_string(), "the store failed: the store is closed: the peer is shutting down");
    assert!(store.acknowledge("billing", 1).await.is_err());
    assert!(store.after(0, 1).is_err());
    store.close();
}
