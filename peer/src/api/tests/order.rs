//! Order within each origin, in what arrives in any order.

use std::time::{Duration, Instant};

use sorcha_peer_core::types::PeerId;
use sorcha_proto::v1::subscribe_event::Event;
use sorcha_proto::v1::{SubscribeOpen, SubscribeRequest, subscribe_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::order::HELD_FOR;
use crate::api::testing::{PATIENCE, TestPeer};

struct Reader {
    requests: mpsc::Sender<SubscribeRequest>,
    events: tonic::Streaming<sorcha_proto::v1::SubscribeEvent>,
}

impl Reader {
    async fn open(peer: &TestPeer, open: SubscribeOpen) -> Self {
        let (requests, queued) = mpsc::channel(8);
        let first = SubscribeRequest { request: Some(subscribe_request::Request::Open(open)) };
        requests.send(first).await.expect("room");
        let events = peer.client().await.subscribe(ReceiverStream::new(queued)).await.expect("a stream");
        Self { requests, events: events.into_inner() }
    }

    /// What comes next, in a word: the origin's number, `late 3`, `gap 1-2`, `acknowledged`, `end of what was held`.
    async fn next(&mut self) -> String {
        let next = tokio::time::timeout(PATIENCE, self.events.message()).await.expect("in time");
        match next.expect("open").and_then(|event| event.event).expect("an event") {
            Event::Delivery(delivery) => {
                let late = if delivery.late { "late " } else { "" };
                format!("{late}{}", delivery.transaction.expect("a transaction").sequence)
            }
            Event::OriginGap(gap) => format!("gap {}-{}", gap.from_sequence, gap.to_sequence),
            Event::AckDurable(_) => "acknowledged".to_owned(),
            Event::CaughtUp(_) => "end of what was held".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    async fn some(&mut self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(self.next().await);
        }
        found
    }

    async fn ack(&mut self, position: u64) {
        let ack = subscribe_request::Request::Ack(sorcha_proto::v1::SubscribeAck { position });
        self.requests.send(SubscribeRequest { request: Some(ack) }).await.expect("open");
    }
}

fn cursor() -> SubscribeOpen {
    SubscribeOpen { cursor: "app".to_owned(), ..SubscribeOpen::default() }
}

#[tokio::test]
async fn what_arrived_in_any_order_is_delivered_in_the_order_of_its_origin() {
    let peer = TestPeer::start().await;
    for sequence in [2, 4, 1, 3] {
        peer.arrive("a", sequence).await;
    }
    let mut reader = Reader::open(&peer, SubscribeOpen::default()).await;
    assert_eq!(reader.some(5).await, ["1", "2", "3", "4", "end of what was held"]);
    peer.arrive("a", 6).await;
    peer.arrive("b", 1).await;
    assert_eq!(reader.next().await, "1", "another origin is not held up");
    peer.arrive("a", 5).await;
    assert_eq!(reader.some(2).await, ["5", "6"]);
}

#[tokio::test]
async fn what_was_acknowledged_out_of_the_order_of_arrival_does_not_come_again() {
    let peer = TestPeer::start().await;
    for sequence in [3, 1, 2] {
        peer.arrive("a", sequence).await;
    }
    let mut reader = Reader::open(&peer, cursor()).await;
    assert_eq!(reader.some(4).await, ["1", "2", "3", "end of what was held"]);
    // The delivery of number 1, which arrived second.
    reader.ack(2).await;
    assert_eq!(reader.next().await, "acknowledged");
    drop(reader);
    let state = peer.store.cursor_state("app").expect("readable").expect("a cursor");
    assert_eq!((state.position, state.ahead), (0, vec![(2, 2)]));
    let mut reader = Reader::open(&peer, cursor()).await;
    assert_eq!(reader.some(3).await, ["2", "3", "end of what was held"]);
    reader.ack(1).await;
    assert_eq!(reader.next().await, "acknowledged");
    assert_eq!(peer.store.cursor("app").expect("readable"), Some(3));
}

#[tokio::test]
async fn a_number_that_does_not_come_is_a_gap_and_comes_late() {
    let peer = TestPeer::start().await;
    peer.arrive("a", 1).await;
    let mut reader = Reader::open(&peer, SubscribeOpen::default()).await;
    assert_eq!(reader.some(2).await, ["1", "end of what was held"]);
    let began = Instant::now();
    peer.arrive("a", 3).await;
    assert_eq!(reader.some(2).await, ["gap 2-2", "3"]);
    let waited = began.elapsed();
    assert!(
        waited + Duration::from_secs(1) > HELD_FOR && waited < HELD_FOR + Duration::from_secs(20),
        "{waited:?}"
    );
    peer.arrive("a", 2).await;
    peer.arrive("a", 4).await;
    assert_eq!(reader.some(2).await, ["late 2", "4"]);
}

#[tokio::test]
async fn only_the_origins_asked_for_are_delivered() {
    let peer = TestPeer::start().await;
    for origin in ["a", "b", "c"] {
        peer.arrive(origin, 1).await;
    }
    let b = PeerId::of_uri("spiffe://test.local/test/b").to_string();
    let c = "spiffe://test.local/test/c".to_owned();
    for (origins, count) in [(vec!["a".to_owned()], 1), (vec![b, c], 2), (vec!["d".to_owned()], 0)] {
        let open = SubscribeOpen { origins: origins.clone(), ..SubscribeOpen::default() };
        let mut reader = Reader::open(&peer, open).await;
        let mut found = 0;
        while reader.next().await == "1" {
            found += 1;
        }
        assert_eq!(found, count, "{origins:?}");
    }
}
