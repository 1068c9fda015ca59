//! Subscriptions: transactions in the order of their arrival here, from a durable cursor or a given start,
//! with explicit acknowledgement.
//!
//! One task per subscription reads the store in small batches and waits for its client between events, so a
//! slow client slows only itself and costs at most `EVENTS_QUEUED_MAX` pieces of memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use sorcha_peer_core::event::StoreFault;
use sorcha_proto::v1::subscribe_event::Event;
use sorcha_proto::v1::subscribe_open::Start;
use sorcha_proto::v1::{self, SubscribeEvent, SubscribeOpen, SubscribeRequest, subscribe_request};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::api::Local;
use crate::api::reading::{Pieces, read};
use crate::api::refusal::{Kind, Refusal};
use crate::api::view;
use crate::store::{Store, Stored};

/// Subscriptions at a time; more are refused as busy (guess: far above what one machine's applications want).
pub(super) const SUBSCRIPTIONS_MAX: usize = 256;
/// Transactions read from the store at a time: headers of about 1 KB each.
const BATCH: usize = 64;
/// Bodies up to this are read along with their headers: 256 KiB for a whole batch.
const BATCH_BODY_BYTES_MAX: u64 = 4 * 1024;
/// Events made and not yet taken by the connection, 256 KiB each at most.
const EVENTS_QUEUED_MAX: usize = 4;
/// The first request must come within this (guess).
const OPENS_WITHIN: Duration = Duration::from_secs(10);
/// Registers in one filter.
const REGISTERS_MAX: usize = 64;
/// Characters of a cursor's name.
const CURSOR_CHARS_MAX: usize = 63;
/// Acknowledgements that are on their way and are made durable as one.
const ACKS_AT_ONCE_MAX: usize = 1_024;

/// Who subscribes now, so that one cursor has one reader.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: usize,
    generation: u64,
    cursors: BTreeMap<String, (u64, CancellationToken)>,
}

/// A place among the subscriptions; given back when dropped.
#[derive(Debug)]
struct Place<'a> {
    of: &'a Subscriptions,
    cursor: Option<(String, u64)>,
}

impl Subscriptions {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    fn enter(&self) -> Result<Place<'_>, Refusal> {
        let mut inner = self.lock();
        if inner.open >= SUBSCRIPTIONS_MAX {
            let sentence = format!(
                "{SUBSCRIPTIONS_MAX} subscriptions are open, as many as this peer serves: close one, or read pages with GET /v1/transactions"
            );
            return Err(Refusal::new(Kind::Busy, sentence));
        }
        inner.open += 1;
        Ok(Place { of: self, cursor: None })
    }
}

impl Place<'_> {
    /// Makes this the only reader of the cursor; the token is cancelled when another takes over.
    fn own(&mut self, cursor: &str) -> CancellationToken {
        let token = CancellationToken::new();
        let mut inner = self.of.lock();
        inner.generation += 1;
        let generation = inner.generation;
        if let Some((_, former)) = inner.cursors.insert(cursor.to_owned(), (generation, token.clone())) {
            former.cancel();
        }
        self.cursor = Some((cursor.to_owned(), generation));
        token
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.of.lock();
        inner.open -= 1;
        if let Some((cursor, generation)) = &self.cursor
            && inner.cursors.get(cursor).is_some_and(|(now, _)| now == generation)
        {
            inner.cursors.remove(cursor);
        }
    }
}

/// Starts a subscription; its stream ends with the reason.
pub(super) fn subscribe(
    local: Local,
    requests: Streaming<SubscribeRequest>,
) -> impl Stream<Item = Result<SubscribeEvent, Status>> + Send + 'static {
    let (events, queued) = mpsc::channel(EVENTS_QUEUED_MAX);
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        let reason = run(&local, requests, &events).await;
        // Where the client is gone nobody waits for the reason.
        let _ = end.send(reason);
    });
    // The reason follows what is queued, whether or not the queue has room for it.
    ReceiverStream::new(queued).map(Ok).chain(
        futures::stream::once(ended)
            .filter_map(async |reason| reason.ok().flatten().map(|it| Err(it.status()))),
    )
}

/// Runs until the client goes (`None`) or there is a reason to end.
async fn run(
    local: &Local,
    mut requests: Streaming<SubscribeRequest>,
    events: &mpsc::Sender<SubscribeEvent>,
) -> Option<Refusal> {
    let mut fenced = CancellationToken::new();
    let serving = async {
        let mut place = local.subscriptions.enter()?;
        let open = opening(&mut requests).await?;
        check(&open)?;
        if !open.cursor.is_empty() {
            fenced = place.own(&open.cursor);
        }
        let fence = fenced.clone();
        let after = start(local, &open).await?;
        let delivered = AtomicU64::new(after);
        tokio::select! {
            biased;
            () = fence.cancelled() => {
                let sentence = format!("another subscriber took over cursor '{}': use a cursor for each", open.cursor);
                Err(Refusal::new(Kind::Fenced, sentence))
            }
            ended = acknowledge(local, &open.cursor, &mut requests, &delivered, events) => ended,
            ended = deliver(local, open.clone(), &delivered, events) => ended,
        }
    };
    tokio::select! {
        biased;
        () = local.shutdown.cancelled() => Some(Refusal::new(Kind::Unavailable, "the peer is shutting down: subscribe again after its restart")),
        () = events.closed() => None,
        ended = serving => ended.err(),
    }
}

