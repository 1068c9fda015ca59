//! The text that a scraper gets, held against Prometheus' conventions.

use std::collections::{BTreeMap, BTreeSet};

use sorcha_peer_core::event::EvidenceKind;
use sorcha_peer_core::types::{PeerId, TxId, WallTime};

use super::*;

fn rendered() -> String {
    let metrics = Metrics::new();
    let peer = PeerId::of_uri("spiffe://a/b/c");
    let id = TxId::from_bytes([1; 32]);
    metrics.observe_event(&Event::Received { id, from: peer, hops: 2, body_bytes: 100, age_ms: 150 });
    metrics.observe_event(&Event::Evidence { peer, kind: EvidenceKind::BadBody, detail: String::new() });
    metrics.frames_sent(Class::Push, 3, 3_000);
    metrics.frames_received(1, 64);
    let packed =
        Payload::packed(vec![0; 50].into(), sorcha_peer_core::payload::Coding::Lz4Block, vec![0; 9].into());
    metrics.body_sent(Some(&packed));
    metrics.body_sent(Some(&packed.for_reader_of(sorcha_peer_core::payload::Codings::NONE)));
    metrics.body_sent(None);
    let status = crate::api::testing::status_view();
    let snapshot = Snapshot {
        identity: &crate::api::testing::identity(),
        status: Some(&status),
        store: StoreStats {
            transactions: 7,
            bytes: 8_192,
            commits: 3,
            last_commit_us: 1_500,
            ..StoreStats::default()
        },
        certificate: Some(Certificate {
            not_before: WallTime::from_unix_ms(1_000),
            not_after: WallTime::from_unix_ms(9_000),
        }),
    };
    metrics.render(&snapshot);
    metrics.render(&snapshot)
}

#[test]
fn every_figure_has_help_and_type_and_a_conventional_name() {
    let text = rendered();
    let mut helps = BTreeSet::new();
    let mut types = BTreeMap::new();
    let mut samples = 0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(help.ends_with('.') || help.contains("; "), "{name}: {help}");
            helps.insert(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            types.insert(name, kind);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().expect("a name");
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|family| types.get(family) == Some(&"histogram"))
                .unwrap_or(name);
            assert!(helps.contains(family) && types.contains_key(family), "{line}");
            samples += 1;
        }
    }
    assert!(samples > 40, "{samples}");
    for (name, kind) in types {
        assert!(name.starts_with("sorcha_peer_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        for unit in ["_ms", "_us", "_millis", "_mib", "_kb"] {
            assert!(!name.contains(unit), "{name}: base units only");
        }
    }
}

#[test]
fn what_was_observed_is_shown_once() {
    let text = rendered();
    for line in [
        "sorcha_peer_transactions_received_total 1",
        "sorcha_peer_transactions_received_bytes_total 100",
        "sorcha_peer_transaction_age_seconds_bucket{le=\"0.2\"} 1",
        "sorcha_peer_evidence_total{kind=\"bad_body\"} 1",
        "sorcha_peer_evidence_total{kind=\"protocol\"} 0",
        "sorcha_peer_frames_sent_bytes_total{class=\"push\"} 3000",
        "sorcha_peer_frames_sent_total{class=\"bulk\"} 0",
        "sorcha_peer_frames_sent_body_bytes_total{form=\"plain\"} 100",
        "sorcha_peer_frames_sent_body_bytes_total{form=\"carried\"} 59",
        "sorcha_peer_frames_received_body_bytes_total{form=\"carried\"} 0",
        "sorcha_peer_state{state=\"online\"} 1",
        "sorcha_peer_state{state=\"offline\"} 0",
        "sorcha_peer_store_commits_total 3",
        "sorcha_peer_store_last_commit_seconds 0.0015",
        "sorcha_peer_certificate_validity_timestamp_seconds{bound=\"end\"} 9",
        "sorcha_peer_driver_up 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}
