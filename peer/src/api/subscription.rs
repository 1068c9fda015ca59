//! Subscriptions: transactions in the order of their arrival here and of each origin's numbers, from a durable cursor
//! or a given start, with explicit acknowledgement.
//!
//! One task per subscription reads the store in small batches and waits for its client between events, so a
//! slow client slows only itself and costs at most `EVENTS_QUEUED_MAX` pieces of memory.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
use crate::api::filter::{Filter, Held, batch};
use crate::api::order::{HELD_FOR, Order, Out};
use crate::api::progress::{Progress, TooMany};
use crate::api::reading::{Pieces, read};
use crate::api::refusal::{Kind, Refusal};
use crate::api::subscribers::{Shared, lock, not_delivered};
use crate::api::view;
use crate::clock::wall_now;
use crate::store::{CursorState, Store};

/// Transactions read from the store at a time: headers of about 1 KB each.
const BATCH: usize = 64;
/// Events made and not yet taken by the connection, 256 KiB each at most.
const EVENTS_QUEUED_MAX: usize = 4;
/// The first request must come within this (guess).
const OPENS_WITHIN: Duration = Duration::from_secs(10);
/// Registers, or origins, in one filter.
const FILTER_MAX: usize = 64;
/// Characters of a cursor's name.
const CURSOR_CHARS_MAX: usize = 63;
/// Acknowledgements that are on their way and are made durable as one.
const ACKS_AT_ONCE_MAX: usize = 1_024;
/// Positions before the start that are looked at, to know where each origin stands (guess: what is out of order lies near).
const LOOK_BACK: u64 = 1_024;

/// An event with what a client without a cursor gives back to go on after it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) event: Event,
    pub(super) token: String,
}

/// What a subscription begins with, told to clients that cannot ask.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    /// Of the cursor; 0 without one.
    pub(super) generation: u64,
    /// Everything up to here is acknowledged, or before the start.
    pub(super) position: u64,
}

/// Starts a subscription over gRPC; its stream ends with the reason.
pub(super) fn subscribe(
    local: Local,
    mut requests: Streaming<SubscribeRequest>,
) -> impl Stream<Item = Result<SubscribeEvent, Status>> + Send + 'static {
    let (events, queued) = mpsc::channel(EVENTS_QUEUED_MAX);
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        let opened = tokio::select! {
            biased;
            () = local.shutdown.cancelled() => Err(stopping()),
            opened = opening(&mut requests) => opened,
        };
        let reason = match opened {
            Ok(open) => {
                run(&local, Opening { open, resume: None, requests: Some(requests) }, &events, |_| {}).await
            }
            Err(refusal) => Some(refusal),
        };
        // Where the client is gone nobody waits for the reason.
        let _ = end.send(reason);
    });
    // The reason follows what is queued, whether or not the queue has room for it.
    ReceiverStream::new(queued).map(|made: Made| Ok(SubscribeEvent { event: Some(made.event) })).chain(
        futures::stream::once(ended)
            .filter_map(async |reason| reason.ok().flatten().map(|it| Err(it.status()))),
    )
}

/// Starts a subscription that is acknowledged elsewhere. Answers once it has begun.
pub(super) async fn start_stream(
    local: Local,
    open: SubscribeOpen,
    resume: Option<CursorState>,
) -> Result<(Begun, mpsc::Receiver<Made>, oneshot::Receiver<Option<Refusal>>), Refusal> {
    let (events, queued) = mpsc::channel(EVENTS_QUEUED_MAX);
    let (end, mut ended) = oneshot::channel();
    let (begun_in, begun) = oneshot::channel();
    tokio::spawn(async move {
        let begin = |begun| drop(begun_in.send(begun));
        let reason = run(&local, Opening { open, resume, requests: None }, &events, begin).await;
        // Where the client is gone nobody waits for the reason.
        let _ = end.send(reason);
    });
    if let Ok(begun) = begun.await {
        return Ok((begun, queued, ended));
    }
    let reason = (&mut ended).await.ok().flatten();
    Err(reason.unwrap_or_else(Refusal::draining))
}

/// What a subscription is opened with.
struct Opening {
    open: SubscribeOpen,
    /// Where a client without a cursor goes on.
    resume: Option<CursorState>,
    /// Acknowledgements, where they come on a channel of its own.
    requests: Option<Streaming<SubscribeRequest>>,
}

