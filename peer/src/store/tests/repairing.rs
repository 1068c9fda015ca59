//! A repair keeps what is whole, in its place, and makes everything else anew.

use redb::ReadableTable;

use super::super::open::DATABASE_FILE;
use super::super::schema::{CURSORS, IDS, LOG, SEGMENTS, SUMMARY};
use super::*;
use crate::store::{Arrival, figures, repair};

fn spoil(directory: &Path, work: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>) {
    let database = redb::Database::open(directory.join(DATABASE_FILE)).expect("opens");
    let txn = database.begin_write().expect("begins");
    work(&txn).expect("spoiled");
    txn.commit().expect("durable");
}

fn filled(directory: &Path, count: u64) -> Vec<(Arc<Envelope>, Arc<Body>)> {
    let (store, _) = open(directory);
    let size = |number| if number == 7 { 200_000 } else { 100 };
    let held: Vec<_> =
        (1..=count).map(|number| transaction(number, number, vec![number as u8; size(number)])).collect();
    for (number, transaction) in (1..).zip(&held) {
        submit(&store, transaction.clone(), &format!("key {number}"));
    }
    store.remember(record("a", 1));
    store.close();
    held
}

#[test]
fn what_is_damaged_is_left_out_and_comes_again_under_a_new_position() {
    let directory = tempfile::tempdir().expect("a directory");
    let held = filled(directory.path(), 300);
    spoil(directory.path(), |txn| {
        txn.open_table(CURSORS)?.insert("billing", 5)?;
        let mut segments = txn.open_table(SEGMENTS)?;
        let mut part = segments.get((7, 1))?.expect("there").value().to_vec();
        part[9] ^= 1;
        segments.insert((7, 1), part.as_slice())?;
        txn.open_table(LOG)?.insert(11, &b"nonsense"[..])?;
        txn.open_table(IDS)?.remove(held[30].0.id().as_bytes())?;
        let mut summary = txn.open_table(SUMMARY)?;
        let lower = *summary.first()?.expect("there").0.value();
        summary.insert(&lower, &[1; 44])?;
        Ok(())
    });
    assert!(check(directory.path()).expect("checked").faults.len() >= 4);

    let report = repair(directory.path()).expect("repaired");
    let lost: Vec<_> = report.lost.iter().map(|lost| (lost.position, lost.id.clone())).collect();
    assert_eq!(lost, [(7, Some(held[6].0.id().to_string())), (11, None)]);
    assert_eq!((report.transactions, report.notes, report.lost_unlisted), (298, Vec::<String>::new(), 0));
    assert!(report.set_aside.expect("set aside").is_file());
    assert_eq!(check(directory.path()).expect("checked").faults, []);
    let found = figures(directory.path()).expect("read");
    assert_eq!((found.transactions, found.position, found.records), (298, 300, 1));
    assert!(found.incarnation > 0);
    assert_eq!((found.cursors[0].name.as_str(), found.cursors[0].position), ("billing", 5));
    assert_eq!((found.oldest_unix_ms, found.newest_unix_ms, found.layout), (1, 300, 3));

    let (store, recovered) = open(directory.path());
    assert!(recovered.incarnation > 0 && recovered.transactions == 298);
    assert_eq!(store.transaction(&held[30].0.id()).expect("readable").map(|found| found.position), Some(31));
    let gone = store.arrivals(6, 6).expect("readable").into_iter().filter_map(|arrival| match arrival {
        Arrival::Gone { from, to } => Some((from, to)),
        Arrival::Held(_) => None,
    });
    assert_eq!(gone.collect::<Vec<_>>(), [(7, 7), (11, 11)]);
    assert_eq!(persist(&store, held[6].clone()), Ok(301));
    assert!(store.body(&held[6].0.id()).expect("readable").as_ref() == Some(held[6].1.bytes()));
    store.close();
}

#[test]
fn a_page_that_the_device_changed_costs_what_was_on_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for number in 1..=200 {
        submit(&store, transaction(number, number, vec![number as u8; 3000]), "");
    }
    store.close();
    let file = directory.path().join(DATABASE_FILE);
    let mut content = std::fs::read(&file).expect("readable");
    let hit = content.windows(64).position(|window| window == [100; 64]).expect("a body is in the file");
    content[hit + 10] ^= 1;
    std::fs::write(&file, content).expect("written");
    assert!(Store::open(&options(directory.path())).is_err());
    let report = repair(directory.path()).expect("repaired");
    assert_eq!((report.transactions, report.lost.len()), (199, 1), "{report:?}");
    assert_eq!(check(directory.path()).expect("checked").faults, []);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.transactions, 199);
    store.close();
}

#[test]
fn a_whole_store_is_written_anew_without_its_free_pages() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for number in 1..=100 {
        persist(&store, transaction(number, number, vec![1; 200_000])).expect("durable");
    }
    retention::step(&store, 51, u64::MAX, u64::MAX).expect("durable");
    store.close();
    let report = repair(directory.path()).expect("repaired");
    assert_eq!((report.lost, report.set_aside), (vec![], None));
    assert!(report.bytes < report.bytes_before * 7 / 10, "{} of {}", report.bytes, report.bytes_before);
    let found = figures(directory.path()).expect("read");
    let transactions = report.transactions;
    assert_eq!((found.transactions, transactions, found.floor_unix_ms, found.position), (50, 50, 51, 100));
    assert_eq!(check(directory.path()).expect("checked").faults, []);
}