/// The client has gone.
struct Gone;

async fn opening(requests: &mut Streaming<SubscribeRequest>) -> Result<SubscribeOpen, Refusal> {
    let first = tokio::time::timeout(OPENS_WITHIN, requests.message()).await.map_err(|_| {
        Refusal::new(
            Kind::TimedOut,
            format!("no request came within {} s: the first one must be 'open'", OPENS_WITHIN.as_secs()),
        )
    })?;
    match first {
        Ok(Some(SubscribeRequest { request: Some(subscribe_request::Request::Open(open)) })) => Ok(open),
        Ok(_) => Err(Refusal::bad("open", "the first request must be 'open'")),
        Err(status) => {
            Err(Refusal::bad("open", format!("the first request cannot be read: {}", status.message())))
        }
    }
}

fn check(open: &SubscribeOpen) -> Result<(), Refusal> {
    let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if open.cursor.len() > CURSOR_CHARS_MAX || !open.cursor.chars().all(named) {
        let shown: String = open.cursor.chars().take(80).flat_map(char::escape_default).collect();
        return Err(Refusal::bad(
            "cursor",
            format!(
                "cursor '{shown}' is not a name: use at most {CURSOR_CHARS_MAX} characters of a-z 0-9 . _ -"
            ),
        ));
    }
    if open.registers.len() > REGISTERS_MAX {
        let sentence =
            format!("{} registers are named; a filter takes at most {REGISTERS_MAX}", open.registers.len());
        return Err(Refusal::bad("registers", sentence));
    }
    if Start::try_from(open.start).is_err() {
        let sentence = format!("start {} is not known: use EARLIEST, LATEST or POSITION", open.start);
        return Err(Refusal::bad("start", sentence));
    }
    Ok(())
}

/// The position after which to deliver. A new cursor is made durable where it starts.
async fn start(local: &Local, open: &SubscribeOpen) -> Result<u64, Refusal> {
    let store = local.node.store();
    let head = *store.head().borrow();
    let named = !open.cursor.is_empty();
    if named {
        let cursor = open.cursor.clone();
        if let Some(position) = read(store, move |store| store.cursor(&cursor)).await? {
            return Ok(position);
        }
    }
    let after = match open.start() {
        Start::Unspecified | Start::Earliest => 0,
        Start::Latest => head,
        Start::Position if open.position > head => {
            let sentence = format!("position {} lies beyond the last one held here, {head}", open.position);
            return Err(Refusal::bad("position", sentence));
        }
        Start::Position => open.position,
    };
    if named {
        store.acknowledge(&open.cursor, after).await?;
    }
    Ok(after)
}

async fn acknowledge(
    local: &Local,
    cursor: &str,
    requests: &mut Streaming<SubscribeRequest>,
    delivered: &AtomicU64,
    events: &mpsc::Sender<SubscribeEvent>,
) -> Result<Gone, Refusal> {
    loop {
        let mut next = match requests.message().await {
            Ok(Some(request)) => Some(request),
            // Half-closed: nothing more is acknowledged, deliveries go on.
            Ok(None) => std::future::pending().await,
            Err(_) => return Ok(Gone),
        };
        let mut highest = 0;
        for _ in 0..ACKS_AT_ONCE_MAX {
            let Some(request) = next.take() else { break };
            highest = highest.max(acknowledged(&request, cursor, delivered.load(Ordering::Acquire))?);
            next = requests.message().now_or_never().and_then(Result::ok).flatten();
        }
        if let Some(request) = next {
            highest = highest.max(acknowledged(&request, cursor, delivered.load(Ordering::Acquire))?);
        }
        local.node.store().acknowledge(cursor, highest).await?;
        let event = SubscribeEvent { event: Some(Event::AckDurable(v1::AckDurable { position: highest })) };
        if events.send(event).await.is_err() {
            return Ok(Gone);
        }
    }
}

/// The position that this request acknowledges.
fn acknowledged(request: &SubscribeRequest, cursor: &str, delivered: u64) -> Result<u64, Refusal> {
    let Some(subscribe_request::Request::Ack(ack)) = &request.request else {
        return Err(Refusal::bad("open", "the subscription is open: later requests must be 'ack'"));
    };
    if cursor.is_empty() {
        return Err(Refusal::bad(
            "ack",
            "there is nothing to acknowledge without a cursor: name one in 'open'",
        ));
    }
    if ack.position > delivered {
        let sentence =
            format!("position {} is not delivered yet: the last one delivered is {delivered}", ack.position);
        return Err(Refusal::bad("position", sentence));
    }
    Ok(ack.position)
}

/// A transaction to be delivered.
struct Held {
    stored: Stored,
    wanted: bool,
    /// Read along with the batch where it is small.
    body: Option<Bytes>,
}

