//! REST: every route, right and wrong.

use bytes::Bytes;
use http::{Method, StatusCode, header};

use crate::api::openapi::{OPERATIONS, document};
use crate::api::testing::{BODY_BYTES_MAX, TestPeer, get, http, link_event, noise};

#[tokio::test]
async fn a_transaction_goes_in_and_comes_out_as_it_was() {
    let peer = TestPeer::start().await;
    let body = noise(1_000_000);
    let path = "/v1/transactions?register=orders%2Fnew";
    let answer = http(Method::POST, &peer.api, path, &[], body.clone()).await;
    assert_eq!(answer.code, StatusCode::CREATED, "{}", answer.text());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.headers[header::LOCATION], format!("/v1/transactions/{id}"));

    let held = get(&peer.api, &format!("/v1/transactions/{id}")).await.json();
    assert_eq!(held["register"], "orders/new");
    assert_eq!(held["bodyBytes"], 1_000_000);
    assert_eq!(held["position"], 1);
    assert_eq!(held["publishedUnixMs"], answer.json()["publishedUnixMs"]);

    let read = get(&peer.api, &format!("/v1/transactions/{id}/body")).await;
    assert_eq!(read.headers[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(read.headers[header::CONTENT_LENGTH], "1000000");
    assert!(read.body == body, "the body is not the one submitted");
}

#[tokio::test]
async fn an_empty_body_is_a_body() {
    let peer = TestPeer::start().await;
    let answer = http(Method::POST, &peer.api, "/v1/transactions", &[], Bytes::new()).await;
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let read = get(&peer.api, &format!("/v1/transactions/{id}/body")).await;
    assert_eq!((read.code, read.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_retry_with_the_same_key_answers_with_the_first_id() {
    let peer = TestPeer::start().await;
    let headers = [("Idempotency-Key", "order 4711")];
    let first = http(Method::POST, &peer.api, "/v1/transactions", &headers, "a").await;
    let again = http(Method::POST, &peer.api, "/v1/transactions", &headers, "a").await;
    assert_eq!((first.code, again.code), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(again.json()["duplicate"], true);
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_overlap() {
    let peer = TestPeer::start().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(peer.submit("r", format!("{number}")).await.to_string());
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = get(&peer.api, &format!("/v1/transactions?after={after}&limit=2")).await.json();
        assert_eq!(page["head"], 5);
        let transactions = page["transactions"].as_array().expect("a list").clone();
        if transactions.is_empty() {
            break;
        }
        seen.extend(transactions.iter().map(|it| it["id"].as_str().expect("an id").to_owned()));
        after = page["next"].as_u64().expect("a position");
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn what_is_wrong_is_answered_with_a_problem_that_names_it() {
    let peer = TestPeer::start().await;
    let unknown = format!("/v1/transactions/{}", "0".repeat(64));
    let unknown_body = format!("{unknown}/body");
    let long_register = format!("/v1/transactions?register={}", "x".repeat(129));
    let submit = "/v1/transactions";
    let check =
        async |method: Method, path: &str, body: &'static str, code: u16, field: &str, sentence: &str| {
            let answer = http(method, &peer.api, path, &[], body).await;
            assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{path}");
            let problem = answer.json();
            assert_eq!(answer.code.as_u16(), code, "{path}: {problem}");
            assert_eq!(problem["status"], code);
            assert!(!problem["title"].as_str().expect("a title").is_empty());
            assert_eq!(problem["field"].as_str().unwrap_or(""), field, "{path}: {problem}");
            assert!(problem["detail"].as_str().expect("a sentence").contains(sentence), "{path}: {problem}");
        };
    let (get, post) = (Method::GET, Method::POST);
    check(get.clone(), "/v1/transactions/xyz", "", 400, "id", "'xyz' is not an id").await;
    check(get.clone(), &unknown, "", 404, "", "is not held here").await;
    check(get.clone(), &unknown_body, "", 404, "", "is not held here").await;
    check(
        get.clone(),
        "/v1/transactions?limit=0",
        "",
        400,
        "limit",
        "limit 0 is out of range: use 1 to 1000",
    )
    .await;
    check(get.clone(), "/v1/transactions?limit=1001", "", 400, "limit", "out of range").await;
    check(get.clone(), "/v1/transactions?after=-1", "", 400, "after", "after '-1' is not a number").await;
    check(
        get.clone(),
        "/v1/transactions?before=1",
        "",
        400,
        "query",
        "'before' is not known here; known: after, limit",
    )
    .await;
    check(get.clone(), "/v1/transactions?after=%zz", "", 400, "query", "not percent-encoded").await;
    check(get.clone(), "/v1/transactions?after=1&after=2", "", 400, "query", "given twice").await;
    check(get.clone(), "/nowhere", "", 404, "", "there is no '/nowhere' here").await;
    check(Method::DELETE, submit, "", 405, "", "/v1/transactions does not take DELETE").await;
    check(post.clone(), "/v1/transactions?registry=r", "a", 400, "query", "'registry' is not known").await;
    check(post.clone(), &long_register, "a", 400, "register", "is not a label").await;
    check(post.clone(), submit, "busy", 429, "", "submissions are under way").await;
    check(post.clone(), submit, "full", 507, "", "the state directory is full").await;
    check(post.clone(), submit, "failed", 503, "", "input/output error").await;
    check(post.clone(), submit, "unsigned", 503, "", "could not be signed").await;
    check(post, submit, "draining", 503, "", "shutting down").await;
}

#[tokio::test]
async fn a_refusal_that_passes_says_when_to_come_back() {
    let peer = TestPeer::start().await;
    let busy = http(Method::POST, &peer.api, "/v1/transactions", &[], "busy").await;
    assert_eq!(busy.headers[header::RETRY_AFTER], "2", "1.5 s, rounded up");
    let full = http(Method::POST, &peer.api, "/v1/transactions", &[], "full").await;
    assert_eq!(full.headers[header::RETRY_AFTER], "5");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_by_its_length_alone() {
    let peer = TestPeer::start().await;
    let answer =
        http(Method::POST, &peer.api, "/v1/transactions", &[], vec![0; BODY_BYTES_MAX as usize + 1]).await;
    assert_eq!(answer.code, StatusCode::PAYLOAD_TOO_LARGE);
    let detail = answer.json()["detail"].as_str().expect("a sentence").to_owned();
    assert!(detail.contains("16777217 bytes") && detail.contains("at most 16777216"), "{detail}");
    let most = http(Method::POST, &peer.api, "/v1/transactions", &[], vec![0; BODY_BYTES_MAX as usize]).await;
    assert_eq!(most.code, StatusCode::CREATED);
}

#[tokio::test]
async fn status_and_peers_are_shown_in_json() {
    let peer = TestPeer::start().await;
    peer.submit("r", "a").await;
    let status = get(&peer.api, "/v1/status").await.json();
    assert_eq!(status["name"], "test-peers-0");
    assert_eq!(status["state"], "online");
    assert_eq!((&status["transactions"], &status["position"]), (&1.into(), &1.into()));
    assert!(status["certificateNotAfterUnixMs"].as_u64().expect("a time") > 0);
    let peers = get(&peer.api, "/v1/peers").await.json();
    assert_eq!(peers["peers"][0]["transport"], "stream");
    assert_eq!(peers["peers"][0]["rttUs"], 1234);
    assert_eq!(peers["peers"][1]["lastError"], "connection refused");
}

#[tokio::test]
async fn events_are_pushed_until_the_peer_stops() {
    let peer = TestPeer::start().await;
    let (api, events) = (peer.api.clone(), peer.events.clone());
    let watching = tokio::spawn(async move { get(&api, "/v1/events").await });
    while events.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    events.send(link_event()).expect("somebody watches");
    while !events.is_empty() {
        tokio::task::yield_now().await;
    }
    peer.shutdown.cancel();
    let answer = watching.await.expect("no panic");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream");
    let text = answer.text();
    assert!(text.contains("event: link.up") && text.contains("\"kind\":\"link.up\""), "{text}");
}

#[tokio::test]
async fn a_peer_can_be_told_to_leave() {
    let mut peer = TestPeer::start().await;
    let answer = http(Method::POST, &peer.api, "/v1/leave", &[], "").await;
    assert_eq!(answer.code, StatusCode::ACCEPTED);
    peer.left.take().expect("asked once").await.expect("the driver was told");
}

#[tokio::test]
async fn every_operation_of_the_document_is_served_and_every_route_is_in_it() {
    let peer = TestPeer::start().await;
    let served = get(&peer.api, "/openapi.json").await.json();
    assert_eq!(served, document());
    let mut operations = 0;
    for (path, methods) in served["paths"].as_object().expect("paths") {
        for (method, described) in methods.as_object().expect("methods") {
            let known = OPERATIONS.iter().find(|it| it.path == path && it.method == method);
            assert_eq!(described["operationId"], known.expect("an operation").id);
            operations += 1;
            if path == "/v1/events" || path == "/v1/subscribe" {
                continue;
            }
            let method: Method = method.to_uppercase().parse().expect("a method");
            let concrete = path.replace("{id}", &"0".repeat(64));
            let answer = http(method, &peer.api, &concrete, &[], "x").await;
            let code = answer.code.as_u16().to_string();
            assert!(described["responses"].get(&code).is_some(), "{path} answers {code}: {}", answer.text());
        }
    }
    // The router is made from the same list, so nothing is served that is not in it.
    assert_eq!(operations, OPERATIONS.len());
}

#[tokio::test]
async fn pages_of_others_and_rebound_names_are_refused() {
    let peer = TestPeer::start().await;
    let check = async |headers: &[(&str, &str)], expected: u16, field: &str| {
        let answer = http(Method::POST, &peer.api, "/v1/transactions", headers, "a").await;
        assert_eq!(answer.code.as_u16(), expected, "{headers:?}: {}", answer.text());
        if expected == 403 {
            assert_eq!(answer.json()["field"], field);
        }
    };
    let own = format!("http://{}", peer.api);
    check(&[("Origin", &own)], 201, "").await;
    check(&[("Origin", "https://evil.example")], 403, "Origin").await;
    check(&[("Origin", "null")], 403, "Origin").await;
    check(&[("Host", "evil.example")], 403, "Host").await;
    check(&[("Host", "localhost:1")], 201, "").await;
    assert_eq!(*peer.store.head().borrow(), 2, "what was refused was not stored");
}

#[tokio::test]
async fn the_page_for_people_allows_nothing_foreign() {
    let peer = TestPeer::start().await;
    let page = get(&peer.api, "/").await;
    assert_eq!(page.code, StatusCode::OK);
    assert!(
        page.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("text")
            .starts_with("default-src 'none'")
    );
    assert!(page.text().contains("Submit a transaction"));
}
