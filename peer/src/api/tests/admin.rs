//! The admin port: metrics, health and readiness, as a probe sees them.

use http::{Method, StatusCode, header};
use sorcha_peer_core::types::WallTime;

use crate::api::readiness::Certificate;
use crate::api::testing::{TestPeer, get, http};

#[tokio::test]
async fn metrics_are_served_in_prometheus_text_format() {
    let peer = TestPeer::start().await;
    peer.submit("r", "a").await;
    let answer = get(&peer.admin, "/metrics").await;
    assert!(
        answer.headers[header::CONTENT_TYPE].to_str().expect("text").starts_with("text/plain; version=0.0.4")
    );
    let text = answer.text();
    for line in ["sorcha_peer_store_transactions 1", "sorcha_peer_peers_linked 1", "sorcha_peer_driver_up 1"]
    {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn ready_means_store_api_and_certificate() {
    let peer = TestPeer::start().await;
    let ready = get(&peer.admin, "/readyz").await;
    assert_eq!(ready.code, StatusCode::OK, "{}", ready.text());
    let names: Vec<_> =
        ready.json()["checks"].as_array().expect("checks").iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["store", "submissions", "api", "certificate"]);

    let at = WallTime::from_unix_ms;
    peer.readiness.set_certificate(Certificate { not_before: at(0), not_after: at(1) });
    let expired = get(&peer.admin, "/readyz").await;
    assert_eq!(expired.code, StatusCode::SERVICE_UNAVAILABLE);
    let answer = expired.json();
    assert_eq!(answer["ready"], false);
    assert_eq!(answer["checks"][3]["ok"], false);
    assert!(answer["checks"][3]["reason"].as_str().expect("a sentence").contains("expired"), "{answer}");
    assert_eq!(
        get(&peer.admin, "/healthz").await.code,
        StatusCode::OK,
        "an expired certificate is no reason to restart"
    );
}

#[tokio::test]
async fn the_root_lists_the_pages_and_others_are_refused() {
    let peer = TestPeer::start().await;
    let root = get(&peer.admin, "/").await.text();
    for page in ["/metrics", "/healthz", "/readyz"] {
        assert!(root.contains(page), "{page}");
    }
    assert_eq!(get(&peer.admin, "/secrets").await.code, StatusCode::NOT_FOUND);
    assert_eq!(
        http(Method::POST, &peer.admin, "/metrics", &[], "").await.code,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let foreign = http(Method::GET, &peer.admin, "/metrics", &[("Host", "evil.example")], "").await;
    assert_eq!(foreign.code, StatusCode::FORBIDDEN);
}