/// Up to `BATCH` transactions after a position, with the small bodies that are wanted, in one go.
fn batch(store: &Store, after: u64, open: &SubscribeOpen) -> Result<Vec<Held>, StoreFault> {
    let wants = |stored: &Stored| {
        let register = &stored.envelope.header().register;
        open.registers.is_empty() || open.registers.contains(register)
    };
    let held = store.after(after, BATCH)?.into_iter().map(|stored| {
        let wanted = wants(&stored);
        let small = stored.envelope.header().body_bytes <= BATCH_BODY_BYTES_MAX;
        let along = wanted && small && !open.headers_only;
        let body = if along { store.body(&stored.envelope.id())? } else { None };
        Ok(Held { stored, wanted, body })
    });
    held.collect()
}

async fn deliver(
    local: &Local,
    open: SubscribeOpen,
    delivered: &AtomicU64,
    events: &mpsc::Sender<SubscribeEvent>,
) -> Result<Gone, Refusal> {
    let store = local.node.store();
    let open = Arc::new(open);
    let mut head = store.head();
    let mut after = delivered.load(Ordering::Acquire);
    let held_at_start = *head.borrow();
    let mut caught_up = false;
    let mut first = true;
    loop {
        if !caught_up && after >= held_at_start {
            caught_up = true;
            let event = Event::CaughtUp(v1::CaughtUp { position: after });
            if events.send(SubscribeEvent { event: Some(event) }).await.is_err() {
                return Ok(Gone);
            }
        }
        // Marked as seen before the read: what comes after the read wakes the wait.
        let seen = *head.borrow_and_update();
        if seen <= after {
            if head.changed().await.is_err() {
                return Err(Refusal::draining());
            }
            continue;
        }
        let asked = Arc::clone(&open);
        let batch = read(store, move |store| batch(store, after, &asked)).await?;
        let Some(found) = batch.first().map(|held| held.stored.position) else {
            return Err(Refusal::new(
                Kind::Unavailable,
                "the store lost its last transactions: subscribe again",
            ));
        };
        if let Some(gap) = gap(after, first, found)
            && events.send(SubscribeEvent { event: Some(Event::Gap(gap)) }).await.is_err()
        {
            return Ok(Gone);
        }
        first = false;
        for held in batch {
            after = held.stored.position;
            if held.wanted && send_one(local, held, open.headers_only, delivered, events).await?.is_none() {
                return Ok(Gone);
            }
            delivered.store(after, Ordering::Release);
        }
    }
}

/// What retention took between a position to resume after and the first one still held.
fn gap(after: u64, first: bool, next: u64) -> Option<v1::Gap> {
    (first && after > 0 && next > after + 1).then(|| v1::Gap { from: after + 1, to: next - 1 })
}

/// Sends one transaction in pieces; `None` where the client has gone.
async fn send_one(
    local: &Local,
    held: Held,
    headers_only: bool,
    delivered: &AtomicU64,
    events: &mpsc::Sender<SubscribeEvent>,
) -> Result<Option<()>, Refusal> {
    let position = held.stored.position;
    let mut transaction = view::transaction(&held.stored);
    let mut pieces = Pieces::new(local.node.store().clone(), &held.stored);
    let whole = headers_only || held.body.is_some();
    transaction.body = match held.body {
        Some(body) => body,
        None if headers_only => Bytes::new(),
        None => pieces.next().await?.unwrap_or_default(),
    };
    let mut more = !whole && !pieces.done();
    let mut event = Event::Delivery(v1::Delivery { position, transaction: Some(transaction), more });
    loop {
        let Ok(slot) = events.reserve().await else { return Ok(None) };
        if !more {
            // The client may acknowledge as soon as it has the last part, so this comes before it is sent.
            delivered.store(position, Ordering::Release);
        }
        slot.send(SubscribeEvent { event: Some(event) });
        if !more {
            return Ok(Some(()));
        }
        let body = pieces.next().await?.unwrap_or_default();
        more = !pieces.done();
        event = Event::BodyPart(v1::BodyPart { position, body, more });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_only_where_a_position_was_passed() {
        assert_eq!(gap(4, true, 5), None);
        assert_eq!(gap(4, true, 9), Some(v1::Gap { from: 5, to: 8 }));
        assert_eq!(gap(0, true, 9), None, "from the earliest held nothing is missed");
        assert_eq!(gap(4, false, 9), None, "positions within a run may be skipped");
    }

    #[test]
    fn a_cursor_has_one_reader_and_places_come_back() {
        let subscriptions = Subscriptions::default();
        let mut first = subscriptions.enter().expect("free");
        let token = first.own("a");
        let mut second = subscriptions.enter().expect("free");
        let newer = second.own("a");
        assert!(token.is_cancelled() && !newer.is_cancelled());
        drop(first);
        assert_eq!(subscriptions.lock().cursors.len(), 1, "the newer reader keeps its cursor");
        drop(second);
        assert!(subscriptions.lock().cursors.is_empty());
        let places: Vec<_> = (0..SUBSCRIPTIONS_MAX).map(|_| subscriptions.enter().expect("free")).collect();
        assert_eq!(subscriptions.enter().expect_err("full").kind, Kind::Busy);
        drop(places);
    }
}
