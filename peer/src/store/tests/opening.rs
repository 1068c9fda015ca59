//! What a store says when it cannot be opened, and that opening leaves things as they should be.

use std::os::unix::fs::PermissionsExt;

use super::super::open::{DATABASE_FILE, JOURNAL_FILE};
use super::super::schema::{
    CERTIFICATE_TIMES, META, META_BYTES, META_FLOOR, META_GROUP, META_HEAD, META_SCHEMA, META_STORE,
};
use super::*;

fn refused(directory: &Path) -> String {
    Store::open(&options(directory)).expect_err("refused").to_string()
}

#[test]
fn the_directory_is_made_for_this_user_alone() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("a/b");
    let (store, _) = open(&directory);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(DATABASE_FILE)), 0o600);
    store.close();
}

#[test]
fn a_path_that_is_no_directory_is_named() {
    let parent = tempfile::tempdir().expect("a directory");
    let file = parent.path().join("file");
    std::fs::write(&file, "text").expect("written");
    for path in [file.clone(), file.join("below")] {
        let said = refused(&path);
        let expected = format!("the state directory {} is not a directory: name", path.display());
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let said = refused(Path::new("/proc/self/sorcha"));
    assert!(said.starts_with("the state directory /proc/self/sorcha is not writable ("), "{said}");
}

#[test]
fn a_store_in_use_is_refused_with_the_process_that_has_it_and_free_after_close() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, first) = open(directory.path());
    let said = refused(directory.path());
    let process = std::process::id();
    assert!(said.contains(&format!("is in use by process {process}: stop that peer first")), "{said}");
    assert!(check(directory.path()).is_err());
    store.close();
    let (again, recovered) = open(directory.path());
    assert!(recovered.incarnation > first.incarnation, "each start has a number of its own");
    again.close();
}

#[test]
fn a_store_of_a_newer_version_is_refused_untouched() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).0.close();
    let file = directory.path().join(DATABASE_FILE);
    let database = redb::Database::open(&file).expect("opens");
    let txn = database.begin_write().expect("begins");
    txn.open_table(META).expect("opens").insert(META_SCHEMA, 7).expect("written");
    txn.commit().expect("durable");
    drop(database);
    let before = std::fs::read(&file).expect("readable");
    let said = refused(directory.path());
    assert!(said.contains("has layout 7, this program reads layouts up to 3: run the newer"), "{said}");
    assert!(check(directory.path()).expect_err("refused").to_string().contains("has layout 7"));
    let unchanged = std::fs::read(&file).expect("readable").len() == before.len();
    assert!(unchanged);
}

#[test]
fn a_store_of_layout_1_is_brought_up_and_keeps_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    let held: Vec<_> = [10, 4096, 5000, 200_000]
        .into_iter()
        .zip(1..)
        .map(|(size, number)| transaction(number, number, vec![number as u8; size]))
        .collect();
    for transaction in &held {
        persist(&store, transaction.clone()).expect("durable");
    }
    let bytes = store.stats().live_bytes;
    store.close();
    // What the first layout lacked is taken away.
    let database = redb::Database::open(directory.path().join(DATABASE_FILE)).expect("opens");
    let txn = database.begin_write().expect("begins");
    assert!(txn.delete_table(CERTIFICATE_TIMES).expect("deleted"));
    {
        let mut meta = txn.open_table(META).expect("opens");
        for name in [META_HEAD, META_FLOOR, META_BYTES, META_STORE, META_GROUP] {
            meta.remove(name).expect("removed");
        }
        meta.insert(META_SCHEMA, 1).expect("written");
    }
    txn.commit().expect("durable");
    drop(database);
    let report = check(directory.path()).expect("checked");
    assert_eq!((report.layout, report.transactions, report.faults), (1, 4, vec![]));

    let (store, recovered) = open(directory.path());
    assert_eq!((recovered.transactions, recovered.floor), (4, WallTime::default()));
    assert_eq!((store.stats().live_bytes, *store.head().borrow()), (bytes, 4));
    for (envelope, body) in &held {
        assert!(store.body(&envelope.id()).expect("readable").as_ref() == Some(body.bytes()));
    }
    assert_eq!(persist(&store, small(5)), Ok(5));
    assert_eq!(retention::step(&store, 3, u64::MAX, u64::MAX).expect("durable").removed, 2);
    store.close();
    let report = check(directory.path()).expect("checked");
    assert_eq!((report.layout, report.transactions, report.faults), (3, 3, vec![]));
}

