//! Idempotency keys: remembered for a day by the store's clock, then forgotten and swept.

use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadableDatabase, ReadableTableMetadata};

use super::super::schema::{KEY_AGE_MS_MAX, KEY_TIMES, KEYS};
use super::*;

#[test]
fn a_key_stands_for_its_first_transaction_for_a_day() {
    let disk = Disk::default();
    let now = Arc::new(AtomicU64::new(1_000_000_000));
    let clock = {
        let now = now.clone();
        Box::new(move || WallTime::from_unix_ms(now.load(Ordering::Relaxed)))
    };
    let path = Path::new("disk");
    let (store, _) =
        Store::open_on(Box::new(disk.clone()), path, &options(path), clock, None).expect("opens");
    let ids: Vec<_> = (1..5).map(|number| small(number).0.id()).collect();
    let keep =
        |number, key: &str| submit(&store, small(number), key).recv().expect("answered").expect("durable");

    keep(1, "order 1");
    keep(2, "order 1");
    assert_eq!(store.recall("order 1"), Ok(Some(ids[0])), "the first keeps the key");
    assert_eq!(store.recall("order 2"), Ok(None));
    now.fetch_add(KEY_AGE_MS_MAX - 1, Ordering::Relaxed);
    assert_eq!(store.recall("order 1"), Ok(Some(ids[0])));
    now.fetch_add(1, Ordering::Relaxed);
    assert_eq!(store.recall("order 1"), Ok(None));
    keep(3, "order 1");
    assert_eq!(store.recall("order 1"), Ok(Some(ids[2])), "an expired key is free again");

    now.fetch_add(KEY_AGE_MS_MAX, Ordering::Relaxed);
    keep(4, "order 3");
    store.close();
    assert_eq!(check_disk(&disk), Vec::<String>::new());
    let database = redb::Database::builder().create_with_backend(disk.database_file()).expect("opens");
    let snapshot = database.begin_read().expect("begins");
    assert_eq!(snapshot.open_table(KEYS).expect("opens").len().expect("counted"), 1, "swept");
    assert_eq!(snapshot.open_table(KEY_TIMES).expect("opens").len().expect("counted"), 1, "swept");
}
