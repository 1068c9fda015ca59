//! Subscriptions as server-sent events: the same deliveries as over gRPC, acknowledged by POST.
//!
//! Every event has its name and a line of JSON. A client without a cursor goes on after the last event that it has seen
//! by giving back its id (`Last-Event-ID`), as browsers and libraries do by themselves; one with a cursor goes on after
//! what it has acknowledged.

use std::time::Duration;

use axum::response::sse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use sorcha_proto::v1::subscribe_event::Event;
use sorcha_proto::v1::subscribe_open::Start;
use sorcha_proto::v1::{self, SubscribeOpen};
use tokio_stream::wrappers::ReceiverStream;

use crate::api::Local;
use crate::api::local_rest::Query;
use crate::api::progress::read_token;
use crate::api::refusal::Refusal;
use crate::api::subscription::{self, Made};
use crate::api::view::TransactionJson;

/// Comments that keep a silent connection open come this often: proxies give up after 30 s or more.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);
/// What clients wait before they come again.
const RETRY: Duration = Duration::from_secs(1);

/// The query's parameters.
pub(super) const PARAMETERS: &[&str] = &["cursor", "from", "register", "origin", "bodies"];

/// Begins a subscription, or says why not.
pub(super) async fn subscribe(
    local: Local,
    mut query: Query,
    headers: &HeaderMap,
) -> Result<impl Stream<Item = Result<sse::Event, axum::Error>> + Send + use<>, Refusal> {
    let mut open = SubscribeOpen {
        cursor: query.text("cursor").unwrap_or_default(),
        registers: query.texts("register"),
        origins: query.texts("origin"),
        headers_only: match query.text("bodies").as_deref() {
            None | Some("base64") => false,
            Some("none") => true,
            Some(_) => return Err(Refusal::bad("bodies", "bodies is base64 or none")),
        },
        ..SubscribeOpen::default()
    };
    from(query.text("from").as_deref(), &mut open)?;
    let resume = match headers.get("last-event-id").map(|value| value.to_str().ok().and_then(read_token)) {
        None => None,
        Some(Some(state)) => Some(state),
        Some(None) => {
            return Err(Refusal::bad(
                "Last-Event-ID",
                "Last-Event-ID is not an id of this stream: leave it out, or give back one as it came",
            ));
        }
    };
    let head = *local.node.store().head().borrow();
    if let Some(state) = resume.as_ref().filter(|state| state.position > head) {
        let sentence =
            format!("Last-Event-ID {} lies beyond the last position held here, {head}", state.position);
        return Err(Refusal::bad("Last-Event-ID", sentence));
    }
    let cursor = open.cursor.clone();
    let (begun, queued, ended) = subscription::start_stream(local, open, resume).await?;
    let first = json!({ "cursor": cursor, "generation": begun.generation, "position": begun.position });
    let first = named("open", &first).retry(RETRY);
    let events = ReceiverStream::new(queued).filter_map(async |made| event(made));
    let end = futures::stream::once(ended).filter_map(async |reason| {
        let refusal = reason.ok().flatten()?;
        Some(named("end", &refusal.problem()))
    });
    Ok(futures::stream::once(std::future::ready(first)).chain(events).chain(end).map(Ok))
}

/// `earliest`, `latest`, a position, or a time.
fn from(text: Option<&str>, open: &mut SubscribeOpen) -> Result<(), Refusal> {
    let start = match text {
        None | Some("earliest") => Start::Earliest,
        Some("latest") => Start::Latest,
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            open.position =
                text.parse().map_err(|_| Refusal::bad("from", format!("from {text} is no position")))?;
            Start::Position
        }
        Some(text) => {
            let time: Result<jiff::Timestamp, _> = text.parse();
            let time = time.map_err(|_| {
                let shown: String = text.chars().take(80).flat_map(char::escape_default).collect();
                Refusal::bad("from", format!("from '{shown}' is no start: write earliest, latest, a position in digits, or a time such as 2026-01-31T12:00:00Z"))
            })?;
            open.from_unix_ms = u64::try_from(time.as_millisecond()).unwrap_or(0);
            Start::Time
        }
    };
    open.start = start.into();
    Ok(())
}

fn named(name: &str, data: &Value) -> sse::Event {
    sse::Event::default().event(name).data(data.to_string())
}

fn event(made: Made) -> Option<sse::Event> {
    let (name, data) = match made.event {
        Event::Delivery(v1::Delivery { position, transaction, more, late }) => {
            let transaction = transaction.unwrap_or_default();
            let body = STANDARD.encode(&transaction.body);
            let with_body = !transaction.body.is_empty() || transaction.body_bytes == 0;
            let header = TransactionJson { position, ..transaction.into() };
            let mut fields = match serde_json::to_value(header) {
                Ok(Value::Object(fields)) => fields,
                _ => Map::new(),
            };
            if with_body {
                fields.insert("body".to_owned(), body.into());
                fields.insert("more".to_owned(), more.into());
            }
            fields.insert("late".to_owned(), late.into());
            ("transaction", Value::Object(fields))
        }
        Event::BodyPart(v1::BodyPart { position, body, more }) => {
            ("body", json!({ "position": position, "body": STANDARD.encode(&body), "more": more }))
        }
        Event::CaughtUp(v1::CaughtUp { position }) => ("caught-up", json!({ "position": position })),
        Event::Gap(v1::Gap { from, to }) => ("gap", json!({ "from": from, "to": to })),
        Event::OriginGap(gap) => (
            "origin-gap",
            json!({
                "origin": gap.origin,
                "incarnation": gap.incarnation,
                "fromSequence": gap.from_sequence,
                "toSequence": gap.to_sequence,
            }),
        ),
        // Acknowledgements are answered where they are made.
        Event::AckDurable(_) => return None,
    };
    let event = named(name, &data);
    Some(if made.token.is_empty() { event } else { event.id(made.token) })
}
