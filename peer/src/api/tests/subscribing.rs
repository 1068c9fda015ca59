//! Subscriptions: order, resumption, acknowledgement, fencing, bounds.

use bytes::{Bytes, BytesMut};
use sorcha_proto::v1::subscribe_event::Event;
use sorcha_proto::v1::subscribe_open::Start;
use sorcha_proto::v1::{SubscribeAck, SubscribeEvent, SubscribeOpen, SubscribeRequest, subscribe_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::api::reading::PIECE_BYTES_MAX;
use crate::api::testing::{PATIENCE, TestPeer, noise};

struct Subscriber {
    requests: mpsc::Sender<SubscribeRequest>,
    events: Streaming<SubscribeEvent>,
}

fn named(cursor: &str) -> SubscribeOpen {
    SubscribeOpen { cursor: cursor.to_owned(), start: Start::Earliest.into(), ..SubscribeOpen::default() }
}

impl Subscriber {
    async fn open(peer: &TestPeer, open: SubscribeOpen) -> Self {
        let (requests, queued) = mpsc::channel(8);
        let subscriber = Self {
            events: peer
                .client()
                .await
                .subscribe(ReceiverStream::new(queued))
                .await
                .expect("a stream")
                .into_inner(),
            requests,
        };
        subscriber.send(subscribe_request::Request::Open(open)).await;
        subscriber
    }

    async fn send(&self, request: subscribe_request::Request) {
        self.requests.send(SubscribeRequest { request: Some(request) }).await.expect("the stream is open");
    }

    async fn ack(&self, position: u64) {
        self.send(subscribe_request::Request::Ack(SubscribeAck { position })).await;
    }

    async fn next(&mut self) -> Result<Event, Status> {
        let next = tokio::time::timeout(PATIENCE, self.events.message()).await.expect("in time");
        Ok(next?.expect("a stream ends with its reason").event.expect("a known event"))
    }

    /// Positions and bodies until all that was held has come.
    async fn until_caught_up(&mut self) -> Vec<(u64, Bytes)> {
        let mut found = Vec::new();
        loop {
            match self.next().await.expect("open") {
                Event::Delivery(delivery) => {
                    let body = delivery.transaction.expect("a transaction").body;
                    found.push((delivery.position, body));
                }
                Event::CaughtUp(_) => return found,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

fn positions(found: &[(u64, Bytes)]) -> Vec<u64> {
    found.iter().map(|(position, _)| *position).collect()
}

#[tokio::test]
async fn what_is_held_comes_in_order_and_then_what_arrives() {
    let peer = TestPeer::start().await;
    for number in 0..150 {
        peer.store.head();
        peer.submit("r", format!("{number}")).await;
    }
    let mut subscriber = Subscriber::open(&peer, SubscribeOpen::default()).await;
    let held = subscriber.until_caught_up().await;
    assert_eq!(positions(&held), (1..=150).collect::<Vec<_>>());
    assert_eq!(held[149].1, "149");
    peer.submit("r", "live").await;
    let Event::Delivery(live) = subscriber.next().await.expect("open") else { panic!("a delivery") };
    assert_eq!((live.position, live.more), (151, false));
}

#[tokio::test]
async fn registers_and_start_are_respected() {
    let peer = TestPeer::start().await;
    for register in ["a", "b", "a", "c"] {
        peer.submit(register, register.to_owned()).await;
    }
    let check = async |open: SubscribeOpen, expected: &[u64]| {
        let found = Subscriber::open(&peer, open.clone()).await.until_caught_up().await;
        assert_eq!(positions(&found), expected, "{open:?}");
    };
    let registers = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    check(SubscribeOpen { registers: registers(&["a"]), ..SubscribeOpen::default() }, &[1, 3]).await;
    check(SubscribeOpen { registers: registers(&["b", "c"]), ..SubscribeOpen::default() }, &[2, 4]).await;
    check(SubscribeOpen { start: Start::Latest.into(), ..SubscribeOpen::default() }, &[]).await;
    check(SubscribeOpen { start: Start::Position.into(), position: 2, ..SubscribeOpen::default() }, &[3, 4])
        .await;
}

#[tokio::test]
async fn a_cursor_resumes_after_its_last_acknowledgement() {
    let peer = TestPeer::start().await;
    for number in 0..4 {
        peer.submit("r", format!("{number}")).await;
    }
    let mut first = Subscriber::open(&peer, named("app")).await;
    assert_eq!(positions(&first.until_caught_up().await), [1, 2, 3, 4]);
    first.ack(2).await;
    let Event::AckDurable(durable) = first.next().await.expect("open") else { panic!("an acknowledgement") };
    assert_eq!(durable.position, 2);
    drop(first);
    let mut second = Subscriber::open(&peer, named("app")).await;
    assert_eq!(positions(&second.until_caught_up().await), [3, 4]);
}

#[tokio::test]
async fn a_new_cursor_from_the_latest_keeps_its_place_without_any_acknowledgement() {
    let peer = TestPeer::start().await;
    peer.submit("r", "before").await;
    let open = SubscribeOpen { start: Start::Latest.into(), ..named("late") };
    assert_eq!(Subscriber::open(&peer, open.clone()).await.until_caught_up().await, []);
    peer.submit("r", "between").await;
    assert_eq!(positions(&Subscriber::open(&peer, open).await.until_caught_up().await), [2]);
}

#[tokio::test]
async fn a_second_subscriber_of_a_cursor_fences_the_first() {
    let peer = TestPeer::start().await;
    peer.submit("r", "a").await;
    let mut first = Subscriber::open(&peer, named("app")).await;
    first.until_caught_up().await;
    let mut other = Subscriber::open(&peer, named("other")).await;
    other.until_caught_up().await;
    let mut second = Subscriber::open(&peer, named("app")).await;
    assert_eq!(positions(&second.until_caught_up().await), [1]);
    let ended = first.end().await;
    assert_eq!(ended.code(), Code::Aborted);
    assert!(ended.message().contains("took over cursor 'app'"), "{ended}");
    second.ack(1).await;
    assert!(matches!(second.next().await.expect("open"), Event::AckDurable(_)));
    other.ack(1).await;
    assert!(matches!(other.next().await.expect("still open"), Event::AckDurable(_)));
}

#[tokio::test]
async fn a_subscription_that_makes_no_sense_ends_with_its_reason() {
    let peer = TestPeer::start().await;
    peer.submit("r", "a").await;
    let check = async |open: SubscribeOpen, ack: Option<u64>, sentence: &str| {
        let mut subscriber = Subscriber::open(&peer, open).await;
        if let Some(position) = ack {
            subscriber.until_caught_up().await;
            subscriber.ack(position).await;
        }
        let ended = subscriber.end().await;
        assert_eq!(ended.code(), Code::InvalidArgument, "{ended}");
        assert!(ended.message().contains(sentence), "{ended}");
    };
    check(named("Not A Name"), None, "cursor 'Not A Name' is not a name").await;
    check(named(&"x".repeat(64)), None, "at most 63 characters").await;
    check(SubscribeOpen { start: 99, ..SubscribeOpen::default() }, None, "start 99 is not known").await;
    let beyond = SubscribeOpen { start: Start::Position.into(), position: 9, ..SubscribeOpen::default() };
    check(beyond, None, "position 9 lies beyond the last one held here, 1").await;
    check(
        SubscribeOpen { registers: vec!["r".to_owned(); 65], ..SubscribeOpen::default() },
        None,
        "at most 64",
    )
    .await;
    check(named("app"), Some(2), "position 2 is not delivered yet: the last one delivered is 1").await;
    check(SubscribeOpen::default(), Some(1), "nothing to acknowledge without a cursor").await;

    let (requests, queued) = mpsc::channel(1);
    let mut events =
        peer.client().await.subscribe(ReceiverStream::new(queued)).await.expect("a stream").into_inner();
    let ack = subscribe_request::Request::Ack(SubscribeAck { position: 1 });
    requests.send(SubscribeRequest { request: Some(ack) }).await.expect("open");
    let ended = events.message().await.expect_err("refused");
    assert_eq!((ended.code(), ended.message()), (Code::InvalidArgument, "the first request must be 'open'"));
}

#[tokio::test]
async fn a_large_body_comes_in_parts() {
    let peer = TestPeer::start().await;
    let sizes = [0, 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 10 << 20];
    for size in sizes {
        peer.submit("r", noise(size)).await;
    }
    let mut subscriber = Subscriber::open(&peer, SubscribeOpen::default()).await;
    for size in sizes {
        let mut body = BytesMut::new();
        loop {
            let (part, more) = match subscriber.next().await.expect("open") {
                Event::Delivery(delivery) => {
                    (delivery.transaction.expect("a transaction").body, delivery.more)
                }
                Event::BodyPart(part) => (part.body, part.more),
                other => panic!("{other:?}"),
            };
            assert!(part.len() <= PIECE_BYTES_MAX);
            body.extend_from_slice(&part);
            if !more {
                break;
            }
        }
        assert!(body == noise(size), "{size} bytes");
    }
    let open = SubscribeOpen { headers_only: true, ..SubscribeOpen::default() };
    let headers = Subscriber::open(&peer, open).await.until_caught_up().await;
    assert!(headers.len() == sizes.len() && headers.iter().all(|(_, body)| body.is_empty()));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_delays_nobody_and_misses_nothing() {
    let peer = TestPeer::start().await;
    for number in 0..8 {
        peer.submit("r", noise((1 << 20) + number)).await;
    }
    let mut slow = Subscriber::open(&peer, named("slow")).await;
    let mut fast =
        Subscriber::open(&peer, SubscribeOpen { headers_only: true, ..SubscribeOpen::default() }).await;
    assert_eq!(fast.until_caught_up().await.len(), 8);
    peer.submit("r", "after").await;
    assert!(matches!(fast.next().await.expect("open"), Event::Delivery(it) if it.position == 9));
    let (mut bytes, mut position) = (0, 0);
    while position < 9 {
        match slow.next().await.expect("open") {
            Event::Delivery(delivery) => {
                position = delivery.position;
                bytes += delivery.transaction.expect("a transaction").body.len();
            }
            Event::BodyPart(part) => bytes += part.body.len(),
            Event::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes, 8 * (1 << 20) + 28 + "after".len());
}

#[tokio::test]
async fn a_shutdown_ends_subscriptions_itself() {
    let mut peer = TestPeer::start().await;
    peer.submit("r", "a").await;
    let mut subscriber = Subscriber::open(&peer, SubscribeOpen::default()).await;
    subscriber.until_caught_up().await;
    peer.shutdown.cancel();
    assert_eq!(subscriber.end().await.code(), Code::Unavailable);
    let ending = peer.servers.take().expect("running");
    tokio::time::timeout(PATIENCE, ending).await.expect("in time").expect("ended in order");
}
