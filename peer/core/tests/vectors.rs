//! The test vectors of `proto/vectors` that need no frame: rows, salts, the order and the sums of reconciliation, trees.

#[path = "../../../proto/vectors/support.rs"]
mod support;

use bytes::Bytes;
use serde_json::{Value, json};
use sorcha_peer_core::envelope::{Record, SyncKey};
use sorcha_peer_core::message::{Fingerprint, SyncBound, short_id};
use sorcha_peer_core::rules;
use sorcha_peer_core::tree::{self, Body};
use sorcha_peer_core::types::{PeerId, TxId, WallTime};

/// The largest number that every reader of JSON keeps: a double's mantissa has 53 bits.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// The id that stands in a vector under this number: SHA-256 of "sorcha-tx-v1" and the number's digits.
fn id(number: u64) -> TxId {
    TxId::of_header(number.to_string().as_bytes())
}

fn uri(number: u64) -> String {
    format!("spiffe://acme.example/payments/peers-{number}")
}

fn grid() -> Value {
    let peers = (0..12).map(|number| {
        let peer = PeerId::of_uri(&uri(number));
        let rows = [1, 4, 8, 32, 128].map(|rows| (rows.to_string(), json!(rules::row(&peer, rows))));
        json!({
            "uri": uri(number),
            "peer": peer.to_string(),
            "row_of_rows": Value::Object(rows.into_iter().collect()),
        })
    });
    let rows = 4;
    let heads = (0..3).map(|number| {
        let tx = id(number);
        let mut all: Vec<PeerId> = (0..12).map(|number| PeerId::of_uri(&uri(number))).collect();
        all.sort_by_key(|peer| rules::rank(&tx, peer));
        let row = |row| all.iter().filter(move |peer| rules::row(peer, rows) == row);
        let ranked = (0..rows).map(|at| row(at).map(PeerId::to_string).collect::<Vec<_>>());
        let ranks =
            all.iter().map(|peer| (peer.to_string(), json!(format!("{:016x}", rules::rank(&tx, peer)))));
        json!({
            "tx": tx.to_string(),
            "rank_hex": Value::Object(ranks.collect()),
            "rows": rows,
            "order_by_row": ranked.collect::<Vec<_>>(),
        })
    });
    json!({
        "about": "Rows and heads. prefix(x): the first 8 bytes of a 32-byte id, big-endian. Row of a peer among R rows: \
                  prefix(peer) mod R. Rank of a peer for a transaction: mix(prefix(tx) xor rotl64(prefix(peer), 32)), mix being \
                  the finalizer of SplitMix64; the lowest rank of a row comes first.",
        "peers": peers.collect::<Vec<_>>(),
        "transactions": heads.collect::<Vec<_>>(),
    })
}

fn announce() -> Value {
    let cases = [("payments", 1_700_000_000_123_u64), ("payments", 1_700_000_400_000), ("a", 0)];
    let cases = cases.map(|(network, at)| {
        let salt = rules::salt(network, WallTime::from_unix_ms(at));
        let ids = (0..3).map(|number| {
            json!({"id": id(number).to_string(), "short_id": hex::encode(short_id(salt, &id(number)))})
        });
        json!({
            "network": network,
            "unix_ms": at,
            "epoch": at / 600_000,
            "salt_hex": format!("{salt:016x}"),
            "ids": ids.collect::<Vec<_>>(),
        })
    });
    json!({
        "about": "Announcements: the salt of an epoch of ten minutes (first 8 bytes, big-endian, of SHA-256(\"sorcha-announce-v1\" \
                  || epoch as 8 bytes little-endian || network)) and short ids under it (first 8 bytes of SHA-256(salt as 8 bytes \
                  little-endian || id)). On the wire the salt is a varint.",
        "cases": cases,
    })
}

/// Keys of which two and two share a time, so that their ids decide.
fn keys() -> Vec<SyncKey> {
    let times = [5, 3, 3, 1_700_000_000_000, 0, 5, 4, EXACT_MAX];
    let key = |(number, at): (usize, &u64)| SyncKey {
        published: WallTime::from_unix_ms(*at),
        id: id(number as u64),
    };
    times.iter().enumerate().map(key).collect()
}

fn key_value(key: &SyncKey) -> Value {
    json!({"published_unix_ms": key.published.as_unix_ms(), "id": key.id.to_string()})
}

fn bound_value(bound: &SyncBound) -> Value {
    json!({"published_unix_ms": bound.published.as_unix_ms(), "id": hex::encode(bound.id)})
}

