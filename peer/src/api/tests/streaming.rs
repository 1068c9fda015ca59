//! Subscriptions as server-sent events: deliveries, resumption, acknowledgement by POST, heartbeat.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::api::testing::{PATIENCE, TestPeer, get, http, noise};

/// One event as it came.
#[derive(Debug)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

/// An open stream.
struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    async fn open(peer: &TestPeer, query: &str, last: Option<&str>) -> Self {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut request = http::Request::get(format!("http://{}/v1/subscribe?{query}", peer.api));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Empty::new()).expect("a valid request");
        let response = tokio::time::timeout(PATIENCE, client.request(request)).await.expect("in time");
        let response = response.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event; comments are passed over. `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let found = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    found.map(|value| value.trim_start().to_owned()).unwrap_or_default()
                };
                let (name, id) = (field("event"), field("id"));
                if !name.is_empty() {
                    let data = serde_json::from_str(&field("data")).expect("JSON");
                    return Some(Event { name, id, data });
                }
                continue;
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("in time")?;
            let bytes = frame.expect("readable").into_data().unwrap_or_default();
            self.text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
    }

    async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.expect("the stream goes on");
            let last = event.name == name;
            events.push(event);
            if last {
                return events;
            }
        }
    }
}

fn positions(events: &[Event]) -> Vec<u64> {
    let of = |event: &Event| event.data["position"].as_u64().expect("a position");
    events.iter().filter(|event| event.name == "transaction").map(of).collect()
}

#[tokio::test]
async fn transactions_come_with_their_bodies_and_a_client_goes_on_after_the_last_one() {
    let peer = TestPeer::start().await;
    for number in 0..3 {
        peer.submit("r", format!("body {number}")).await;
    }
    let mut stream = Stream::open(&peer, "", None).await;
    let events = stream.until("caught-up").await;
    assert_eq!((events[0].name.as_str(), positions(&events)), ("open", vec![1, 2, 3]));
    let first = &events[1];
    assert_eq!(STANDARD.decode(first.data["body"].as_str().expect("a body")).expect("base64"), b"body 0");
    assert_eq!((&first.data["register"], &first.data["late"]), (&"r".into(), &false.into()));
    let last = events[2].id.clone();
    assert_eq!(last, "2");
    drop(stream);
    let events = Stream::open(&peer, "", Some(&last)).await.until("caught-up").await;
    assert_eq!(positions(&events), [3], "only what came after it");
    let events =
        Stream::open(&peer, "bodies=none&register=other&register=r", None).await.until("caught-up").await;
    assert!(events[1].data.get("body").is_none(), "{:?}", events[1]);
    let events = Stream::open(&peer, "register=other", None).await.until("caught-up").await;
    assert_eq!(positions(&events), [] as [u64; 0]);
}

#[tokio::test]
async fn a_cursor_is_acknowledged_by_post_and_a_fenced_reader_is_told_so() {
    let peer = TestPeer::start().await;
    for number in 0..4 {
        peer.submit("r", format!("{number}")).await;
    }
    let ack = async |position: u64, generation: &Value| {
        let path = format!("/v1/cursors/app/ack?position={position}&generation={generation}");
        http(Method::POST, &peer.api, &path, &[], "").await
    };
    let mut first = Stream::open(&peer, "cursor=app", None).await;
    let events = first.until("caught-up").await;
    assert_eq!(positions(&events), [1, 2, 3, 4]);
    let generation = events[0].data["generation"].clone();
    let answer = ack(2, &generation).await;
    assert_eq!((answer.code, &answer.json()["position"]), (StatusCode::OK, &2.into()));
    assert_eq!(answer.json()["subscribed"], true);
    assert_eq!(ack(5, &generation).await.code, StatusCode::BAD_REQUEST, "it was not delivered");

    let mut second = Stream::open(&peer, "cursor=app", Some("4")).await;
    let events = second.until("caught-up").await;
    assert_eq!(positions(&events), [3, 4], "what is not acknowledged comes again, whatever was seen");
    let end = first.until("end").await.pop().expect("an event");
    assert_eq!(end.data["status"], 409);
    assert!(first.next().await.is_none(), "the stream has ended");
    let late = ack(4, &generation).await;
    assert!(late.code == StatusCode::CONFLICT && late.text().contains("has taken over"), "{}", late.text());
    drop(second);
    let answer = ack(4, &events[0].data["generation"]).await;
    assert_eq!((answer.code, &answer.json()["position"]), (StatusCode::OK, &4.into()), "also after its end");

    let listed = get(&peer.api, "/v1/cursors").await.json();
    assert_eq!((&listed["cursors"][0]["name"], &listed["cursors"][0]["behind"]), (&"app".into(), &0.into()));
    let deleted = http(Method::DELETE, &peer.api, "/v1/cursors/app", &[], "").await;
    assert_eq!(deleted.code, StatusCode::NO_CONTENT);
    assert_eq!(get(&peer.api, "/v1/cursors/app").await.code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_large_body_comes_in_parts_and_the_end_of_the_peer_is_told() {
    let peer = TestPeer::start().await;
    let body = noise(600_000);
    peer.submit("r", body.clone()).await;
    let mut stream = Stream::open(&peer, "", None).await;
    let mut found = Vec::new();
    for event in stream.until("caught-up").await.iter().filter(|event| event.data.get("body").is_some()) {
        found.extend(STANDARD.decode(event.data["body"].as_str().expect("text")).expect("base64"));
    }
    assert!(found == body, "{} bytes", found.len());
    peer.shutdown.cancel();
    let end = stream.until("end").await.pop().expect("an event");
    assert_eq!(end.data["status"], 503);
}

#[tokio::test]
async fn streams_that_make_no_sense_are_refused() {
    let peer = TestPeer::start().await;
    let check = async |query: &str, last: &str, field: &str, sentence: &str| {
        let headers = [("last-event-id", last)];
        let headers = if last.is_empty() { &headers[..0] } else { &headers[..] };
        let answer = http(Method::GET, &peer.api, &format!("/v1/subscribe?{query}"), headers, "").await;
        let problem = answer.json();
        assert_eq!((answer.code.as_u16(), problem["field"].as_str()), (400, Some(field)), "{problem}");
        assert!(problem["detail"].as_str().expect("a sentence").contains(sentence), "{problem}");
    };
    check("cursor=Not%20A%20Name", "", "cursor", "is not a name").await;
    check("from=yesterday", "", "from", "write earliest, latest, a position in digits, or a time").await;
    check("from=7", "", "position", "position 7 lies beyond the last one held here, 0").await;
    check("bodies=some", "", "bodies", "base64 or none").await;
    check("origin=a%20b", "", "origin", "is no peer").await;
    check("", "x", "Last-Event-ID", "is not an id of this stream").await;
    check("", "7", "Last-Event-ID", "lies beyond the last position").await;
    check("filter=x", "", "query", "'filter' is not known").await;
}

#[tokio::test]
async fn a_stalled_stream_delays_nobody_and_costs_little() {
    let peer = TestPeer::start().await;
    let stalled = Stream::open(&peer, "cursor=stalled", None).await;
    let mut other = Stream::open(&peer, "bodies=none&from=latest", None).await;
    other.until("caught-up").await;
    let mut slowest = Duration::ZERO;
    for number in 0..24 {
        peer.submit("r", noise((1 << 20) + number)).await;
        let began = std::time::Instant::now();
        other.until("transaction").await;
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "the slowest delivery took {slowest:?}");
    drop(stalled);
    let listed = get(&peer.api, "/v1/cursors/stalled").await.json();
    assert_eq!((&listed["position"], &listed["behind"]), (&0.into(), &24.into()));
}
