//! Figures, on request: `cargo test --release -p sorcha-peer store::tests::bench -- --ignored --nocapture
//! --test-threads 1`. `SORCHA_STORE_BENCH_MB` sets the size of the large store (1,024).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::open::DATABASE_FILE;
use super::retention::step;
use super::*;

/// Directories on the disk of the present directory and in memory.
fn places() -> [(&'static str, tempfile::TempDir); 2] {
    let made = |path| tempfile::tempdir_in(path).expect("a directory");
    [("disk", made(".")), ("tmpfs", made("/dev/shm"))]
}

fn megabytes() -> u64 {
    std::env::var("SORCHA_STORE_BENCH_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024)
}

/// A number that the system tells of this process.
fn told(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn written() -> u64 {
    told("/proc/self/io", "wchar:")
}

fn resident_mib() -> u64 {
    told("/proc/self/status", "VmRSS:") / 1024
}

fn of_1_kb(number: u64) -> (Arc<Envelope>, Arc<Body>) {
    transaction(number, 1_700_000_000_000 + number, vec![number as u8; 1024])
}

/// Fills a store with as many bytes of bodies of this size; how many there are.
fn fill(store: &Store, bytes: u64, body: usize) -> u64 {
    let count = bytes / body as u64;
    let mut waiting = std::collections::VecDeque::new();
    for number in 1..=count {
        let (published, fill) = (1_700_000_000_000 + number, number as u8);
        waiting.push_back(submit(store, transaction(number, published, vec![fill; body]), ""));
        if waiting.len() > (32 * 1024 * 1024 / body).clamp(1, 4096) {
            let oldest = waiting.pop_front().expect("one waits");
            oldest.recv_timeout(PATIENCE).expect("an answer").expect("durable");
        }
    }
    for answer in waiting {
        answer.recv_timeout(PATIENCE).expect("an answer").expect("durable");
    }
    count
}

#[test]
#[ignore = "prints figures of this disk"]
fn transactions_per_second_by_submitters() {
    for (place, directory) in places() {
        for submitters in [1_u64, 16, 256] {
            let directory = tempfile::tempdir_in(directory.path()).expect("a directory");
            let (store, _) = open(directory.path());
            let each = (8192 / submitters).clamp(32, 1500);
            let started = Instant::now();
            std::thread::scope(|scope| {
                for submitter in 0..submitters {
                    let store = &store;
                    scope.spawn(move || {
                        for number in 0..each {
                            persist(store, of_1_kb(submitter * each + number + 1)).expect("durable");
                        }
                    });
                }
            });
            let (took, total, stats) = (started.elapsed(), submitters * each, store.stats());
            report(&format!(
                "{place}, {submitters} submitters: {total} transactions of 1 KB in {took:.2?}: {:.0}/s, {} commits, {} bytes",
                total as f64 / took.as_secs_f64(),
                stats.commits,
                stats.bytes
            ));
            store.close();
            report(&format!("{:?}", check(directory.path()).expect("checked").faults));
        }
    }
}

#[test]
#[ignore = "prints figures of this disk"]
fn bytes_written_and_taken_by_size_of_body() {
    for body in [1024, 4096, 16 * 1024, 64 * 1024, 1024 * 1024, 16 * 1024 * 1024] {
        let directory = tempfile::tempdir_in(".").expect("a directory");
        let (store, _) = open(directory.path());
        let (before, started) = (written(), Instant::now());
        let count = fill(&store, 128 * 1024 * 1024, body);
        let bodies = (count * body as u64) as f64;
        let (took, stats) = (started.elapsed().as_secs_f64(), store.stats());
        report(&format!(
            "bodies of {body} bytes: {:.0} MB/s, {:.2} bytes written, {:.2} in the file, {:.2} counted as live, for each byte of a body",
            bodies / took / 1e6,
            (written() - before) as f64 / bodies,
            stats.bytes as f64 / bodies,
            stats.live_bytes as f64 / bodies
        ));
        store.close();
    }
}

#[test]
#[ignore = "prints figures of this disk"]
fn a_large_store_after_a_kill_under_readers_and_with_retention() {
    let bytes = megabytes() * 1024 * 1024;
    let directory = tempfile::tempdir_in(".").expect("a directory");
    let (store, _) = open(directory.path());
    let started = Instant::now();
    let count = fill(&store, bytes, 1024);
    let took = started.elapsed();
    let stats = store.stats();
    report(&format!(
        "{count} transactions of 1 KB in {took:.1?}: {:.0}/s; {} bytes on disk, {} live; {} MiB resident with a cache of 8 MiB",
        count as f64 / took.as_secs_f64(),
        stats.bytes,
        stats.live_bytes,
        resident_mib()
    ));
    persist_beside_readers(&store, count);

    // What a kill leaves is what the file holds now.
    let killed = tempfile::tempdir_in(".").expect("a directory");
    std::fs::copy(directory.path().join(DATABASE_FILE), killed.path().join(DATABASE_FILE)).expect("copied");
    let started = Instant::now();
    let (left, recovered) = open(killed.path());
    report(&format!(
        "opened after a kill in {:.1?} with {} transactions",
        started.elapsed(),
        recovered.transactions
    ));
    left.close();
    drop(killed);
    let started = Instant::now();
    store.close();
    let (store, _) = open(directory.path());
    report(&format!("closed and opened in {:.1?}", started.elapsed()));

    retain(&store, count);
    store.close();
    let report_of = check(directory.path()).expect("checked");
    report(&format!("{} transactions left, faults: {:?}", report_of.transactions, report_of.faults));
}

/// p50 and p99 of persisting one at a time, with and without readers of everything, alternating.
fn persist_beside_readers(store: &Store, held: u64) {
    let mut took = [Vec::new(), Vec::new()];
    let mut next = held + 1_000_000;
    let mut reads = 0;
    for turn in 0..6 {
        let with_readers = turn % 2 == 1;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..if with_readers { 2 } else { 0 })
                .map(|reader| {
                    let stop = &stop;
                    scope.spawn(move || {
                        let (mut rng, mut reads) = (StdRng::seed_from_u64(reader), 0_u64);
                        while !stop.load(Ordering::Relaxed) {
                            reads +=
                                store.after(rng.random_range(0..held), 64).expect("readable").len() as u64;
                        }
                        reads
                    })
                })
                .collect();
            for _ in 0..150 {
                next += 1;
                let started = Instant::now();
                persist(store, of_1_kb(next)).expect("durable");
                took[turn % 2].push(started.elapsed());
            }
            stop.store(true, Ordering::Relaxed);
            reads += readers.into_iter().map(|reader| reader.join().expect("no panic")).sum::<u64>();
        });
    }
    for (name, took) in ["alone", "beside 2 readers"].iter().zip(&mut took) {
        took.sort_unstable();
        let at = |part: usize| took[took.len() * part / 100];
        report(&format!("persisting one at a time, {name}: p50 {:.2?}, p99 {:.2?}", at(50), at(99)));
    }
    report(&format!("{reads} transactions were read meanwhile; {} MiB resident", resident_mib()));
}

