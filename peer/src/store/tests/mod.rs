//! Tests of the store as a whole, by concern. Here: transactions to store and a way to wait for their answers.

mod bench;
mod checking;
mod durability;
mod journal;
mod keys;
mod opening;
mod queueing;
mod ranges;
mod reading;
mod repairing;
mod retention;

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use sorcha_peer_core::envelope::{Envelope, Header, Record, SignedRecord};
use sorcha_peer_core::event::StoreFault;
use sorcha_peer_core::tree::Body;
use sorcha_peer_core::types::{Address, PeerId, WallTime};
use sorcha_peer_wire::encode_record;

use super::check::Check;
use super::faulty::Disk;
use super::{Recovered, Source, Store, StoreOptions, check};

const CACHE: u64 = 8 * 1024 * 1024;
/// Far beyond what any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(directory: &Path) -> StoreOptions {
    StoreOptions { directory: directory.to_owned(), cache_bytes_max: CACHE }
}

fn open(directory: &Path) -> (Store, Recovered) {
    Store::open(&options(directory)).expect("the store opens")
}

/// A store on a disk that may fail.
fn open_on(disk: &Disk) -> (Store, Recovered) {
    let path = Path::new("disk");
    let opened = Store::open_on(Box::new(disk.clone()), path, &options(path), Box::new(clock), None);
    opened.expect("the store opens")
}

fn clock() -> WallTime {
    WallTime::from_unix_ms(1_000_000)
}

/// What a check of the disk finds.
fn check_disk(disk: &Disk) -> Vec<String> {
    let mut check = Check::new(Path::new("disk"), 0);
    check.database(
        redb::Database::builder().create_with_backend(disk.database_file()).expect("the database opens"),
    );
    check.report.faults.into_iter().map(|fault| fault.message).collect()
}

/// Prints a figure.
fn report(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").expect("standard output is open");
}

/// Transaction `number` of a fixed origin, published at `published` ms, with this body.
fn transaction(number: u64, published: u64, body: impl Into<Bytes>) -> (Arc<Envelope>, Arc<Body>) {
    let body = Body::new(body.into());
    let header = Header {
        network: "test".to_owned(),
        origin: PeerId::of_uri("spiffe://test/test/origin"),
        incarnation: 1,
        sequence: number,
        register: "orders".to_owned(),
        published: WallTime::from_unix_ms(published),
        body_bytes: body.bytes().len() as u64,
        body_root: body.root(),
    };
    let signed = sorcha_peer_wire::encode_header(&header);
    let certificate = Bytes::from(format!("certificate {}", number % 3));
    let envelope = Envelope::new(header, signed, Bytes::from_static(b"signature"), certificate);
    (Arc::new(envelope), Arc::new(body))
}

fn small(number: u64) -> (Arc<Envelope>, Arc<Body>) {
    transaction(number, 1_000_000 + number, format!("body {number}"))
}

/// Queues a transaction; the answer comes through the receiver.
fn submit(
    store: &Store,
    (envelope, body): (Arc<Envelope>, Arc<Body>),
    key: &str,
) -> mpsc::Receiver<Result<u64, StoreFault>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let done = Box::new(move |result| drop(sender.send(result)));
    store.persist(envelope, body, Source::Client(key.to_owned()), WallTime::from_unix_ms(2_000_000), done);
    receiver
}

fn persist(store: &Store, transaction: (Arc<Envelope>, Arc<Body>)) -> Result<u64, StoreFault> {
    submit(store, transaction, "").recv_timeout(PATIENCE).expect("an answer comes")
}

fn record(name: &str, sequence: u64) -> Arc<SignedRecord> {
    let uri = format!("spiffe://test/test/{name}");
    let record = Record {
        uri,
        incarnation: 1,
        sequence,
        addresses: vec![Address::new("127.0.0.1:7450")],
        site: String::new(),
        leaving: false,
        software: String::new(),
    };
    Arc::new(SignedRecord {
        peer: record.peer(),
        signed: encode_record(&record),
        record,
        signature: Bytes::from_static(b"signature"),
        certificate: Bytes::from_static(b"certificate"),
    })
}
