//! The OpenAPI 3.1 document of the local REST API, made from the same table that the router is made from.

use serde_json::{Map, Value, json};

use crate::api::level::{HOLDERS_MAX, WAIT_MS_DEFAULT, WAIT_MS_MAX};
use crate::api::local_rest::{PAGE_DEFAULT, PAGE_MAX};
use crate::api::operate::DRAIN_WAIT_MS_MAX;
use crate::api::outbox::{LISTED_DEFAULT, LISTED_MAX};

/// One operation of the REST API.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// `operationId`.
    pub id: &'static str,
    /// `get` or `post`.
    pub method: &'static str,
    /// As OpenAPI and the router write it.
    pub path: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What one needs to know beyond it.
    pub description: &'static str,
    /// Status of success, media type, schema (empty: none).
    pub success: (u16, &'static str, &'static str),
    /// Statuses of refusals that this operation has beside those of all.
    pub refusals: &'static [u16],
    /// A command that shows it.
    pub example: &'static str,
}

const JSON: &str = "application/json";

/// All operations, in the order of the page.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "submit",
        method: "post",
        path: "/v1/transactions",
        summary: "Submit a transaction",
        description: "The request's body is the transaction's body, as it is. Answered when it is durable at this peer; it then spreads to all others. With `ack=N` it is answered when N other peers hold it durably too, or with 202 when `wait` is over: it is accepted all the same. With an Idempotency-Key a retry within 24 h answers 200 with the first transaction's id.",
        success: (201, JSON, "Submitted"),
        refusals: &[400, 408, 413, 429, 507],
        example: "curl --data-binary @FILE 'http://HOST/v1/transactions?register=R'",
    },
    Operation {
        id: "listTransactions",
        method: "get",
        path: "/v1/transactions",
        summary: "Transactions in the order of their arrival here",
        description: "Headers only, in pages: ask for the next one with `after` set to the page's `next`.",
        success: (200, JSON, "Page"),
        refusals: &[400],
        example: "curl 'http://HOST/v1/transactions?after=0&limit=10'",
    },
    Operation {
        id: "getTransaction",
        method: "get",
        path: "/v1/transactions/{id}",
        summary: "One transaction's header",
        description: "",
        success: (200, JSON, "Transaction"),
        refusals: &[400, 404],
        example: "curl http://HOST/v1/transactions/ID",
    },
    Operation {
        id: "getTransactionBody",
        method: "get",
        path: "/v1/transactions/{id}/body",
        summary: "One transaction's body",
        description: "Streamed; the bytes are as they were submitted.",
        success: (200, "application/octet-stream", ""),
        refusals: &[400, 404],
        example: "curl --output FILE http://HOST/v1/transactions/ID/body",
    },
    Operation {
        id: "getHolders",
        method: "get",
        path: "/v1/transactions/{id}/holders",
        summary: "How many other peers hold a transaction durably",
        description: "Without `wait` what is known is answered at once; with it others are asked, until `wanted` hold it or the wait is over. At most 64 are counted.",
        success: (200, JSON, "Holders"),
        refusals: &[400, 404, 429],
        example: "curl 'http://HOST/v1/transactions/ID/holders?wanted=2&wait=5000'",
    },
    Operation {
        id: "subscribe",
        method: "get",
        path: "/v1/subscribe",
        summary: "Transactions as they arrive, as server-sent events",
        description: "Events: `open` {cursor, generation, position}, `transaction` (a Transaction with body in base64, more, late), `body` {position, body, more} for further parts of a large body, `caught-up` {position}, `gap` {from, to} where retention has taken positions, `origin-gap` {origin, incarnation, fromSequence, toSequence} where numbers of an origin did not come in time, `end` (a Problem) before the peer closes. Without a cursor, a client goes on after the event whose id it gives back in Last-Event-ID; with one, after what it has acknowledged.",
        success: (200, "text/event-stream", "Transaction"),
        refusals: &[400, 429],
        example: "curl --no-buffer 'http://HOST/v1/subscribe?cursor=app&register=R'",
    },
    Operation {
        id: "listCursors",
        method: "get",
        path: "/v1/cursors",
        summary: "All named cursors",
        description: "",
        success: (200, JSON, "Cursors"),
        refusals: &[],
        example: "curl http://HOST/v1/cursors",
    },
    Operation {
        id: "getCursor",
        method: "get",
        path: "/v1/cursors/{name}",
        summary: "One cursor",
        description: "",
        success: (200, JSON, "Cursor"),
        refusals: &[404],
        example: "curl http://HOST/v1/cursors/app",
    },
    Operation {
        id: "deleteCursor",
        method: "delete",
        path: "/v1/cursors/{name}",
        summary: "Delete a cursor",
        description: "Whoever subscribes with it is told so and ends.",
        success: (204, "", ""),
        refusals: &[404],
        example: "curl --request DELETE http://HOST/v1/cursors/app",
    },
    Operation {
        id: "acknowledge",
        method: "post",
        path: "/v1/cursors/{name}/ack",
        summary: "Acknowledge deliveries of a subscription",
        description: "The delivery of `position` and all before it in this subscription are processed; answered when that is durable. `generation` is the one of the subscription's `open` event: where another has taken over, the answer is 409.",
        success: (200, JSON, "Cursor"),
        refusals: &[400, 404, 409],
        example: "curl --request POST 'http://HOST/v1/cursors/app/ack?position=7&generation=G'",
    },
    Operation {
        id: "listOutbox",
        method: "get",
        path: "/v1/outbox",
        summary: "What no other peer is known to hold yet",
        description: "The oldest first. `undeliverable` says why one does not go on; it is empty while the peer is offline or the transaction is on its way.",
        success: (200, JSON, "Outbox"),
        refusals: &[400],
        example: "curl 'http://HOST/v1/outbox?limit=10'",
    },
    Operation {
        id: "retryOutbox",
        method: "post",
        path: "/v1/outbox/retry",
        summary: "Bring transactions of the outbox to linked peers now",
        description: "Those of the given ids, or all that are undeliverable.",
        success: (200, JSON, "Outbox"),
        refusals: &[400, 404],
        example: "curl --request POST 'http://HOST/v1/outbox/retry?id=ID'",
    },
    Operation {
        id: "discardOutbox",
        method: "post",
        path: "/v1/outbox/discard",
        summary: "Take transactions out of the outbox",
        description: "Those of the given ids, or all that are undeliverable. They stay in this peer's store, and reconciliation may still spread them.",
        success: (200, JSON, "Outbox"),
        refusals: &[400, 404],
        example: "curl --request POST 'http://HOST/v1/outbox/discard?id=ID'",
    },
    Operation {
        id: "listQuarantine",
        method: "get",
        path: "/v1/quarantine",
        summary: "Transactions kept aside because their signer is not trusted here",
        description: "They are neither held nor passed on. When the peer's roots change they are looked at again.",
        success: (200, JSON, "Quarantine"),
        refusals: &[],
        example: "curl http://HOST/v1/quarantine",
    },
    Operation {
        id: "retryQuarantine",
        method: "post",
        path: "/v1/quarantine/retry",
        summary: "Look at what is kept aside again",
        description: "",
        success: (200, JSON, "Quarantine"),
        refusals: &[],
        example: "curl --request POST http://HOST/v1/quarantine/retry",
    },
    Operation {
        id: "getStatus",
        method: "get",
        path: "/v1/status",
        summary: "The peer at a glance",
        description: "",
        success: (200, JSON, "Status"),
        refusals: &[],
        example: "curl http://HOST/v1/status",
    },
    Operation {
        id: "listPeers",
        method: "get",
        path: "/v1/peers",
        summary: "All other peers that this one knows",
        description: "",
        success: (200, JSON, "Peers"),
        refusals: &[],
        example: "curl http://HOST/v1/peers",
    },
    Operation {
        id: "watchEvents",
        method: "get",
        path: "/v1/events",
        summary: "What happens from now on",
        description: "Server-sent events; the name of each is its kind, its data an Event. A reader that is too slow is told so by `events.missed`.",
        success: (200, "text/event-stream", "Event"),
        refusals: &[],
        example: "curl --no-buffer http://HOST/v1/events",
    },
    Operation {
        id: "leave",
        method: "post",
        path: "/v1/leave",
        summary: "Leave the network for good",
        description: "The peer tells the others to forget it, and its process ends. Its state directory stays.",
        success: (202, "", ""),
        refusals: &[],
        example: "curl --request POST http://HOST/v1/leave",
    },
    Operation {
        id: "drain",
        method: "post",
        path: "/v1/drain",
        summary: "Accept nothing more and bring everything to the others",
        description: "Answered when everything held here is held by a linked peer, or when `wait` has passed; asked again it goes on. With `leave=true` the others then forget this peer; its process goes on either way. `/v1/resume` takes it back, and so does a restart.",
        success: (200, JSON, "Drain"),
        refusals: &[400],
        example: "curl --request POST 'http://HOST/v1/drain?wait=60000'",
    },
    Operation {
        id: "resume",
        method: "post",
        path: "/v1/resume",
        summary: "Take back a drain",
        description: "The peer accepts again; where it had left, it joins again.",
        success: (200, JSON, "Status"),
        refusals: &[],
        example: "curl --request POST http://HOST/v1/resume",
    },
    Operation {
        id: "getOpenapi",
        method: "get",
        path: "/openapi.json",
        summary: "This API as an OpenAPI 3.1 document",
        description: "",
        success: (200, JSON, ""),
        refusals: &[],
        example: "curl http://HOST/openapi.json",
    },
    Operation {
        id: "getPage",
        method: "get",
        path: "/",
        summary: "This API as a page for people",
        description: "",
        success: (200, "text/html", ""),
        refusals: &[],
        example: "curl http://HOST/",
    },
];

