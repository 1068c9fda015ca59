//! A check names what is wrong: each table is spoiled in turn.

use redb::{ReadableTable, WriteTransaction};

use super::super::schema::{
    CERTIFICATES, CURSORS, IDS, KEY_TIMES, KEYS, LOG, ORDER, RECORDS, SEGMENTS, SUMMARY, TREES,
};
use super::super::{Fault, FaultKind};
use super::*;

/// A store with something in every table, after `spoil`.
fn faults_after(spoil: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Vec<Fault> {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    let answers: Vec<_> = (1..=300)
        .map(|number| {
            let size = if number == 7 { 200_000 } else { 10 };
            submit(
                &store,
                transaction(number, number / 3, vec![number as u8; size]),
                &format!("key {number}"),
            )
        })
        .collect();
    for answer in answers {
        answer.recv_timeout(PATIENCE).expect("an answer").expect("durable");
    }
    store.remember(record("a", 1));
    store.close();
    let database = redb::Database::builder().create_with_backend(disk.database_file()).expect("opens");
    let txn = database.begin_write().expect("begins");
    txn.open_table(CURSORS).expect("opens").insert("billing", 5).expect("written");
    spoil(&txn).expect("spoiled");
    txn.commit().expect("durable");
    drop(database);
    let mut check = Check::new(Path::new("disk"), 0);
    check.database(redb::Database::builder().create_with_backend(disk.database_file()).expect("opens"));
    check.report.faults
}

fn check_faults(
    spoil: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    expected: FaultKind,
    words: &str,
) {
    let faults = faults_after(spoil);
    let named = faults.iter().any(|fault| fault.kind == expected && fault.message.contains(words));
    assert!(named, "'{words}' is not among {faults:?}");
}

#[test]
fn a_whole_store_has_no_faults() {
    assert_eq!(faults_after(|_| Ok(())), []);
}

#[test]
fn each_spoiled_table_is_named() {
    let id = transaction(9, 3, vec![9; 10]).0.id();
    let nothing = [0_u8; 32];
    check_faults(
        |txn| {
            txn.open_table(IDS)?.remove(id.as_bytes())?;
            Ok(())
        },
        FaultKind::Index,
        "at position 9 is not found by its id",
    );
    check_faults(
        |txn| {
            txn.open_table(IDS)?.insert(&nothing, 1000)?;
            Ok(())
        },
        FaultKind::Index,
        "leads to position 1000, where there is nothing",
    );
    check_faults(
        |txn| {
            txn.open_table(ORDER)?.pop_first()?;
            Ok(())
        },
        FaultKind::Index,
        "is missing in the order of time",
    );
    check_faults(
        |txn| {
            txn.open_table(ORDER)?.insert(&[3; 40], ())?;
            Ok(())
        },
        FaultKind::Index,
        "which is not held",
    );
    check_faults(
        |txn| {
            txn.open_table(ORDER)?.pop_first()?;
            Ok(())
        },
        FaultKind::Summary,
        "the sum of level 0 from",
    );
    check_faults(
        |txn| {
            txn.open_table(SUMMARY)?.pop_last()?;
            Ok(())
        },
        FaultKind::Summary,
        "no sum of level 2 covers",
    );
    check_faults(
        |txn| {
            txn.open_table(LOG)?.insert(9, &[1, 2, 3][..])?;
            Ok(())
        },
        FaultKind::Envelope,
        "the entry at position 9 cannot be read",
    );
    check_faults(
        |txn| {
            let mut log = txn.open_table(LOG)?;
            let mut spoiled = log.get(9)?.expect("there").value().to_vec();
            let register = spoiled.windows(6).position(|window| window == b"orders").expect("in the header");
            spoiled[register] = b'O';
            log.insert(9, spoiled.as_slice())?;
            Ok(())
        },
        FaultKind::Index,
        "at position 9 is not found by its id",
    );
    check_faults(
        |txn| {
            let mut segments = txn.open_table(SEGMENTS)?;
            let part = segments.get((7, 1))?.expect("there").value().to_vec();
            segments.insert((7, 1), vec![0; part.len()].as_slice())?;
            Ok(())
        },
        FaultKind::Body,
        "does not match its root",
    );
    check_faults(
        |txn| {
            txn.open_table(SEGMENTS)?.pop_last()?;
            Ok(())
        },
        FaultKind::Body,
        "of its 200000 bytes",
    );
    check_faults(
        |txn| {
            txn.open_table(SEGMENTS)?.insert((999, 0), &[1][..])?;
            Ok(())
        },
        FaultKind::Body,
        "segments of bodies, the transactions held have",
    );
    check_faults(
        |txn| {
            txn.open_table(TREES)?.insert((7, 1, 0), &[1; 32][..])?;
            Ok(())
        },
        FaultKind::Body,
        "the chunk tree of the body at position 7 is not that of the body",
    );
    check_faults(
        |txn| {
            txn.open_table(CERTIFICATES)?.pop_first()?;
            Ok(())
        },
        FaultKind::Certificate,
        "is missing in the archive",
    );
    check_faults(
        |txn| {
            txn.open_table(CERTIFICATES)?.insert(&nothing, &[1][..])?;
            Ok(())
        },
        FaultKind::Certificate,
        "does not match its digest",
    );
    check_faults(
        |txn| {
            txn.open_table(KEYS)?.insert("key 9", (5, &nothing))?;
            Ok(())
        },
        FaultKind::Key,
        "idempotency key 'key 9' stands for transaction 0000",
    );
    check_faults(
        |txn| {
            txn.open_table(KEY_TIMES)?.pop_first()?;
            Ok(())
        },
        FaultKind::Key,
        "would never expire",
    );
    check_faults(
        |txn| {
            txn.open_table(CURSORS)?.insert("ahead", 301)?;
            Ok(())
        },
        FaultKind::Cursor,
        "cursor 'ahead' stands at 301, beyond the last position 300",
    );
    check_faults(
        |txn| {
            txn.open_table(RECORDS)?.insert(&nothing, &[255][..])?;
            Ok(())
        },
        FaultKind::Record,
        "the record of a peer cannot be read",
    );
}

#[test]
fn a_report_is_written_as_json() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    persist(&store, small(1)).expect("durable");
    store.close();
    let report = serde_json::to_value(check(directory.path()).expect("checked")).expect("serialisable");
    for (field, expected) in
        [("layout", 3), ("transactions", 1), ("bodyBytes", 6), ("certificates", 1), ("cursors", 0)]
    {
        assert_eq!(report[field], expected, "{field}");
    }
    assert_eq!(report["faults"], serde_json::json!([]));
}
