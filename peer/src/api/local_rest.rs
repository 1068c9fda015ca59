//! The local API in REST, under `/v1`: the same as gRPC's `Node`, for clients that speak HTTP and JSON.
//!
//! Routes, their documentation and their handlers stand in one table (`openapi::OPERATIONS` names them,
//! `handler` serves them), so that none of the three can be missing.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sorcha_peer_core::types::TxId;

use crate::api::Local;
use crate::api::guard::is_grpc;
use crate::api::level::{self, Level};
use crate::api::local_grpc::events;
use crate::api::openapi::{self, OPERATIONS, Operation};
use crate::api::reading::{self, Pieces, read};
use crate::api::refusal::{Kind, Refusal};
use crate::api::submissions::PART_COMES_WITHIN;
use crate::api::view::{
    self, CursorJson, CursorsJson, DrainJson, HoldersJson, OutboxJson, PageJson, PeersJson, QuarantineJson,
    StatusJson, SubmittedJson,
};
use crate::api::{operate, outbox, sse as stream, subscribers};

/// Transactions in one page.
pub const PAGE_MAX: u64 = 1_000;
/// Transactions in one page where the request does not say.
pub const PAGE_DEFAULT: u64 = 100;

/// All REST routes, and refusals for everything else.
pub fn routes(local: Local) -> Router {
    let mut app = Router::new();
    for operation in OPERATIONS {
        app = app.route(operation.path, handler(operation));
    }
    app.fallback(nothing_here).method_not_allowed_fallback(wrong_method).with_state(local)
}

fn handler(operation: &Operation) -> MethodRouter<Local> {
    match operation.id {
        "submit" => post(submit),
        "listTransactions" => get(list),
        "getTransaction" => get(transaction),
        "getTransactionBody" => get(body),
        "getStatus" => get(status),
        "listPeers" => get(peers),
        "watchEvents" => get(watch),
        "getHolders" => get(holders),
        "subscribe" => get(subscribe),
        "listCursors" => get(cursors),
        "getCursor" => get(cursor),
        "deleteCursor" => delete(delete_cursor),
        "acknowledge" => post(acknowledge),
        "listOutbox" => get(list_outbox),
        "retryOutbox" => post(retry_outbox),
        "discardOutbox" => post(discard_outbox),
        "listQuarantine" => get(list_quarantine),
        "retryQuarantine" => post(retry_quarantine),
        "leave" => post(leave),
        "drain" => post(drain),
        "resume" => post(resume),
        "getOpenapi" => get(async || Json(openapi::document())),
        "getPage" => get(async || super::page::page()),
        unknown => unreachable!("operation '{unknown}' has no handler; the tests serve each"),
    }
}

/// The query's parameters, each known and, but for those of [`REPEATED`], given once.
pub(super) struct Query(Vec<(String, String)>);

/// Parameters that may be given several times.
const REPEATED: &[&str] = &["register", "origin", "id"];

impl Query {
    pub(super) fn parse(query: Option<&str>, known: &'static [&'static str]) -> Result<Self, Refusal> {
        let mut found: Vec<(String, String)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                let shown: String = name.chars().take(80).flat_map(char::escape_default).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Refusal::bad(
                    "query",
                    format!("parameter '{shown}' is not known here; known: {known}"),
                ));
            }
            let once = !REPEATED.contains(&name.as_str());
            if once && found.iter().any(|(other, _)| *other == name) {
                return Err(Refusal::bad("query", format!("parameter '{name}' is given twice")));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// All values of a parameter.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn required(&mut self, name: &'static str) -> Result<u64, Refusal> {
        if !self.0.iter().any(|(given, _)| given == name) {
            return Err(Refusal::bad(name, format!("parameter '{name}' is missing")));
        }
        self.number(name, 0)
    }

    fn number(&mut self, name: &'static str, default: u64) -> Result<u64, Refusal> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().map_err(|_| {
            let shown: String = text.chars().take(80).flat_map(char::escape_default).collect();
            Refusal::bad(name, format!("{name} '{shown}' is not a number: write digits only"))
        })
    }
}