/// Refusals that every operation has: a foreign page or host, and a peer that stops or whose store failed.
const REFUSALS_OF_ALL: [u16; 2] = [403, 503];

/// The whole document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = describe(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sorcha peer, local API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "For the application beside the peer. The same calls are served as gRPC (sorcha.peer.v1.Node) on the same port. Ids are 64 hexadecimal digits, times are milliseconds since the Unix epoch, counters are numbers.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn describe(operation: &Operation) -> Value {
    let (code, media, schema) = operation.success;
    let mut success = json!({ "description": operation.summary });
    if !media.is_empty() {
        let schema = match schema {
            "" if media == JSON => json!({ "type": "object" }),
            "" => json!({}),
            name => reference(name),
        };
        success["content"] = json!({ media: { "schema": schema } });
    }
    let mut responses = Map::new();
    responses.insert(code.to_string(), success);
    if operation.id == "submit" {
        let known = json!({ "description": "The key was known", "content": { JSON: { "schema": reference("Submitted") } } });
        responses.insert("200".to_owned(), known);
        let pending = json!({ "description": "Accepted and durable here, but the wait for holders is over", "content": { JSON: { "schema": reference("Submitted") } } });
        responses.insert("202".to_owned(), pending);
    }
    for code in operation.refusals.iter().chain(&REFUSALS_OF_ALL) {
        let problem = json!({ "application/problem+json": { "schema": reference("Problem") } });
        responses.insert(code.to_string(), json!({ "description": refusal(*code), "content": problem }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    });
    if !operation.description.is_empty() {
        described["description"] = operation.description.into();
    }
    let parameters = parameters(operation.id);
    if parameters != json!([]) {
        described["parameters"] = parameters;
    }
    if operation.id == "submit" {
        described["requestBody"] = json!({ "required": true, "content": { "application/octet-stream": {} } });
    }
    described
}