fn stopping() -> Refusal {
    Refusal::new(Kind::Unavailable, "the peer is shutting down: subscribe again after its restart")
}

/// Runs until the client goes (`None`) or there is a reason to end.
async fn run(
    local: &Local,
    opening: Opening,
    events: &mpsc::Sender<Made>,
    begun: impl FnOnce(Begun),
) -> Option<Refusal> {
    let Opening { open, resume, mut requests } = opening;
    let serving = async {
        let mut place = local.subscriptions.enter()?;
        check(&open)?;
        let wants = Filter::new(local, &open)?;
        let named = !open.cursor.is_empty();
        let (fence, generation) = if named { place.own(&open.cursor) } else { (CancellationToken::new(), 0) };
        let state = match resume {
            Some(state) if !named => state,
            _ => start(local, &open).await?,
        };
        begun(Begun { generation, position: state.position });
        let progress: Shared = Arc::new(Mutex::new(Progress::new(state.clone(), !named)));
        place.begin(&progress);
        let acknowledging = async {
            match &mut requests {
                Some(requests) => acknowledge(local, &open.cursor, requests, &progress, events).await,
                None => std::future::pending().await,
            }
        };
        let deliveries = Deliveries {
            local,
            wants: Arc::new(wants),
            progress: &progress,
            events,
            order: Order::default(),
            state,
        };
        tokio::select! {
            biased;
            () = fence.cancelled() => {
                let sentence = format!("another subscriber took over cursor '{}', or it was deleted: use a cursor for each", open.cursor);
                Err(Refusal::new(Kind::Fenced, sentence))
            }
            ended = acknowledging => ended,
            ended = deliveries.run() => ended,
        }
    };
    tokio::select! {
        biased;
        () = local.shutdown.cancelled() => Some(stopping()),
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

pub(super) fn check(open: &SubscribeOpen) -> Result<(), Refusal> {
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
    for (field, given) in [("registers", open.registers.len()), ("origins", open.origins.len())] {
        if given > FILTER_MAX {
            let sentence = format!("{given} {field} are named; a filter takes at most {FILTER_MAX}");
            return Err(Refusal::bad(field, sentence));
        }
    }
    if Start::try_from(open.start).is_err() {
        let sentence = format!("start {} is not known: use EARLIEST, LATEST, POSITION or TIME", open.start);
        return Err(Refusal::bad("start", sentence));
    }
    Ok(())
}

/// Where to begin. A new cursor is made durable where it starts.
async fn start(local: &Local, open: &SubscribeOpen) -> Result<CursorState, Refusal> {
    let store = local.node.store();
    let head = *store.head().borrow();
    let named = !open.cursor.is_empty();
    if named {
        let cursor = open.cursor.clone();
        if read(store, move |store| store.cursor(&cursor)).await?.is_some() {
            // What the last reader has acknowledged and is on its way to the disk comes before this.
            store.acknowledge(&open.cursor, 0).await?;
            let cursor = open.cursor.clone();
            if let Some(state) = read(store, move |store| store.cursor_state(&cursor)).await? {
                return Ok(state);
            }
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
        Start::Time => {
            let from = open.from_unix_ms;
            read(store, move |store| before(store, from, head)).await?
        }
    };
    if named {
        store.acknowledge(&open.cursor, after).await?;
    }
    Ok(CursorState { position: after, ahead: Vec::new() })
}

/// The last position before what was received at this time or later. Arrivals are in the order of time, but for steps of
/// the clock.
fn before(store: &Store, from_unix_ms: u64, head: u64) -> Result<u64, StoreFault> {
    // Everything up to `low` is earlier, what follows `high` is not.
    let (mut low, mut high) = (0, head);
    while low < high {
        let middle = low + (high - low) / 2;
        match store.after(middle, 1)?.first() {
            Some(stored) if stored.received.as_unix_ms() < from_unix_ms => low = stored.position.min(high),
            _ => high = middle,
        }
    }
    Ok(low)
}

async fn acknowledge(
    local: &Local,
    cursor: &str,
    requests: &mut Streaming<SubscribeRequest>,
    progress: &Shared,
    events: &mpsc::Sender<Made>,
) -> Result<Gone, Refusal> {
    loop {
        let mut next = match requests.message().await {
            Ok(Some(request)) => Some(request),
            // Half-closed: nothing more is acknowledged, deliveries go on.
            Ok(None) => std::future::pending().await,
            Err(_) => return Ok(Gone),
        };
        let mut acknowledged = (0, CursorState::default());
        for _ in 0..ACKS_AT_ONCE_MAX {
            let Some(request) = next.take() else { break };
            acknowledged = take(&request, cursor, progress)?;
            next = requests.message().now_or_never().and_then(Result::ok).flatten();
        }
        if let Some(request) = next {
            acknowledged = take(&request, cursor, progress)?;
        }
        let (position, state) = acknowledged;
        local.node.store().acknowledge_runs(cursor, state).await?;
        let event = Event::AckDurable(v1::AckDurable { position });
        if events.send(Made { event, token: String::new() }).await.is_err() {
            return Ok(Gone);
        }
    }
}

/// The position that this request acknowledges, and all that is acknowledged with it.
fn take(request: &SubscribeRequest, cursor: &str, progress: &Shared) -> Result<(u64, CursorState), Refusal> {
    let Some(subscribe_request::Request::Ack(ack)) = &request.request else {
        return Err(Refusal::bad("open", "the subscription is open: later requests must be 'ack'"));
    };
    if cursor.is_empty() {
        return Err(Refusal::bad(
            "ack",
            "there is nothing to acknowledge without a cursor: name one in 'open'",
        ));
    }
    let mut progress = lock(progress);
    let last = progress.last();
    let state = progress.acknowledge(ack.position).cloned();
    Ok((ack.position, state.ok_or_else(|| not_delivered(ack.position, last))?))
}

/// What goes out of one subscription.
struct Deliveries<'a> {
    local: &'a Local,
    wants: Arc<Filter>,
    progress: &'a Shared,
    events: &'a mpsc::Sender<Made>,
    order: Order,
    /// What was acknowledged at the beginning.
    state: CursorState,
}

impl Deliveries<'_> {
    async fn run(mut self) -> Result<Gone, Refusal> {
        let store = self.local.node.store();
        let mut head = store.head();
        let mut after = self.state.position;
        let held_at_start = *head.borrow();
        let from_beginning = after == 0;
        self.look_back(after).await?;
        let mut caught_up = false;
        loop {
            let waits = self.order.lowest().is_some_and(|lowest| lowest <= held_at_start);
            if !caught_up && after >= held_at_start && !waits {
                caught_up = true;
                if self.send(Event::CaughtUp(v1::CaughtUp { position: after })).await.is_none() {
                    return Ok(Gone);
                }
            }
            // Marked as seen before the read: what comes after the read wakes the wait.
            let seen = *head.borrow_and_update();
            if seen <= after {
                let outs = self.order.overdue(after, true, Instant::now());
                if !outs.is_empty() {
                    if self.deliver(outs, None).await?.is_none() {
                        return Ok(Gone);
                    }
                    continue;
                }
                let deadline = self.order.deadline();
                let overdue = async {
                    match deadline {
                        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = head.changed() => {
                        if changed.is_err() {
                            return Err(Refusal::draining());
                        }
                    }
                    () = overdue => {}
                }
                continue;
            }
            let filter = Arc::clone(&self.wants);
            let batch = read(store, move |store| batch(store, after, BATCH, &filter)).await?;
            // Where there is nothing, retention has taken everything up to the head.
            let found = batch.first().map_or(seen + 1, |held| held.stored.position);
            if let Some(gap) = gap(after, self.state.position, found)
                && self.send(Event::Gap(gap)).await.is_none()
            {
                return Ok(Gone);
            }
            if batch.is_empty() {
                passed(self.progress, (after + 1, seen))?;
                after = seen;
            }
            for held in batch {
                let position = held.stored.position;
                // Retention may have taken what lies between.
                passed(self.progress, (after + 1, position - 1))?;
                after = position;
                let header = held.stored.envelope.header();
                let outs = if self.state.has(position) {
                    self.order.known(header)
                } else {
                    let age = wall_now().as_unix_ms().saturating_sub(held.stored.received.as_unix_ms());
                    let left = HELD_FOR.saturating_sub(Duration::from_millis(age));
                    let certain = from_beginning || !left.is_zero();
                    self.order.read(header, position, certain, Instant::now() + left)
                };
                let mut outs = outs;
                outs.extend(self.order.overdue(after, false, Instant::now()));
                if self.deliver(outs, Some(held)).await?.is_none() {
                    return Ok(Gone);
                }
            }
        }
    }

    /// Where each origin stands before the start.
    async fn look_back(&mut self, start: u64) -> Result<(), Refusal> {
        let from = start.saturating_sub(LOOK_BACK);
        let limit = (start - from) as usize;
        if limit == 0 {
            return Ok(());
        }
        let before = read(self.local.node.store(), move |store| store.after(from, limit)).await?;
        for stored in before.iter().filter(|stored| stored.position <= start) {
            self.order.known(stored.envelope.header());
        }
        Ok(())
    }

    /// Delivers what may be delivered now; `at_hand` is the transaction that was just read.
    async fn deliver(&mut self, outs: Vec<Out>, mut at_hand: Option<Held>) -> Result<Option<()>, Refusal> {
        for out in outs {
            let sent = match out {
                Out::Gap { origin, incarnation, from, to } => {
                    let gap = v1::OriginGap {
                        origin: origin.to_string(),
                        incarnation,
                        from_sequence: from,
                        to_sequence: to,
                    };
                    self.send(Event::OriginGap(gap)).await
                }
                Out::Deliver { position, late } => {
                    let held = match at_hand.take_if(|held| held.stored.position == position) {
                        Some(held) => Some(held),
                        None => self.fetch(position).await?,
                    };
                    match held {
                        Some(held) if held.wanted => self.send_one(held, late).await?,
                        // Not wanted, or gone meanwhile.
                        _ => {
                            passed(self.progress, (position, position))?;
                            Some(())
                        }
                    }
                }
            };
            if sent.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Reads a transaction that has waited.
    async fn fetch(&self, position: u64) -> Result<Option<Held>, Refusal> {
        let filter = Arc::clone(&self.wants);
        let found =
            read(self.local.node.store(), move |store| batch(store, position - 1, 1, &filter)).await?;
        Ok(found.into_iter().next().filter(|held| held.stored.position == position))
    }

    async fn send(&self, event: Event) -> Option<()> {
        self.events.send(Made { event, token: String::new() }).await.ok()
    }

    /// Sends one transaction in pieces; `None` where the client has gone.
    async fn send_one(&self, held: Held, late: bool) -> Result<Option<()>, Refusal> {
        let position = held.stored.position;
        let headers_only = self.wants.headers_only;
        let mut transaction = view::transaction(&held.stored);
        let mut pieces = Pieces::new(self.local.node.store().clone(), &held.stored);
        let whole = headers_only || held.body.is_some();
        transaction.body = match held.body {
            Some(body) => body,
            None if headers_only => Bytes::new(),
            None => pieces.next().await?.unwrap_or_default(),
        };
        let mut more = !whole && !pieces.done();
        let mut event =
            Event::Delivery(v1::Delivery { position, transaction: Some(transaction), more, late });
        loop {
            let Ok(slot) = self.events.reserve().await else { return Ok(None) };
            let mut token = String::new();
            if !more {
                // The client may acknowledge as soon as it has the last part, so this comes before it is sent.
                let mut progress = lock(self.progress);
                progress.delivered(position).map_err(|TooMany| too_many())?;
                token = progress.token();
            }
            slot.send(Made { event, token });
            if !more {
                return Ok(Some(()));
            }
            let body = pieces.next().await?.unwrap_or_default();
            more = !pieces.done();
            event = Event::BodyPart(v1::BodyPart { position, body, more });
        }
    }
}

fn passed(progress: &Shared, run: (u64, u64)) -> Result<(), Refusal> {
    lock(progress).passed(run).map_err(|TooMany| too_many())
}

fn too_many() -> Refusal {
    Refusal::new(
        Kind::Busy,
        "too many deliveries out of the order of arrival are not acknowledged: acknowledge them and subscribe again",
    )
}

/// What retention took between a position to resume after and the first one still held.
fn gap(after: u64, start: u64, next: u64) -> Option<v1::Gap> {
    (after == start && after > 0 && next > after + 1).then(|| v1::Gap { from: after + 1, to: next - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_only_where_a_position_was_passed() {
        assert_eq!(gap(4, 4, 5), None);
        assert_eq!(gap(4, 4, 9), Some(v1::Gap { from: 5, to: 8 }));
        assert_eq!(gap(0, 0, 9), None, "from the earliest held nothing is missed");
        assert_eq!(gap(4, 3, 9), None, "positions within a run may be skipped");
    }
}
