//! Acknowledgement levels, the outbox and what is kept aside, over REST and gRPC.

use http::{Method, StatusCode};
use sorcha_proto::v1;
use sorcha_proto::v1::submit_part::Part;
use tonic::Code;

use crate::api::testing::{TestPeer, get, http, outbox};

#[tokio::test]
async fn a_submission_is_answered_when_enough_hold_it_or_as_accepted_only() {
    let peer = TestPeer::start().await;
    let post = async |path: &str| http(Method::POST, &peer.api, path, &[], "a").await;
    let reached = post("/v1/transactions?register=held&ack=2").await;
    assert_eq!((reached.code, &reached.json()["holders"]), (StatusCode::CREATED, &2.into()));
    assert_eq!(reached.json()["pending"], false);
    let pending = post("/v1/transactions?register=r&ack=1&wait=50").await;
    assert_eq!(pending.code, StatusCode::ACCEPTED);
    assert_eq!((&pending.json()["holders"], &pending.json()["pending"]), (&0.into(), &true.into()));
    let id = pending.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(get(&peer.api, &format!("/v1/transactions/{id}")).await.code, StatusCode::OK, "it is durable");
    let local = post("/v1/transactions?ack=local").await;
    assert_eq!((local.code, &local.json()["pending"]), (StatusCode::CREATED, &false.into()));
    let holders = get(&peer.api, &format!("/v1/transactions/{id}/holders")).await.json();
    assert_eq!(holders["holders"], 0);
}

#[tokio::test]
async fn levels_that_make_no_sense_are_refused_before_anything_is_accepted() {
    let peer = TestPeer::start().await;
    let check = async |query: &str, field: &str, sentence: &str| {
        let answer = http(Method::POST, &peer.api, &format!("/v1/transactions?{query}"), &[], "a").await;
        let problem = answer.json();
        assert_eq!((answer.code.as_u16(), problem["field"].as_str()), (400, Some(field)), "{problem}");
        assert!(problem["detail"].as_str().expect("a sentence").contains(sentence), "{problem}");
    };
    check("ack=all", "ack", "ack 'all' is no level: write local, or a number of holders from 1 to 64").await;
    check("ack=0", "ack", "is no level").await;
    check("ack=65", "ack", "at most 64 holders are counted").await;
    check("ack=1&wait=3600001", "wait", "is too long").await;
    check("ack=1&wait=soon", "wait", "is not a number").await;
    check("register=a&register=b", "register", "given twice").await;
    assert_eq!(*peer.store.head().borrow(), 0, "nothing was stored");
}

#[tokio::test]
async fn levels_are_the_same_over_grpc() {
    let peer = TestPeer::start().await;
    let mut node = peer.client().await;
    let request = |register: &str, holders| v1::SubmitRequest {
        register: register.to_owned(),
        body: "a".into(),
        holders: Some(holders),
        wait_ms: 50,
        ..v1::SubmitRequest::default()
    };
    let reached = node.submit(request("held", 2)).await.expect("accepted").into_inner();
    assert_eq!((reached.holders, reached.pending), (2, false));
    let pending = node.submit(request("r", 2)).await.expect("accepted").into_inner();
    assert_eq!((pending.holders, pending.pending, pending.id.len()), (0, true, 32));
    let refused = node.submit(request("r", 65)).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let start = v1::SubmitStart { holders: Some(1), wait_ms: 50, ..v1::SubmitStart::default() };
    let parts = [Part::Start(start), Part::Body("a".into()), Part::End(v1::SubmitEnd {})];
    let parts = parts.map(|part| v1::SubmitPart { part: Some(part) });
    let mut answers = node.submit_stream(futures::stream::iter(parts)).await.expect("a stream").into_inner();
    let answer = answers.message().await.expect("accepted").expect("an answer");
    assert!(answer.pending);
    let asked = v1::GetHoldersRequest { id: answer.id, wanted: 1, wait_ms: 0 };
    assert_eq!(node.get_holders(asked).await.expect("answered").into_inner().holders, 0);
}

#[tokio::test]
async fn the_outbox_names_what_does_not_go_on() {
    let peer = TestPeer::start().await;
    let listed = get(&peer.api, "/v1/outbox").await.json();
    assert_eq!(listed["entries"].as_array().expect("a list").len(), 2);
    assert_eq!(listed["entries"][1]["undeliverable"], "linked peers do not take it");
    let one = get(&peer.api, "/v1/outbox?limit=1").await.json();
    assert_eq!(one["entries"].as_array().expect("a list").len(), 1);
    let id = outbox()[1].id;
    for verb in ["retry", "discard"] {
        let path = format!("/v1/outbox/{verb}");
        let all = http(Method::POST, &peer.api, &path, &[], "").await;
        assert_eq!(all.code, StatusCode::OK, "{}", all.text());
        let named = http(Method::POST, &peer.api, &format!("{path}?id={id}"), &[], "").await;
        assert_eq!(named.code, StatusCode::OK, "{}", named.text());
        let other = http(Method::POST, &peer.api, &format!("{path}?id={}", "0".repeat(64)), &[], "").await;
        assert!(other.code == StatusCode::NOT_FOUND && other.text().contains("is not in the outbox"));
    }
    let kept = get(&peer.api, "/v1/quarantine").await.json();
    assert_eq!(kept["entries"][0]["reason"], "its certificate expired");
    let again = http(Method::POST, &peer.api, "/v1/quarantine/retry", &[], "").await;
    assert_eq!(again.code, StatusCode::OK);
}