const fn refusal(code: u16) -> &'static str {
    match code {
        400 => "A value is not valid; `field` names it",
        403 => "The request comes from a web page of another origin, or names another host",
        404 => "Not held here",
        409 => "Another subscriber took over the cursor",
        408 => "The body stood still for too long",
        413 => "The body is longer than limits.bodyBytesMax",
        429 => "As much is under way as the peer takes at once; Retry-After says when to come back",
        507 => "The state directory is full; nothing was stored",
        _ => "The peer cannot do this now; Retry-After says when to come back",
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn parameters(operation: &str) -> Value {
    match operation {
        "submit" => json!([
            { "name": "register", "in": "query", "description": "Label of the register it belongs to", "schema": { "type": "string", "maxLength": 128 } },
            { "name": "ack", "in": "query", "description": "When to answer: local, or how many other peers hold it durably (1 to 64)", "schema": { "type": "string", "default": "local" } },
            { "name": "wait", "in": "query", "description": "How long to wait for holders, in milliseconds", "schema": { "type": "integer", "minimum": 0, "maximum": WAIT_MS_MAX, "default": WAIT_MS_DEFAULT } },
            { "name": "Idempotency-Key", "in": "header", "description": "At most 64 bytes", "schema": { "type": "string", "maxLength": 64 } },
        ]),
        "listTransactions" => json!([
            { "name": "after", "in": "query", "description": "Position after which to begin", "schema": { "type": "integer", "minimum": 0, "default": 0 } },
            { "name": "limit", "in": "query", "description": "Transactions at most", "schema": { "type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT } },
        ]),
        "getHolders" => json!([
            { "name": "id", "in": "path", "required": true, "schema": { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" } },
            { "name": "wanted", "in": "query", "description": "Answer when so many hold it", "schema": { "type": "integer", "minimum": 0, "maximum": HOLDERS_MAX, "default": HOLDERS_MAX } },
            { "name": "wait", "in": "query", "description": "How long to ask and to wait, in milliseconds", "schema": { "type": "integer", "minimum": 0, "maximum": WAIT_MS_MAX, "default": 0 } },
        ]),
        "subscribe" => json!([
            { "name": "cursor", "in": "query", "description": "Durable cursor: 1 to 63 characters of a-z 0-9 . _ -", "schema": { "type": "string", "maxLength": 63 } },
            { "name": "from", "in": "query", "description": "Where a new cursor, or none, starts: earliest, latest, a position, or a time (RFC 3339)", "schema": { "type": "string", "default": "earliest" } },
            { "name": "register", "in": "query", "description": "Only this register; may be given several times", "schema": { "type": "string" } },
            { "name": "origin", "in": "query", "description": "Only what this peer published: SPIFFE URI, name or id; may be given several times", "schema": { "type": "string" } },
            { "name": "bodies", "in": "query", "description": "base64, or none to leave them out", "schema": { "type": "string", "default": "base64" } },
            { "name": "Last-Event-ID", "in": "header", "description": "Without a cursor: go on after the event of this id", "schema": { "type": "string" } },
        ]),
        "getCursor" | "deleteCursor" => json!([
            { "name": "name", "in": "path", "required": true, "schema": { "type": "string" } },
        ]),
        "acknowledge" => json!([
            { "name": "name", "in": "path", "required": true, "schema": { "type": "string" } },
            { "name": "position", "in": "query", "required": true, "description": "Of the last delivery that is processed", "schema": { "type": "integer", "minimum": 0 } },
            { "name": "generation", "in": "query", "required": true, "description": "Of the subscription's open event", "schema": { "type": "integer", "minimum": 0 } },
        ]),
        "listOutbox" => json!([
            { "name": "limit", "in": "query", "description": "Entries at most", "schema": { "type": "integer", "minimum": 1, "maximum": LISTED_MAX, "default": LISTED_DEFAULT } },
        ]),
        "retryOutbox" | "discardOutbox" => json!([
            { "name": "id", "in": "query", "description": "May be given several times, up to 512; none: all that are undeliverable", "schema": { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" } },
        ]),
        "drain" => json!([
            { "name": "wait", "in": "query", "description": "How long to wait, in milliseconds", "schema": { "type": "integer", "minimum": 0, "maximum": DRAIN_WAIT_MS_MAX, "default": 0 } },
            { "name": "leave", "in": "query", "description": "Tell the others to forget this peer once it is done", "schema": { "type": "boolean", "default": false } },
        ]),
        "getTransaction" | "getTransactionBody" => json!([
            { "name": "id", "in": "path", "required": true, "schema": { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" } },
        ]),
        _ => json!([]),
    }
}

/// Name, fields with their types; `[]` marks lists.
const SCHEMAS: &[(&str, &[(&str, &str)])] = &[
    (
        "Transaction",
        &[
            ("position", "integer"),
            ("id", "string"),
            ("register", "string"),
            ("origin", "string"),
            ("incarnation", "integer"),
            ("sequence", "integer"),
            ("publishedUnixMs", "integer"),
            ("receivedUnixMs", "integer"),
            ("bodyBytes", "integer"),
        ],
    ),
    ("Page", &[("transactions", "[]Transaction"), ("next", "integer"), ("head", "integer")]),
    (
        "Submitted",
        &[
            ("id", "string"),
            ("duplicate", "boolean"),
            ("publishedUnixMs", "integer"),
            ("holders", "integer"),
            ("pending", "boolean"),
        ],
    ),
    ("Holders", &[("id", "string"), ("holders", "integer")]),
    ("Outbox", &[("transactions", "integer"), ("entries", "[]OutboxEntry")]),
    (
        "OutboxEntry",
        &[("id", "string"), ("ageMs", "integer"), ("denied", "integer"), ("undeliverable", "string")],
    ),
    ("Quarantine", &[("entries", "[]QuarantineEntry")]),
    (
        "QuarantineEntry",
        &[
            ("id", "string"),
            ("origin", "string"),
            ("reason", "string"),
            ("sinceUnixMs", "integer"),
            ("from", "string"),
        ],
    ),
    ("Cursors", &[("cursors", "[]Cursor")]),
    (
        "Cursor",
        &[
            ("name", "string"),
            ("position", "integer"),
            ("ahead", "integer"),
            ("behind", "integer"),
            ("subscribed", "boolean"),
            ("generation", "integer"),
        ],
    ),
    (
        "Status",
        &[
            ("uri", "string"),
            ("peerId", "string"),
            ("name", "string"),
            ("network", "string"),
            ("state", "string"),
            ("incarnation", "integer"),
            ("version", "string"),
            ("uptimeMs", "integer"),
            ("peersKnown", "integer"),
            ("peersLinked", "integer"),
            ("rows", "integer"),
            ("row", "integer"),
            ("transactions", "integer"),
            ("storeBytes", "integer"),
            ("certificateNotAfterUnixMs", "integer"),
            ("addresses", "[]string"),
            ("site", "string"),
            ("storeFault", "string"),
            ("position", "integer"),
            ("outbox", "integer"),
            ("caughtUp", "boolean"),
            ("storeLiveBytes", "integer"),
            ("floorUnixMs", "integer"),
            ("oldestUnixMs", "integer"),
            ("expired", "integer"),
            ("quarantined", "integer"),
            ("bootstrap", "[]Bootstrap"),
        ],
    ),
    (
        "Bootstrap",
        &[("address", "string"), ("peerId", "string"), ("failures", "integer"), ("lastError", "string")],
    ),
    ("Drain", &[("drained", "boolean"), ("remaining", "integer"), ("reason", "string")]),
    (
        "Peer",
        &[
            ("peerId", "string"),
            ("uri", "string"),
            ("name", "string"),
            ("linked", "boolean"),
            ("dialled", "boolean"),
            ("address", "string"),
            ("transport", "string"),
            ("rttUs", "integer"),
            ("row", "integer"),
            ("incarnation", "integer"),
            ("linkedSinceUnixMs", "integer"),
            ("lastSeenUnixMs", "integer"),
            ("site", "string"),
            ("lastError", "string"),
            ("software", "string"),
        ],
    ),
    ("Peers", &[("peers", "[]Peer")]),
    ("Event", &[("atUnixMs", "integer"), ("kind", "string"), ("peer", "string"), ("message", "string")]),
    ("Problem", &[("title", "string"), ("status", "integer"), ("detail", "string"), ("field", "string")]),
];

fn schemas() -> Value {
    let mut schemas = Map::new();
    for (name, fields) in SCHEMAS {
        let mut properties = Map::new();
        for (field, kind) in *fields {
            properties.insert((*field).to_owned(), field_type(kind));
        }
        schemas.insert((*name).to_owned(), json!({ "type": "object", "properties": properties }));
    }
    Value::Object(schemas)
}

fn field_type(kind: &str) -> Value {
    match kind.strip_prefix("[]") {
        Some(items) => json!({ "type": "array", "items": field_type(items) }),
        None if kind.starts_with(char::is_uppercase) => reference(kind),
        None => json!({ "type": kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::view;

    fn fields_of(value: &Value) -> Vec<&String> {
        value.as_object().expect("an object").keys().collect()
    }

    fn sent<T: serde::Serialize>(value: &T) -> Value {
        serde_json::to_value(value).expect("plain data")
    }

    #[test]
    fn the_schemas_name_exactly_the_fields_that_are_sent() {
        let document = document();
        let check = |name: &str, sent: &Value| {
            let schema = &document["components"]["schemas"][name]["properties"];
            assert_eq!(fields_of(schema), fields_of(sent), "{name}");
        };
        check("Transaction", &sent(&view::TransactionJson::from(sorcha_proto::v1::Transaction::default())));
        check("Status", &sent(&view::StatusJson::from(sorcha_proto::v1::Status::default())));
        check("Peer", &sent(&view::PeerJson::from(sorcha_proto::v1::PeerInfo::default())));
        check("Event", &sent(&view::EventJson::from(sorcha_proto::v1::Event::default())));
        check("Submitted", &sent(&view::SubmittedJson::from(sorcha_proto::v1::SubmitResponse::default())));
        check("Page", &sent(&view::PageJson { transactions: Vec::new(), next: 0, head: 0 }));
        check("Drain", &sent(&view::DrainJson::from(sorcha_proto::v1::DrainResponse::default())));
        check("Holders", &sent(&view::HoldersJson::from(sorcha_proto::v1::Holders::default())));
        check("Outbox", &sent(&view::OutboxJson::from(sorcha_proto::v1::Outbox::default())));
        check("Quarantine", &sent(&view::QuarantineJson::from(sorcha_proto::v1::Quarantine::default())));
        check("Cursor", &sent(&view::CursorJson::from(sorcha_proto::v1::Cursor::default())));
        let entries = vec![sorcha_proto::v1::OutboxEntry::default()];
        let outbox = sorcha_proto::v1::Outbox { transactions: 1, entries };
        check("OutboxEntry", &sent(&view::OutboxJson::from(outbox))["entries"][0]);
        let entries = vec![sorcha_proto::v1::QuarantineEntry::default()];
        let kept = sorcha_proto::v1::Quarantine { entries };
        check("QuarantineEntry", &sent(&view::QuarantineJson::from(kept))["entries"][0]);
        check("Peers", &sent(&view::PeersJson { peers: Vec::new() }));
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let text = document().to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().expect("quoted");
            assert!(SCHEMAS.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