#[test]
fn a_store_of_layout_2_gets_a_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    assert_eq!(persist(&store, small(1)), Ok(1));
    store.close();
    let database = redb::Database::open(directory.path().join(DATABASE_FILE)).expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let mut meta = txn.open_table(META).expect("opens");
        meta.remove(META_STORE).expect("removed");
        meta.remove(META_GROUP).expect("removed");
        meta.insert(META_SCHEMA, 2).expect("written");
    }
    txn.commit().expect("durable");
    drop(database);
    std::fs::remove_file(directory.path().join(JOURNAL_FILE)).expect("removed");
    let report = check(directory.path()).expect("checked");
    assert_eq!((report.layout, report.transactions, report.faults), (2, 1, vec![]));
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.transactions, 1);
    assert_eq!(persist(&store, small(2)), Ok(2));
    store.close();
    let report = check(directory.path()).expect("checked");
    assert_eq!((report.layout, report.transactions, report.faults), (3, 2, vec![]));
}

#[test]
fn a_file_of_something_else_is_refused() {
    for content in ["not a database at all".repeat(1000).into_bytes(), vec![0; 40]] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(DATABASE_FILE), content).expect("written");
        let said = refused(directory.path());
        assert!(said.contains("store.redb is not a Sorcha store (") || said.contains("is damaged"), "{said}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let other: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("other");
    let database = redb::Database::create(directory.path().join(DATABASE_FILE)).expect("made");
    let txn = database.begin_write().expect("begins");
    txn.open_table(other).expect("opens");
    txn.commit().expect("durable");
    drop(database);
    let said = refused(directory.path());
    assert!(said.contains("is not a Sorcha store (it is a database of another program)"), "{said}");
}

#[test]
fn a_damaged_file_is_refused_and_the_check_lists_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = open(directory.path());
    for number in 1..=200 {
        submit(&store, transaction(number, number, vec![number as u8; 3000]), "");
    }
    store.close();
    assert_eq!(check(directory.path()).expect("checked").faults, []);
    let file = directory.path().join(DATABASE_FILE);
    let whole = std::fs::read(&file).expect("readable");
    // The first page of the log that is found: its rows are full of one byte.
    let hit = whole.windows(64).position(|window| window == [100; 64]).expect("a body is in the file");
    let mut damaged = whole.clone();
    damaged[hit + 10] ^= 1;
    for content in [damaged, whole[..whole.len() / 2].to_vec()] {
        std::fs::write(&file, content).expect("written");
        let said = refused(directory.path());
        assert!(said.contains("store.redb is damaged ("), "{said}");
        assert!(said.contains("`sorcha-peer store check` lists the damage"), "{said}");
        let report = check(directory.path()).expect("checked");
        assert!(!report.faults.is_empty());
    }
    std::fs::write(&file, whole).expect("written");
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.transactions, 200);
    store.close();
}

#[test]
fn a_store_left_without_a_close_is_checked_and_opened() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    for number in 1..=10 {
        persist(&store, small(number)).expect("durable");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(DATABASE_FILE);
    let [database, journal] = disk.durable();
    std::fs::write(&file, database).expect("written");
    std::fs::write(directory.path().join(JOURNAL_FILE), journal).expect("written");
    let before = std::fs::read(&file).expect("readable");
    let report = check(directory.path()).expect("checked");
    assert_eq!((report.transactions, report.faults), (10, vec![]));
    assert!(std::fs::read(&file).expect("readable") == before, "a check changes nothing");
    let (left, recovered) = open(directory.path());
    assert_eq!(recovered.transactions, 10);
    left.close();
    store.close();
}

#[test]
fn there_is_nothing_to_check_where_no_peer_has_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = check(directory.path()).expect_err("nothing there").to_string();
    assert!(said.starts_with("there is no store in "), "{said}");
}
