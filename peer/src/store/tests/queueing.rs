//! The queue before the writer is bounded, and nobody is left waiting.

use super::super::schema::{QUEUE_BYTES_MAX, QUEUE_OPS_MAX};
use super::*;

/// A store whose writer stands still in a `done` until the sender is used or dropped.
fn stopped(directory: &Path) -> (Store, mpsc::SyncSender<()>) {
    let (store, _) = open(directory);
    let (resume, resumed) = mpsc::sync_channel(1);
    let (reached, waiting) = mpsc::sync_channel(1);
    let (envelope, body) = small(1);
    let done = Box::new(move |_| {
        reached.send(()).expect("somebody waits");
        resumed.recv().expect("somebody resumes");
    });
    store.persist(envelope, body, Source::Peer, WallTime::default(), done);
    waiting.recv_timeout(PATIENCE).expect("the writer reaches the callback");
    (store, resume)
}

#[test]
fn a_full_queue_refuses_at_once_and_loses_nothing_that_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, resume) = stopped(directory.path());
    let again = small(1);
    let waiting: Vec<_> = (0..QUEUE_OPS_MAX).map(|_| submit(&store, again.clone(), "")).collect();
    let refused = submit(&store, small(2), "").try_recv().expect("answered at once").expect_err("refused");
    assert!(refused.to_string().contains("16384 operations of "), "{refused}");
    assert!(refused.to_string().contains("wait for the disk already: try again later"), "{refused}");
    resume.send(()).expect("the writer waits");
    for answer in waiting {
        assert_eq!(answer.recv_timeout(PATIENCE), Ok(Ok(1)));
    }
    assert_eq!(persist(&store, small(2)), Ok(2));
    store.close();
}

#[test]
fn bytes_that_wait_are_bounded_but_one_large_body_always_fits() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, resume) = stopped(directory.path());
    let large = transaction(2, 2, vec![2; QUEUE_BYTES_MAX]);
    let first = submit(&store, large.clone(), "");
    let second = submit(&store, small(3), "").try_recv().expect("answered at once");
    assert!(second.is_err());
    resume.send(()).expect("the writer waits");
    assert_eq!(first.recv_timeout(PATIENCE), Ok(Ok(2)));
    assert!(store.body(&large.0.id()).expect("readable").as_ref() == Some(large.1.bytes()));
    store.close();
}

#[test]
fn a_callback_that_panics_ends_the_store_but_leaves_nobody_waiting() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, resume) = stopped(directory.path());
    drop(resume);
    let refused = submit(&store, small(2), "").recv_timeout(PATIENCE).expect("an answer comes");
    assert!(refused.is_err());
    store.close();
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.transactions, 1);
    store.close();
}
