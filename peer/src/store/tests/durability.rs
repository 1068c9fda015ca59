//! The power goes, syncs fail, the device fills up: what was answered as durable is there, and nothing else is claimed.

use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Crashes tried by `no_power_failure_loses...`; `SORCHA_STORE_SEEDS` sets another number.
const SEEDS: u64 = 60;

type Transaction = (Arc<Envelope>, Arc<Body>);

/// What was asked and answered before the power went.
#[derive(Default)]
struct Promises {
    durable: Vec<(Transaction, u64)>,
    /// Retention was asked to remove what was published before, answered or not.
    asked: u64,
    /// It has answered that all of that is gone.
    floor: u64,
}

/// Submits in bursts on a disk whose power goes at a random moment, looks at what the failure left, and says what is
/// wrong with it.
fn survive(seed: u64, sync_is_omitted: bool) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    // Small enough that a step of retention also moves pages.
    store.shared.compact_from_bytes.store(1, std::sync::atomic::Ordering::Relaxed);
    let started = disk.operations();
    disk.misbehave(|faults| {
        faults.sync_is_omitted = sync_is_omitted;
        faults.power_for = Some(started + rng.random_range(0..300));
    });
    let mut promises = Promises::default();
    let mut number = 0;
    for _ in 0..rng.random_range(1..8) {
        let burst: Vec<_> = (0..rng.random_range(1..20))
            .map(|_| {
                number += 1;
                let size = [10, 1000, 5000, 40_000, 200_000][rng.random_range(0..5)];
                let transaction = transaction(number, rng.random_range(0..50), vec![number as u8; size]);
                (transaction.clone(), submit(&store, transaction, &format!("key {number}")))
            })
            .collect();
        for (transaction, answer) in burst {
            if let Ok(position) = answer.recv_timeout(PATIENCE).expect("an answer comes") {
                promises.durable.push((transaction, position));
            }
        }
        if rng.random_bool(0.4) {
            let before = rng.random_range(0..50);
            promises.asked = promises.asked.max(before);
            if let Ok(expired) = retention::step(&store, before, u64::MAX, u64::MAX)
                && expired.removed > 0
            {
                promises.floor = promises.floor.max(expired.floor.as_unix_ms());
            }
        }
    }
    // Also where the power was not gone yet, it goes now: a close would sync.
    let left = Disk::holding(disk.after_power_failure(seed));
    store.close();

    let opened = Store::open_on(
        Box::new(left.clone()),
        Path::new("disk"),
        &options(Path::new("disk")),
        Box::new(clock),
        None,
    );
    let (store, recovered) = opened.map_err(|error| format!("does not open: {error}"))?;
    if recovered.floor.as_unix_ms() < promises.floor {
        return Err(format!("the floor was {} and is {:?}", promises.floor, recovered.floor));
    }
    for ((envelope, body), position) in promises.durable {
        let id = envelope.id();
        if envelope.header().published.as_unix_ms() < promises.asked {
            continue;
        }
        let held = store.transaction(&id).map_err(|fault| fault.to_string())?;
        let held = held.ok_or_else(|| format!("{id} was durable at {position} and is lost"))?;
        if held.position != position {
            return Err(format!("{id} was durable at {position} and is now at {}", held.position));
        }
        if store.body(&id).map_err(|fault| fault.to_string())?.as_ref() != Some(body.bytes()) {
            return Err(format!("the body of {id} is another"));
        }
    }
    store.close();
    let faults = check_disk(&left);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

#[test]
fn no_power_failure_loses_what_was_answered_as_durable() {
    let seeds = std::env::var("SORCHA_STORE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        if let Err(fault) = survive(seed, false) {
            panic!("seed {seed}: {fault}");
        }
    }
}

#[test]
fn the_power_failures_catch_an_omitted_sync() {
    let caught = (0..20).filter(|seed| survive(*seed, true).is_err()).count();
    assert!(caught >= 5, "only {caught} of 20 power failures noticed that nothing was ever synced");
}

#[test]
fn an_answer_comes_after_the_sync_of_its_group() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    let images = Arc::new(Mutex::new(Vec::new()));
    let (sender, answered) = mpsc::sync_channel(20);
    let before = disk.syncs();
    for number in 1..=20 {
        let (envelope, body) = small(number);
        let (disk, images, sender) = (disk.clone(), images.clone(), sender.clone());
        let id = envelope.id();
        let done = Box::new(move |result: Result<u64, StoreFault>| {
            images.lock().expect("no panic").push((id, disk.durable()));
            drop(sender.send(result));
        });
        store.persist(envelope, body, Source::Peer, WallTime::default(), done);
        if number % 5 == 0 {
            for _ in 0..5 {
                answered.recv_timeout(PATIENCE).expect("an answer").expect("durable");
            }
        }
    }
    assert!(disk.syncs() > before);
    store.close();
    for (id, image) in images.lock().expect("no panic").drain(..) {
        let (store, _) = open_on(&Disk::holding(image));
        assert_eq!(store.contains(&[id]), Ok(vec![true]));
        store.close();
    }
}

