//! Ranges answered from sums are those that a walk over all ids would answer, and cost few rows.

use std::collections::BTreeSet;

use proptest::prelude::*;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase};
use sorcha_peer_core::envelope::SyncKey;
use sorcha_peer_core::event::{RangeDetail, RangeQuery, RangeView};
use sorcha_peer_core::message::{Fingerprint, SyncBound};
use sorcha_peer_core::types::TxId;

use super::super::buckets::{self, Reader};
use super::super::schema::{ORDER, SUMMARY};
use super::*;

type Ids = BTreeSet<(u64, [u8; 32])>;

fn database(ids: impl IntoIterator<Item = (u64, [u8; 32])>) -> Database {
    let database = Database::builder().create_with_backend(InMemoryBackend::new()).expect("made");
    let txn = database.begin_write().expect("begins");
    {
        let mut order = txn.open_table(ORDER).expect("opens");
        let mut summary = txn.open_table(SUMMARY).expect("opens");
        let mut writer = buckets::Writer { order: &mut order, summary: &mut summary };
        // In groups as the store has them: some of one, some of many.
        let keys: Vec<buckets::Key> = ids
            .into_iter()
            .map(|id| {
                buckets::key(SyncKey { published: WallTime::from_unix_ms(id.0), id: TxId::from_bytes(id.1) })
            })
            .collect();
        let mut rest = keys.as_slice();
        for length in (0..).map(|group: usize| group * 7 % 60 * (group % 5) + 1) {
            let (group, later) = rest.split_at(length.min(rest.len()));
            let mut group = group.to_vec();
            group.sort_unstable();
            writer.insert(&group).expect("inserted");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
    }
    txn.commit().expect("committed");
    database
}

/// The view and the rows that it cost.
fn inspect(database: &Database, query: &RangeQuery) -> (RangeView, u64) {
    let snapshot = database.begin_read().expect("begins");
    let order = snapshot.open_table(ORDER).expect("opens");
    let reader = Reader::new(order, snapshot.open_table(SUMMARY).expect("opens"));
    let view = reader.inspect(query).expect("readable");
    (view, reader.rows())
}

fn at((published, id): (u64, [u8; 32])) -> SyncBound {
    SyncBound { published: WallTime::from_unix_ms(published), id }
}

fn by_hand(ids: &Ids, lower: SyncBound, upper: SyncBound) -> (Fingerprint, Vec<TxId>) {
    let mut print = Fingerprint::default();
    let inside = ids
        .iter()
        .filter(|id| (lower..upper).contains(&at(**id)) || (upper == SyncBound::MAX && lower <= at(**id)));
    let listed: Vec<TxId> = inside.map(|(_, id)| TxId::from_bytes(*id)).collect();
    for id in &listed {
        print.add(id);
    }
    (print, listed)
}

fn check_view(ids: &Ids, query: &RangeQuery, view: &RangeView) {
    let (print, listed) = by_hand(ids, query.lower, query.upper);
    assert_eq!(view.fingerprint, print);
    match &view.detail {
        RangeDetail::Ids(found) => {
            assert!(listed.len() <= query.ids_max as usize);
            assert_eq!(*found, listed);
        }
        RangeDetail::First { ids: found, until } => {
            let (first, rest) = listed.split_at(query.ids_max as usize);
            assert_eq!((query.parts, found.as_slice()), (0, first));
            assert!(query.lower <= *until && *until < query.upper);
            assert_eq!(by_hand(ids, *until, query.upper).1, rest);
        }
        RangeDetail::Parts(parts) => {
            assert!(listed.len() > query.ids_max as usize);
            assert!(!parts.is_empty() && parts.len() <= query.parts as usize);
            assert_eq!(parts.last().expect("not empty").0, query.upper);
            let mut lower = query.lower;
            let even = listed.len() as u64 / parts.len() as u64;
            for (upper, print) in parts {
                assert!(lower < *upper);
                assert_eq!(*print, by_hand(ids, lower, *upper).0);
                assert!(print.count <= 2 * even + 2, "a part of {} where {even} is even", print.count);
                lower = *upper;
            }
        }
    }
}

/// Times that collide, spread, or both; ids that share long prefixes or none.
fn an_id() -> impl Strategy<Value = (u64, [u8; 32])> {
    let published = prop_oneof![0..5_u64, 1_000_000..1_000_050_u64, any::<u64>()];
    let id = prop_oneof![
        any::<[u8; 32]>(),
        (0..3_u8, any::<u8>()).prop_map(|(first, last)| {
            let mut id = [first; 32];
            id[31] = last;
            id
        })
    ];
    (published, id)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_range_is_what_a_walk_over_all_ids_says(
        ids in prop::collection::btree_set(an_id(), 0..900),
        shuffle in any::<u64>(),
        bounds in prop::collection::vec((an_id(), an_id(), any::<bool>()), 1..12),
        ids_max in 0..40_u32,
        parts in 0..20_u32,
    ) {
        let mut arrivals: Vec<_> = ids.iter().copied().collect();
        arrivals.sort_by_key(|(published, id)| {
            published.wrapping_mul(shuffle | 1) ^ TxId::from_bytes(*id).prefix().wrapping_mul(shuffle | 1)
        });
        let database = database(arrivals);
        let mut queries = vec![(SyncBound::MIN, SyncBound::MAX)];
        for (a, b, open) in bounds {
            queries.push((at(a), if open { SyncBound::MAX } else { at(b) }));
        }
        for (lower, upper) in queries {
            let query = RangeQuery { lower, upper, ids_max, parts, unless: None };
            let (view, rows) = inspect(&database, &query);
            check_view(&ids, &query, &view);
            let print = view.fingerprint;
            let (known, fewer) = inspect(&database, &RangeQuery { unless: Some(print), ..query });
            assert_eq!((known.fingerprint, known.detail), (print, RangeDetail::Parts(Vec::new())));
            assert!(fewer <= rows);
        }
    }
}

fn spread(number: u64) -> (u64, [u8; 32]) {
    let mut id = [0; 32];
    for (index, part) in (0_u64..).zip(id.chunks_mut(8)) {
        let mixed = (number * 4 + index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        part.copy_from_slice(&(mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes());
    }
    // Ten per millisecond, in runs of a thousand with pauses between: neither even nor one burst.
    (1_700_000_000_000 + number / 10 + number / 1000 * 60_000, id)
}

fn rows_at_most(count: u64, rows_max: u64) {
    let database = database((0..count).map(spread));
    for (lower, upper) in [(0, count), (1, count - 1), (count / 3 + 7, count / 2 + 77), (5, 2000)] {
        for parts in [1, 16] {
            let upper = if upper == count { SyncBound::MAX } else { at(spread(upper)) };
            let lower = if lower == 0 { SyncBound::MIN } else { at(spread(lower)) };
            let query = RangeQuery { lower, upper, ids_max: 64, parts, unless: None };
            let started = std::time::Instant::now();
            let (view, rows) = inspect(&database, &query);
            let took = started.elapsed();
            let RangeDetail::Parts(found) = view.detail else { panic!("the range has more than 64 ids") };
            assert_eq!(found.len(), parts as usize);
            assert!(rows <= rows_max, "{rows} rows of {count} ids for {parts} parts");
            report(&format!(
                "{count} ids, {} in range, {parts} parts: {rows} rows, {took:?}",
                view.fingerprint.count
            ));
        }
    }
}

#[test]
fn a_hundred_thousand_ids_cost_few_rows() {
    rows_at_most(100_000, 4000);
}

#[test]
#[ignore = "takes a minute unoptimised; prints figures"]
fn a_million_ids_cost_few_rows() {
    rows_at_most(1_000_000, 4000);
}
