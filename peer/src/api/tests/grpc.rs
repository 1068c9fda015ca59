//! gRPC's `Node` beside subscriptions, health and reflection.

use bytes::Bytes;
use sorcha_proto::v1::submit_part::Part;
use sorcha_proto::v1::{
    GetStatusRequest, GetTransactionRequest, ListPeersRequest, SubmitEnd, SubmitPart, SubmitRequest,
    SubmitStart, WatchEventsRequest,
};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::api::testing::{BODY_BYTES_MAX, PATIENCE, TestPeer, link_event, noise};

fn request(register: &str, body: impl Into<Bytes>) -> SubmitRequest {
    SubmitRequest {
        register: register.to_owned(),
        body: body.into(),
        idempotency_key: String::new(),
        holders: None,
        wait_ms: 0,
    }
}

#[tokio::test]
async fn refusals_have_the_code_that_tells_clients_what_to_do() {
    let peer = TestPeer::start().await;
    let check = async |register: &str, body: &'static str, code: Code, sentence: &str| {
        let status = peer.client().await.submit(request(register, body)).await.expect_err("refused");
        assert_eq!(status.code(), code, "{body}: {status}");
        assert!(status.message().contains(sentence), "{body}: {status}");
        let retry = status.metadata().contains_key("grpc-retry-pushback-ms");
        assert_eq!(retry, matches!(code, Code::ResourceExhausted | Code::Unavailable), "{body}");
    };
    check(&"x".repeat(129), "a", Code::InvalidArgument, "is not a label").await;
    check("r", "busy", Code::ResourceExhausted, "try again in 1500 ms").await;
    check("r", "full", Code::ResourceExhausted, "the state directory is full").await;
    check("r", "failed", Code::Unavailable, "the store failed").await;
    check("r", "draining", Code::Unavailable, "shutting down").await;
    let whole =
        peer.client().await.submit(request("r", noise(5 << 20))).await.expect_err("too large a message");
    assert_eq!(whole.code(), Code::OutOfRange, "{whole}");
}

#[tokio::test]
async fn a_transaction_is_read_by_its_id() {
    let peer = TestPeer::start().await;
    let mut client = peer.client().await;
    let get = |id: Vec<u8>, header_only| GetTransactionRequest { id: id.into(), header_only };
    let id = peer.submit("orders", "hello").await;
    let found = client.get_transaction(get(id.as_bytes().to_vec(), false)).await.expect("held").into_inner();
    assert_eq!((found.register.as_str(), &found.body[..]), ("orders", &b"hello"[..]));
    let missing = client.get_transaction(get(vec![0; 32], false)).await.expect_err("not held");
    assert_eq!(missing.code(), Code::NotFound);
    let short = client.get_transaction(get(vec![0; 3], false)).await.expect_err("no id");
    assert_eq!((short.code(), short.message()), (Code::InvalidArgument, "an id has 32 bytes, not 3"));
    let large = peer.submit("orders", noise(5 << 20)).await;
    let whole = client.get_transaction(get(large.as_bytes().to_vec(), false)).await.expect_err("too long");
    assert_eq!(whole.code(), Code::FailedPrecondition, "{whole}");
    let header =
        client.get_transaction(get(large.as_bytes().to_vec(), true)).await.expect("held").into_inner();
    assert_eq!(header.body_bytes, 5 << 20);
}

fn start(body_bytes: u64) -> Part {
    Part::Start(SubmitStart {
        register: "r".to_owned(),
        idempotency_key: String::new(),
        body_bytes,
        ..SubmitStart::default()
    })
}

fn body(bytes: impl Into<Bytes>) -> Part {
    Part::Body(bytes.into())
}

/// Ids that came, and the status that the stream ended with.
async fn stream(peer: &TestPeer, parts: Vec<Part>) -> (Vec<Bytes>, Option<tonic::Status>) {
    let parts = tokio_stream::iter(parts.into_iter().map(|part| SubmitPart { part: Some(part) }));
    let mut answers = peer.client().await.submit_stream(parts).await.expect("a stream").into_inner();
    let mut ids = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time") {
            Ok(Some(answer)) => ids.push(answer.id),
            Ok(None) => return (ids, None),
            Err(status) => return (ids, Some(status)),
        }
    }
}

#[tokio::test]
async fn a_stream_of_submissions_is_answered_in_order() {
    let peer = TestPeer::start().await;
    let large = noise(3 << 20);
    let mut parts = vec![start(large.len() as u64)];
    parts.extend(large.chunks(1 << 20).map(|part| body(part.to_vec())));
    parts.push(Part::End(SubmitEnd {}));
    for number in 0..100 {
        parts.extend([start(0), body(format!("small {number}")), Part::End(SubmitEnd {})]);
    }
    let (ids, ended) = stream(&peer, parts).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(ids.len(), 101);
    let held = peer.store.after(0, 200).expect("readable");
    let first = held.iter().find(|it| it.envelope.id().as_bytes()[..] == ids[0][..]).expect("held");
    assert_eq!(first.envelope.header().body_bytes, 3 << 20);
    assert!(peer.store.body(&first.envelope.id()).expect("readable").expect("held") == large);
}