#[test]
fn a_sync_that_fails_once_is_made_good_and_one_that_fails_on_is_answered() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    assert_eq!(persist(&store, small(1)), Ok(1));
    disk.misbehave(|faults| faults.failing_syncs = 1);
    assert_eq!(persist(&store, small(2)), Ok(2), "written again after the database was opened anew");
    let (restored, _) = open_on(&Disk::holding(disk.durable()));
    assert_eq!(restored.contains(&[small(2).0.id()]), Ok(vec![true]));
    restored.close();

    disk.misbehave(|faults| faults.failing_syncs = 1000);
    let fault = persist(&store, small(3)).expect_err("nothing is durable");
    assert!(matches!(fault, StoreFault::Failed(_)), "{fault}");
    assert_eq!(*store.head().borrow(), 2);
    disk.misbehave(|faults| faults.failing_syncs = 0);
    eventually(|| persist(&store, small(3)) == Ok(3));
    assert_eq!(store.contains(&[small(1).0.id(), small(3).0.id()]), Ok(vec![true, true]));
    store.close();
    assert_eq!(check_disk(&disk), Vec::<String>::new());
}

/// Fills the disk, frees it, and returns how many transactions it took until it was full.
fn fill_and_free(space_is_known: bool) -> u64 {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    let capacity = disk.taken() + 12 * 1024 * 1024;
    disk.misbehave(|faults| {
        faults.capacity = Some(capacity);
        faults.space_is_known = space_is_known;
    });
    let big = |number| transaction(number, number, vec![number as u8; 300_000]);
    let mut held = 0;
    let fault = loop {
        match persist(&store, big(held + 1)) {
            Ok(position) => assert_eq!(position, held + 1),
            Err(fault) => break fault,
        }
        held += 1;
        assert!(held < 100, "the disk never fills up");
    };
    assert!(matches!(fault, StoreFault::Full(_)), "{fault}");
    assert!(fault.to_string().contains("accepting again as soon as there is space"), "{fault}");
    for number in 1..=held {
        let body = store.body(&big(number).0.id()).expect("reads go on");
        assert!(body.as_ref() == Some(big(number).1.bytes()));
    }
    assert!(matches!(persist(&store, big(held + 1)), Err(StoreFault::Full(_))));
    assert_eq!(*store.head().borrow(), held);
    disk.misbehave(|faults| faults.capacity = None);
    eventually(|| persist(&store, big(held + 1)) == Ok(held + 1));
    store.close();
    assert_eq!(check_disk(&disk), Vec::<String>::new());
    held
}

#[test]
fn a_full_disk_refuses_reads_on_and_recovers_by_itself() {
    assert!(fill_and_free(false) > 10);
}

#[test]
fn a_disk_that_gets_full_is_not_written_to_the_last_byte() {
    assert!((1..30).contains(&fill_and_free(true)));
}

#[test]
fn a_full_disk_takes_again_what_retention_has_made_room_for() {
    for space_is_known in [true, false] {
        let disk = Disk::default();
        let (store, _) = open_on(&disk);
        let capacity = disk.taken() + 40 * 1024 * 1024;
        disk.misbehave(|faults| {
            faults.capacity = Some(capacity);
            faults.space_is_known = space_is_known;
        });
        let big = |number| transaction(number, number, vec![number as u8; 300_000]);
        let mut held = 0;
        while persist(&store, big(held + 1)).is_ok() {
            held += 1;
            assert!(held < 200, "the disk never fills up");
        }
        let mut floor = 1;
        eventually(|| {
            floor = (floor + 10).min(held);
            // Where not even that can be written, it is tried again.
            let _expired = retention::step(&store, floor, u64::MAX, u64::MAX);
            persist(&store, big(held + 1)).is_ok()
        });
        assert!(floor < held, "it took all of {held} to make room for one");
        assert!(store.body(&big(held).0.id()).expect("readable").is_some());
        store.close();
        assert_eq!(check_disk(&disk), Vec::<String>::new());
    }
}

#[test]
fn a_failing_read_does_not_end_the_store() {
    let disk = Disk::default();
    let (store, _) = open_on(&disk);
    for number in 1..=3 {
        persist(&store, transaction(number, number, vec![1; 1_000_000])).expect("durable");
    }
    let id = transaction(2, 2, vec![1; 1_000_000]).0.id();
    store.close();
    let (store, _) = open_on(&disk);
    disk.misbehave(|faults| faults.power_for = Some(0));
    assert!(store.body(&id).is_err());
    disk.misbehave(|faults| faults.power_for = None);
    eventually(|| store.body(&id).is_ok());
    eventually(|| persist(&store, small(9)) == Ok(4));
    store.close();
}

pub(super) fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it does not recover");
        std::thread::sleep(Duration::from_millis(20));
    }
}
