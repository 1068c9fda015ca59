//! What is answered before the database has it on the device: read again from the journal, or said to be lost.

use super::super::schema::{JOURNAL_BYTES, JOURNAL_GROUP_BYTES_MAX};
use super::super::{CursorState, OpenError};
use super::*;

/// A group for each; what is then on the device.
fn held_back(groups: u64) -> [Vec<u8>; 2] {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    for number in 1..=groups {
        assert_eq!(persist(&store, small(number)), Ok(number));
    }
    let image = disk.durable();
    store.close();
    image
}

fn try_open(image: [Vec<u8>; 2]) -> Result<(Store, Recovered), OpenError> {
    let disk = Disk::holding(image);
    let path = Path::new("disk");
    Store::open_on(Box::new(disk), path, &options(path), Box::new(clock), None)
}

fn held(image: [Vec<u8>; 2]) -> u64 {
    let (store, recovered) = try_open(image).expect("opens");
    store.close();
    recovered.transactions
}

/// Where frames begin.
fn frames(journal: &[u8]) -> Vec<usize> {
    (0..journal.len()).step_by(4096).filter(|at| journal[*at..*at + 16] != [0; 16]).collect()
}

#[test]
fn what_was_answered_is_read_from_the_journal() {
    let [database, journal] = held_back(3);
    assert_eq!(frames(&journal).len(), 3);
    assert_eq!(held([database.clone(), Vec::new()]), 0, "none of it was in the database");
    assert_eq!(held([database, journal]), 3);
}

#[test]
fn every_kind_of_operation_is_read_again() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let answer = submit(&store, small(1), "key");
    assert_eq!(answer.recv_timeout(PATIENCE).expect("an answer"), Ok(1));
    for number in 2..=9 {
        assert_eq!(persist(&store, small(number)), Ok(number));
    }
    let state = CursorState { position: 2, ahead: vec![(4, 5), (7, 7)] };
    runtime.block_on(store.acknowledge_runs("kept", state.clone())).expect("durable");
    runtime.block_on(store.acknowledge_runs("deleted", state.clone())).expect("durable");
    assert_eq!(runtime.block_on(store.delete_cursor("deleted")), Ok(true));
    store.remember(record("here", 4));
    store.remember(record("gone", 4));
    store.forget(PeerId::of_uri("spiffe://test/test/gone"));
    assert_eq!(persist(&store, small(10)), Ok(10));
    let left = Disk::holding(disk.durable());
    store.close();
    let (store, recovered) = open_on(&left);
    assert_eq!(recovered.transactions, 10);
    let records: Vec<_> =
        recovered.records.iter().map(|record| (record.peer, record.record.sequence)).collect();
    assert_eq!(records, [(PeerId::of_uri("spiffe://test/test/here"), 4)]);
    assert_eq!(store.recall("key"), Ok(Some(small(1).0.id())));
    assert_eq!(store.cursor_state("kept"), Ok(Some(state)));
    assert_eq!(store.cursor_state("deleted"), Ok(None));
    store.close();
    assert_eq!(check_disk(&left), Vec::<String>::new());
}

#[test]
fn a_frame_that_was_cut_off_was_not_answered_and_one_that_is_missing_is_said() {
    let [database, journal] = held_back(3);
    let frames = frames(&journal);
    let mut cut = journal.clone();
    cut[frames[2] + 60] ^= 1;
    assert_eq!(held([database.clone(), cut]), 2);
    let mut hole = journal.clone();
    hole[frames[1] + 60] ^= 1;
    let said = try_open([database.clone(), hole]).expect_err("refused").to_string();
    assert!(said.contains("the journal goes on with group 3, the store ends with group 1"), "{said}");
    let mut hole = journal;
    hole[frames[0] + 60] ^= 1;
    let said = try_open([database, hole]).expect_err("refused").to_string();
    assert!(said.contains("the journal goes on with group 2, the store ends with group 0"), "{said}");
}

#[test]
fn frames_of_another_store_are_none() {
    let [database, _] = held_back(1);
    let [_, journal] = held_back(3);
    assert_eq!(held([database, journal]), 0);
}

#[test]
fn the_database_takes_what_is_held_back_soon_and_frames_begin_again() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    assert_eq!(persist(&store, small(1)), Ok(1));
    durability::eventually(|| held([disk.durable()[0].clone(), Vec::new()]) == 1);
    assert_eq!(persist(&store, small(2)), Ok(2));
    let image = disk.durable();
    assert_eq!(frames(&image[1]), [0], "the second frame lies where the first one did");
    assert_eq!(held(image), 2);
    store.close();
}

#[test]
fn what_nobody_waits_for_costs_no_sync() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    let (commits, syncs) = (store.stats().commits, disk.syncs());
    store.remember(record("here", 4));
    durability::eventually(|| store.stats().commits > commits);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(disk.syncs(), syncs);
    store.close();
    let (store, recovered) = open_on(&disk);
    assert_eq!(recovered.records.len(), 1, "a close keeps it");
    store.close();
}

#[test]
fn large_groups_and_what_finds_no_room_go_to_the_database_at_once() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    let large = transaction(1, 1, vec![1; JOURNAL_GROUP_BYTES_MAX]);
    assert_eq!(persist(&store, large), Ok(1));
    assert_eq!(frames(&disk.durable()[1]), [0; 0]);
    let medium = JOURNAL_GROUP_BYTES_MAX / 2;
    let number = JOURNAL_BYTES / medium as u64 + 2;
    for number in 2..=number {
        assert_eq!(persist(&store, transaction(number, number, vec![number as u8; medium])), Ok(number));
    }
    let image = disk.durable();
    store.close();
    assert!(held([image[0].clone(), Vec::new()]) > 1, "what found no room took all before it along");
    assert_eq!(held(image), number);
}

#[test]
fn where_the_database_finds_no_space_for_what_is_held_back_nothing_is_lost() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    let taken = disk.taken();
    disk.misbehave(|faults| faults.capacity = Some(taken));
    let mut accepted = 0;
    durability::eventually(|| match persist(&store, small(accepted + 1)) {
        Ok(_) => {
            accepted += 1;
            false
        }
        Err(fault) => {
            assert!(matches!(fault, StoreFault::Full(_)), "{fault}");
            true
        }
    });
    assert!(accepted > 0);
    let ids: Vec<_> = (1..=accepted).map(|number| small(number).0.id()).collect();
    assert_eq!(store.contains(&ids), Ok(vec![true; ids.len()]), "reads go on");
    assert_eq!(held(disk.durable()), accepted);
    disk.misbehave(|faults| faults.capacity = None);
    durability::eventually(|| persist(&store, small(accepted + 1)).is_ok());
    store.close();
    assert_eq!(held(disk.durable()), accepted + 1);
    assert_eq!(check_disk(&disk), Vec::<String>::new());
}
