//! Figures, on request: `cargo test --release -p sorcha-peer store::tests::bench -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "prints figures of this disk"]
fn transactions_per_second_by_submitters() {
    for submitters in [1_u64, 16, 256] {
        // In the current directory: temporary directories may lie in memory.
        let directory = tempfile::tempdir_in(".").expect("a directory");
        let (store, _) = open(directory.path());
        let each = (4096 / submitters).clamp(16, 1500);
        let started = Instant::now();
        std::thread::scope(|scope| {
            for submitter in 0..submitters {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..each {
                        let number = submitter * each + number + 1;
                        let published = 1_700_000_000_000 + number;
                        persist(store, transaction(number, published, vec![number as u8; 1024]))
                            .expect("durable");
                    }
                });
            }
        });
        let (took, total, stats) = (started.elapsed(), submitters * each, store.stats());
        report(&format!(
            "{submitters} submitters: {total} transactions of 1 KB in {took:.2?}: {:.0}/s, {} commits, {} bytes",
            total as f64 / took.as_secs_f64(),
            stats.commits,
            stats.bytes
        ));
        store.close();
        report(&format!("{:?}", check(directory.path()).expect("checked").faults));
    }
}