fn sync() -> Value {
    let mut ordered = keys();
    ordered.sort_unstable();
    let at = |ms: u64, id: [u8; 32]| SyncBound { published: WallTime::from_unix_ms(ms), id };
    // The second and third cut between the two of time 3, and between the two of time 5.
    let (three, five) = (*ordered[2].id.as_bytes(), *ordered[5].id.as_bytes());
    let bounds = [SyncBound::MIN, at(3, three), at(5, five), at(6, [0; 32]), SyncBound::MAX];
    let ranges = bounds.iter().enumerate().flat_map(|(from, lower)| {
        bounds[from + 1..].iter().map(|upper| {
            let inside = ordered.iter().filter(|key| {
                let place = SyncBound { published: key.published, id: *key.id.as_bytes() };
                *lower <= place && place < *upper
            });
            let mut sum = Fingerprint::default();
            inside.for_each(|key| sum.add(&key.id));
            let (lower, upper) = (bound_value(lower), bound_value(upper));
            json!({"lower": lower, "upper": upper, "count": sum.count, "sum": hex::encode(sum.sum)})
        })
    });
    let mut carry = Fingerprint::default();
    let all_ones = [[0xff; 32], [0x02; 32]].map(TxId::from_bytes);
    for id in &all_ones {
        carry.add(id);
    }
    let records =
        [(0, 3, 1_700_000_000_000), (1, 1, 1), (2, 7, EXACT_MAX)].map(|(number, incarnation, sequence)| {
            let addresses = Vec::new();
            let (site, software) = (String::new(), String::new());
            Record { uri: uri(number), incarnation, sequence, addresses, site, leaving: false, software }
        });
    let mut digest = Fingerprint::default();
    let summands = records.iter().map(|record| {
        let mark = rules::mark(&record.peer(), record);
        digest.add(&mark);
        json!({
            "peer": record.peer().to_string(),
            "incarnation": record.incarnation,
            "sequence": record.sequence,
            "summand": mark.to_string(),
        })
    });
    let summands: Vec<Value> = summands.collect();
    json!({
        "about": "Reconciliation. Keys are ordered by time of publication, then by id as bytes. A range holds what is not below its \
                  lower and is below its upper bound; its fingerprint is the number of ids and their sum as little-endian integers \
                  modulo 2^256. The digest of records in a RecordsRequest is such a sum over SHA-256(peer || incarnation || \
                  sequence), both as 8 bytes little-endian.",
        "keys": keys().iter().map(key_value).collect::<Vec<_>>(),
        "ordered": ordered.iter().map(key_value).collect::<Vec<_>>(),
        "ranges": ranges.collect::<Vec<_>>(),
        "carry": {
            "ids": all_ones.map(|id| id.to_string()),
            "count": carry.count,
            "sum": hex::encode(carry.sum),
        },
        "records": {"records": summands, "digest": hex::encode(digest.sum)},
    })
}

#[test]
fn this_version_computes_what_the_vectors_say() {
    support::check("grid", &grid());
    support::check("announce", &announce());
    support::check("sync", &sync());
}

#[test]
fn the_vectors_of_reconciliation_show_what_they_are_for() {
    let sync = sync();
    let ranges = sync["ranges"].as_array().expect("a list");
    let counts: Vec<u64> = ranges.iter().map(|range| range["count"].as_u64().expect("a count")).collect();
    // From the least to the greatest bound: all but the last moment, whose upper bound excludes nothing but itself.
    assert_eq!(counts[3], keys().len() as u64);
    assert_eq!(counts[0] + counts[4] + counts[7] + counts[9], counts[3], "the parts make the whole");
    assert!([0, 4, 7, 9].iter().all(|at| counts[*at] > 0), "{counts:?}");
}

/// The file was computed by another implementation, of the RFC's own recursive definition.
#[test]
fn trees_and_proofs_are_those_of_the_vectors() {
    let vectors = support::read("tree").expect("the vectors are there");
    for vector in vectors["trees"].as_array().expect("a list") {
        let number = |name: &str| vector[name].as_u64().expect("a number");
        let (bytes, index, chunks) = (number("bytes"), number("index"), number("chunks"));
        let body: Vec<u8> = (0..bytes).map(|at| ((at * 7 + 3) % 251) as u8).collect();
        let body = Body::new(Bytes::from(body));
        assert_eq!(hex::encode(body.root().as_bytes()), vector["root"], "{bytes} bytes");
        assert_eq!(tree::chunk_count(bytes), chunks);
        let leaf = body.leaves()[index as usize];
        assert_eq!(hex::encode(leaf.as_bytes()), vector["leaf"]);
        let proof = tree::proof(body.leaves(), index as usize).expect("within the body");
        let shown: Vec<String> = proof.iter().map(|hash| hex::encode(hash.as_bytes())).collect();
        assert_eq!(json!(shown), vector["proof"], "{bytes} bytes, chunk {index}");
        assert!(tree::verify(leaf, index, chunks, &proof, &body.root()));
    }
}