#[tokio::test]
async fn a_broken_stream_ends_with_its_reason_after_what_was_accepted() {
    let peer = TestPeer::start().await;
    let good = || vec![start(0), body("a"), Part::End(SubmitEnd {})];
    let check = async |tail: Vec<Part>, code: Code, sentence: &str| {
        let parts = good().into_iter().chain(tail).collect();
        let (ids, ended) = stream(&peer, parts).await;
        let status = ended.expect("refused");
        assert_eq!((ids.len(), status.code()), (1, code), "{status}");
        assert!(status.message().contains(sentence), "{status}");
    };
    check(vec![body("a")], Code::InvalidArgument, "begins with 'start'").await;
    check(vec![start(0), start(0)], Code::InvalidArgument, "before the 'end'").await;
    check(vec![start(0), body("a")], Code::InvalidArgument, "closed before 'end'").await;
    check(
        vec![start(2), body("a"), Part::End(SubmitEnd {})],
        Code::InvalidArgument,
        "1 bytes, but 'start' said 2",
    )
    .await;
    check(vec![start(0), body(vec![0; (1 << 20) + 1])], Code::InvalidArgument, "at most 1048576").await;
    check(vec![start(BODY_BYTES_MAX + 1)], Code::InvalidArgument, "at most 16777216").await;
    check(
        vec![start(0), body("busy"), Part::End(SubmitEnd {}), start(0), body("b"), Part::End(SubmitEnd {})],
        Code::ResourceExhausted,
        "under way",
    )
    .await;
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let mut peer = TestPeer::start().await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", peer.api)).expect("an address");
    let channel = channel.connect().await.expect("the peer listens");
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "sorcha.peer.v1.Node"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.expect("known");
        assert_eq!(
            answer.into_inner().status(),
            tonic_health::pb::health_check_response::ServingStatus::Serving
        );
    }
    let mut watching =
        health.watch(HealthCheckRequest { service: String::new() }).await.expect("known").into_inner();

    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflected = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .expect("served")
        .into_inner();
    let answer = reflected.message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("a list") };
    let names: Vec<_> = list.service.into_iter().map(|it| it.name).collect();
    assert!(names.iter().any(|name| name == "sorcha.peer.v1.Node"), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with("PeerLink")), "not served on this port: {names:?}");
    drop(reflected);

    peer.shutdown.cancel();
    let mut last = None;
    while let Ok(Some(answer)) = watching.message().await {
        last = Some(answer.status());
    }
    assert_eq!(last, Some(tonic_health::pb::health_check_response::ServingStatus::NotServing));
    peer.servers.take().expect("running").await.expect("ended in order");
}

#[tokio::test]
async fn status_peers_and_events_are_served() {
    let peer = TestPeer::start().await;
    let mut client = peer.client().await;
    let status = client.get_status(GetStatusRequest {}).await.expect("served").into_inner();
    assert_eq!((status.name.as_str(), status.peers_known, status.peers_linked), ("test-peers-0", 2, 1));
    let peers = client.list_peers(ListPeersRequest {}).await.expect("served").into_inner().peers;
    assert_eq!(peers.len(), 2);
    let mut events = client.watch_events(WatchEventsRequest {}).await.expect("served").into_inner();
    for _ in 0..20 {
        peer.events.send(link_event()).expect("somebody watches");
    }
    // The channel holds 16: four are missed, and that is said.
    let first = events.message().await.expect("open").expect("an event");
    assert_eq!(first.kind, "events.missed", "{first:?}");
    let second = events.message().await.expect("open").expect("an event");
    assert_eq!(
        (second.kind.as_str(), second.peer.as_str()),
        ("link.up", "spiffe://test.local/test/test-peers-1")
    );
    peer.shutdown.cancel();
    let ended = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_and_a_rebound_host_forbidden() {
    let peer = TestPeer::start().await;
    let headers = [("content-type", "application/grpc")];
    let post = http::Method::POST;
    let unknown =
        crate::api::testing::http(post.clone(), &peer.api, "/sorcha.peer.v2.Node/Submit", &headers, "").await;
    assert_eq!(unknown.headers["grpc-status"], (Code::Unimplemented as i32).to_string());
    let headers = [("content-type", "application/grpc"), ("host", "evil.example")];
    let foreign =
        crate::api::testing::http(post, &peer.api, "/sorcha.peer.v1.Node/Submit", &headers, "").await;
    assert_eq!(foreign.headers["grpc-status"], (Code::PermissionDenied as i32).to_string());
}
