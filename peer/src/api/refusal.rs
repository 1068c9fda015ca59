//! Why a request is not served, once for both APIs: a gRPC status, or problem+json (RFC 9457).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use prost::Message as _;
use serde::Serialize;
use sorcha_peer_core::event::{StoreFault, SubmitRefused};
use tonic::{Code, Status};

use crate::node::Stopped;

/// How long a client shall wait while the peer restarts or its disk is cleared (guess).
const RETRY_LATER: Duration = Duration::from_secs(5);
/// How long a client shall wait for bodies of others to be taken in (guess).
const RETRY_SOON: Duration = Duration::from_millis(200);

/// Classes of refusal; each has one HTTP status, one gRPC code and one title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value is malformed or out of range; trying again does not help.
    BadInput,
    /// The body is longer than the peer's bound; trying again does not help.
    TooLarge,
    /// No such thing here.
    NotFound,
    /// The path has other methods.
    WrongMethod,
    /// A browser, or another host name than this machine's, asks.
    Forbidden,
    /// The client stopped sending.
    TimedOut,
    /// As much is under way as the peer takes at once.
    Busy,
    /// The state directory is full.
    Full,
    /// The store, the signing key or the driver is not in a state to serve this.
    Unavailable,
    /// The request does not fit this way of asking.
    Unfit,
    /// Another took its place.
    Fenced,
}

impl Kind {
    const fn http(self) -> StatusCode {
        match self {
            Self::BadInput => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unfit | Self::Fenced => StatusCode::CONFLICT,
        }
    }

    const fn grpc(self) -> Code {
        match self {
            Self::BadInput | Self::TooLarge => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::WrongMethod => Code::Unimplemented,
            Self::Forbidden => Code::PermissionDenied,
            Self::TimedOut => Code::DeadlineExceeded,
            Self::Busy | Self::Full => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Unfit => Code::FailedPrecondition,
            Self::Fenced => Code::Aborted,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::BadInput => "A value is not valid",
            Self::TooLarge => "The body is too large",
            Self::NotFound => "Not found",
            Self::WrongMethod => "The method is not allowed here",
            Self::Forbidden => "Not allowed from here",
            Self::TimedOut => "The request took too long",
            Self::Busy => "The peer is busy",
            Self::Full => "The store is full",
            Self::Unavailable => "The peer cannot do this now",
            Self::Unfit => "This request does not fit",
            Self::Fenced => "Another subscriber took over",
        }
    }
}

/// Why a request is not served. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// Its class.
    pub kind: Kind,
    /// Names the value and the way out.
    pub sentence: String,
    /// The field, header or parameter at fault, where there is one.
    pub field: Option<&'static str>,
    /// When to come back, where that helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Of this class, with this sentence.
    pub fn new(kind: Kind, sentence: impl Into<String>) -> Self {
        let retry_after = match kind {
            Kind::Busy => Some(RETRY_SOON),
            Kind::Full | Kind::Unavailable => Some(RETRY_LATER),
            _ => None,
        };
        Self { kind, sentence: sentence.into(), field: None, retry_after }
    }

    /// A field's value is wrong.
    pub fn bad(field: &'static str, sentence: impl Into<String>) -> Self {
        Self { field: Some(field), ..Self::new(Kind::BadInput, sentence) }
    }

    /// The peer is stopping.
    pub fn draining() -> Self {
        SubmitRefused::Draining.into()
    }

    /// The answer where the request is gRPC.
    pub fn status(&self) -> Status {
        let code = self.kind.grpc();
        let Some(after) = self.retry_after else { return Status::new(code, self.sentence.clone()) };
        let details = retry_info(code, &self.sentence, after);
        let mut status = Status::with_details(code, self.sentence.clone(), details);
        // gRFC A6: clients with a retry policy wait this long.
        status.metadata_mut().insert("grpc-retry-pushback-ms", (after.as_millis() as u64).into());
        status
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.status()
    }
}

impl From<SubmitRefused> for Refusal {
    fn from(refused: SubmitRefused) -> Self {
        let sentence = refused.to_string();
        match refused {
            SubmitRefused::BodyTooLarge { .. } => {
                Self { field: Some("body"), ..Self::new(Kind::TooLarge, sentence) }
            }
            SubmitRefused::BadRegister { .. } => Self::bad("register", sentence),
            SubmitRefused::BadKey { .. } => Self::bad("idempotencyKey", sentence),
            SubmitRefused::Busy { retry_after, .. } => {
                Self { retry_after: Some(retry_after), ..Self::new(Kind::Busy, sentence) }
            }
            SubmitRefused::Store(fault) => fault.into(),
            SubmitRefused::Unsigned(_) | SubmitRefused::Draining => Self::new(Kind::Unavailable, sentence),
        }
    }
}

impl From<StoreFault> for Refusal {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Full(_) => {
                Self::new(Kind::Full, format!("{fault}: make room there, the peer goes on by itself"))
            }
            StoreFault::Failed(_) => Self::new(Kind::Unavailable, fault.to_string()),
        }
    }
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        Self::new(Kind::Unavailable, stopped.to_string())
    }
}

/// `google.rpc.Status`, as it travels in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// When to come back, as gRPC libraries of all languages read it.
fn retry_info(code: Code, message: &str, after: Duration) -> bytes::Bytes {
    let delay = Delay { seconds: after.as_secs() as i64, nanos: after.subsec_nanos() as i32 };
    let value = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
    let details = vec![Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value }];
    RpcStatus { code: code.into(), message: message.to_owned(), details }.encode_to_vec().into()
}

/// A problem (RFC 9457). `type` is left out: the title says as much.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
}

impl Refusal {
    /// As a problem in JSON.
    pub fn problem(&self) -> serde_json::Value {
        let problem = Problem {
            title: self.kind.title(),
            status: self.kind.http().as_u16(),
            detail: &self.sentence,
            field: self.field,
        };
        serde_json::to_value(problem).expect("a problem has only text and numbers")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.kind.http();
        let mut response = (code, self.problem().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            // Whole seconds, RFC 9110 § 10.2.3: rounded up.
            headers.insert(
                header::RETRY_AFTER,
                after.as_millis().div_ceil(1000).max(1).to_string().parse().expect("digits"),
            );
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_passes_carries_retry_info() {
        let refusal =
            Refusal { retry_after: Some(Duration::from_millis(1_500)), ..Refusal::new(Kind::Busy, "busy") };
        let status = refusal.status();
        let read = RpcStatus::decode(status.details()).expect("google.rpc.Status");
        assert_eq!((read.code, read.message.as_str()), (Code::ResourceExhausted.into(), "busy"));
        assert_eq!(read.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
        let info = RetryInfo::decode(read.details[0].value.as_slice()).expect("RetryInfo");
        assert_eq!(info.retry_delay, Some(Delay { seconds: 1, nanos: 500_000_000 }));
        assert!(Refusal::bad("x", "never").status().details().is_empty());
    }
}