/// Percent-decoding of a query's part (`+` is a space).
fn decode(text: &str) -> Result<String, Refusal> {
    let wrong = || Refusal::bad("query", "the query is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit =
                    |byte: Option<u8>| byte.and_then(|it| char::from(it).to_digit(16)).ok_or_else(wrong);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

async fn submit(
    State(local): State<Local>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let mut query = Query::parse(query.as_deref(), &["register", "ack", "wait"])?;
    let mut registers = query.texts("register");
    let register = registers.pop().unwrap_or_default();
    if !registers.is_empty() {
        return Err(Refusal::bad("register", "parameter 'register' is given twice: a transaction has one"));
    }
    let level = Level::parse(&local.node, query.text("ack").as_deref(), query.number("wait", 0)?)?;
    let key = match headers.get("idempotency-key") {
        None => String::new(),
        Some(value) => value
            .to_str()
            .map_err(|_| {
                Refusal::bad("Idempotency-Key", "the idempotency key has characters other than visible ASCII")
            })?
            .to_owned(),
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut incoming = local.intake.start(declared)?;
    let mut parts = body.into_data_stream();
    loop {
        let part = tokio::time::timeout(PART_COMES_WITHIN, parts.next()).await.map_err(|_| {
            Refusal::new(
                Kind::TimedOut,
                format!("no part of the body came for {} s", PART_COMES_WITHIN.as_secs()),
            )
        })?;
        match part {
            Some(Ok(part)) => incoming.push(&part)?,
            Some(Err(_)) => return Err(Refusal::bad("body", "the body ended before its announced length")),
            None => break,
        }
    }
    let body = incoming.finish();
    let submitted =
        level::submit(&local.node, &local.waiting, level, register, body.bytes.clone(), key).await?;
    let answer = SubmittedJson::from(submitted);
    let code = match (answer.pending, answer.duplicate) {
        (true, _) => StatusCode::ACCEPTED,
        (false, true) => StatusCode::OK,
        (false, false) => StatusCode::CREATED,
    };
    let location = format!("/v1/transactions/{}", answer.id);
    Ok((code, [(header::LOCATION, location)], Json(answer)).into_response())
}

async fn list(State(local): State<Local>, RawQuery(query): RawQuery) -> Result<Json<PageJson>, Refusal> {
    let mut query = Query::parse(query.as_deref(), &["after", "limit"])?;
    let after = query.number("after", 0)?;
    let limit = query.number("limit", PAGE_DEFAULT)?;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Refusal::bad("limit", format!("limit {limit} is out of range: use 1 to {PAGE_MAX}")));
    }
    let store = local.node.store();
    let head = *store.head().borrow();
    let held = read(store, move |store| store.after(after, limit as usize)).await?;
    let next = held.last().map_or(after, |stored| stored.position);
    let transactions = held.iter().map(view::transaction_json).collect();
    Ok(Json(PageJson { transactions, next, head: head.max(next) }))
}

fn id(text: &str) -> Result<TxId, Refusal> {
    text.parse().map_err(|wrong: sorcha_peer_core::types::NotAnId| Refusal::bad("id", wrong.to_string()))
}

async fn transaction(
    State(local): State<Local>,
    Path(text): Path<String>,
) -> Result<Json<view::TransactionJson>, Refusal> {
    let stored = reading::transaction(local.node.store(), id(&text)?).await?;
    Ok(Json(view::transaction_json(&stored)))
}

async fn body(State(local): State<Local>, Path(text): Path<String>) -> Result<Response, Refusal> {
    let store = local.node.store();
    let stored = reading::transaction(store, id(&text)?).await?;
    let bytes = stored.envelope.header().body_bytes;
    let pieces = Pieces::new(store.clone(), &stored).into_stream();
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    // What strangers wrote is never shown as a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}

async fn status(State(local): State<Local>) -> Result<Json<StatusJson>, Refusal> {
    Ok(Json(local.status().await?.into()))
}

async fn peers(State(local): State<Local>) -> Result<Json<PeersJson>, Refusal> {
    let peers = local.node.peers().await?;
    Ok(Json(PeersJson { peers: peers.iter().map(|peer| view::peer(peer).into()).collect() }))
}

async fn watch(State(local): State<Local>) -> Sse<impl Stream<Item = Result<sse::Event, axum::Error>>> {
    let events = events(&local).map(|event| {
        let event = view::EventJson::from(event);
        sse::Event::default().event(event.kind.clone()).json_data(event)
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn holders(
    State(local): State<Local>,
    Path(text): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<HoldersJson>, Refusal> {
    let mut query = Query::parse(query.as_deref(), &["wanted", "wait"])?;
    let wanted = u32::try_from(query.number("wanted", 0)?).unwrap_or(u32::MAX);
    let wait_ms = query.number("wait", 0)?;
    Ok(Json(level::holders(&local.node, &local.waiting, id(&text)?, wanted, wait_ms).await?.into()))
}

async fn subscribe(
    State(local): State<Local>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, axum::Error>>>, Refusal> {
    let query = Query::parse(query.as_deref(), stream::PARAMETERS)?;
    let events = stream::subscribe(local, query, &headers).await?;
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(stream::HEARTBEAT)))
}

async fn cursors(State(local): State<Local>) -> Result<Json<CursorsJson>, Refusal> {
    Ok(Json(subscribers::list(&local, None).await?.into()))
}

async fn cursor(State(local): State<Local>, Path(name): Path<String>) -> Result<Json<CursorJson>, Refusal> {
    one(subscribers::list(&local, Some(&name)).await?)
}

fn one(cursors: sorcha_proto::v1::Cursors) -> Result<Json<CursorJson>, Refusal> {
    let cursor = cursors.cursors.into_iter().next();
    cursor.map(|cursor| Json(cursor.into())).ok_or_else(|| Refusal::new(Kind::NotFound, "the cursor is gone"))
}

async fn delete_cursor(State(local): State<Local>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    subscribers::delete(&local, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn acknowledge(
    State(local): State<Local>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<CursorJson>, Refusal> {
    let mut query = Query::parse(query.as_deref(), &["position", "generation"])?;
    let position = query.required("position")?;
    let generation = query.required("generation")?;
    one(subscribers::acknowledge(&local, &name, generation, position).await?)
}

async fn list_outbox(
    State(local): State<Local>,
    RawQuery(query): RawQuery,
) -> Result<Json<OutboxJson>, Refusal> {
    let limit = Query::parse(query.as_deref(), &["limit"])?.number("limit", outbox::LISTED_DEFAULT)?;
    if limit == 0 {
        return Err(Refusal::bad(
            "limit",
            format!("limit 0 is out of range: use 1 to {}", outbox::LISTED_MAX),
        ));
    }
    Ok(Json(outbox::list(&local.node, limit).await?.into()))
}

fn ids(query: Option<&str>) -> Result<Vec<TxId>, Refusal> {
    Query::parse(query, &["id"])?.texts("id").iter().map(|text| id(text)).collect()
}

async fn retry_outbox(
    State(local): State<Local>,
    RawQuery(query): RawQuery,
) -> Result<Json<OutboxJson>, Refusal> {
    Ok(Json(outbox::retry(&local.node, ids(query.as_deref())?).await?.into()))
}

async fn discard_outbox(
    State(local): State<Local>,
    RawQuery(query): RawQuery,
) -> Result<Json<OutboxJson>, Refusal> {
    Ok(Json(outbox::discard(&local.node, ids(query.as_deref())?).await?.into()))
}

async fn list_quarantine(State(local): State<Local>) -> Result<Json<QuarantineJson>, Refusal> {
    Ok(Json(view::quarantine(&local.node.quarantine(false).await?).into()))
}

async fn retry_quarantine(State(local): State<Local>) -> Result<Json<QuarantineJson>, Refusal> {
    Ok(Json(view::quarantine(&local.node.quarantine(true).await?).into()))
}

async fn leave(State(local): State<Local>) -> Result<StatusCode, Refusal> {
    local.node.leave().await?;
    Ok(StatusCode::ACCEPTED)
}

async fn drain(State(local): State<Local>, RawQuery(query): RawQuery) -> Result<Json<DrainJson>, Refusal> {
    let mut query = Query::parse(query.as_deref(), &["wait", "leave"])?;
    let wait_ms = query.number("wait", 0)?;
    let leave = match query.text("leave").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Refusal::bad("leave", "leave is true or false")),
    };
    let view = operate::drain(&local.node, wait_ms, Vec::new(), leave).await?;
    Ok(Json(view::drain(view).into()))
}

async fn resume(State(local): State<Local>) -> Result<Json<StatusJson>, Refusal> {
    local.node.resume().await?;
    Ok(Json(local.status().await?.into()))
}

async fn nothing_here(request: axum::extract::Request) -> Response {
    if is_grpc(request.headers()) {
        return tonic::Status::unimplemented(format!("there is no method {}", request.uri().path()))
            .into_http();
    }
    let shown: String = request.uri().path().chars().take(80).collect();
    Refusal::new(Kind::NotFound, format!("there is no '{shown}' here; / lists what there is")).into_response()
}

async fn wrong_method(request: axum::extract::Request) -> Response {
    let sentence =
        format!("{} does not take {}; / lists what there is", request.uri().path(), request.method());
    Refusal::new(Kind::WrongMethod, sentence).into_response()
}