/// Removes nine of ten, with appends beside it.
fn retain(store: &Store, count: u64) {
    let keep = 1_700_000_000_000 + count * 9 / 10;
    let (started, mut steps, mut removed, mut longest) = (Instant::now(), 0_u64, 0, Duration::ZERO);
    let (mut beside, mut next) = (Vec::new(), count + 2_000_000);
    loop {
        let begun = Instant::now();
        let expired = step(store, keep, u64::MAX, u64::MAX).expect("durable");
        longest = longest.max(begun.elapsed());
        steps += 1;
        removed += expired.removed;
        if !expired.more {
            break;
        }
        next += 1;
        let begun = Instant::now();
        persist(store, of_1_kb(next)).expect("durable");
        beside.push(begun.elapsed());
    }
    beside.sort_unstable();
    let took = started.elapsed();
    report(&format!(
        "retention removed {removed} in {steps} steps in {took:.1?}: {:.0}/s; the longest step took {longest:.1?}; appends between them p50 {:.2?}, p99 {:.2?}",
        removed as f64 / took.as_secs_f64(),
        beside.get(beside.len() / 2).copied().unwrap_or_default(),
        beside.get(beside.len() * 99 / 100).copied().unwrap_or_default()
    ));
    // The last step also makes the file smaller; a read waits for the end of that.
    let started = Instant::now();
    assert!(store.after(0, 1).is_ok());
    let waited = started.elapsed();
    eventually_small(store);
    let stats = store.stats();
    report(&format!(
        "the file has {} bytes, {} of them live, {:.1?} later; a read waited {waited:.1?}",
        stats.bytes,
        stats.live_bytes,
        started.elapsed()
    ));
}

fn eventually_small(store: &Store) {
    let started = Instant::now();
    while store.stats().bytes > 3 * store.stats().live_bytes && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
}
