//! Requests to the API server for single objects, each with a deadline, their failures sorted into classes.
//!
//! Objects are JSON here: what they mean is for those who ask.

use std::time::Duration;

use kube::Client;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::core::params::ValidationDirective;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sorcha_operator_plan::names::MANAGER;

use crate::kind::Kind;

/// Longest wait for an answer. The API server's own limit of a request is 60 s; half of it leaves time to report (a
/// guess).
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Longest time for a request with all its waiting: for its turn, and where the API server asks for patience.
pub(crate) const WHOLE: Duration = Duration::from_secs(60);

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody was faster (409): look again at once.
    Conflict,
    /// The API server has too much to do (429): wait as long as it asks.
    Busy {
        /// Seconds, where it said.
        retry_after_s: Option<u32>,
    },
    /// The API server or the way to it does not work (5xx, timeouts, no connection): wait longer and longer.
    Unavailable,
    /// It will not take it as it is (400, 403, 404, 422): tell, and ask seldom.
    Refused,
}

impl Class {
    /// Of a failure of kube's client.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let asked = status.details.as_ref().map(|details| details.retry_after_seconds);
                Self::of_answer(status.code, &status.message, asked.filter(|seconds| *seconds > 0))
            }
            _ => Self::Unavailable,
        }
    }

    fn of_answer(code: u16, message: &str, retry_after_s: Option<u32>) -> Self {
        match code {
            409 => Self::Conflict,
            429 => Self::Busy { retry_after_s },
            // an object that is no object of its kind is answered with 500 by some versions
            500.. if !is_untyped(message) => Self::Unavailable,
            _ => Self::Refused,
        }
    }

    /// For metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Busy { .. } => "busy",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

/// A request that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// The API server said no.
    #[error("{what}: {}", said(.message, .reason, *.code))]
    Answered {
        /// Verb, kind and name.
        what: String,
        /// HTTP status.
        code: u16,
        /// `Invalid`, `Forbidden`, ...
        reason: String,
        /// The API server's sentence.
        message: String,
        /// Seconds to wait, where it said.
        retry_after_s: Option<u32>,
    },
    /// There was no answer.
    #[error("{what}: the API server cannot be reached: {why}")]
    Unreachable {
        /// Verb, kind and name.
        what: String,
        /// The cause.
        why: String,
    },
    /// The answer did not come in time.
    #[error("{what}: no answer from the API server within {} s", WHOLE.as_secs())]
    TimedOut {
        /// Verb, kind and name.
        what: String,
    },
}

fn said(message: &str, reason: &str, code: u16) -> String {
    if message.is_empty() { format!("the API server answers {code} {reason}") } else { message.to_owned() }
}

impl ApiError {
    /// A failure of kube's client as one of these.
    pub fn new(what: impl Into<String>, error: kube::Error) -> Self {
        let what = what.into();
        match error {
            kube::Error::Api(status) => {
                let retry_after_s =
                    status.details.as_ref().map(|it| it.retry_after_seconds).filter(|it| *it > 0);
                Self::Answered {
                    what,
                    code: status.code,
                    reason: status.reason,
                    message: status.message,
                    retry_after_s,
                }
            }
            error => Self::Unreachable { what, why: crate::cli::chain(&error) },
        }
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Answered { code, message, retry_after_s, .. } => {
                Class::of_answer(*code, message, *retry_after_s)
            }
            Self::Unreachable { .. } | Self::TimedOut { .. } => Class::Unavailable,
        }
    }

    /// Whether a field was sent that the kind's definition does not have.
    pub fn is_undeclared_field(&self) -> bool {
        matches!(self, Self::Answered { message, .. } if message.contains("field not declared in schema"))
    }

    /// HTTP status, where there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Answered { code, .. } => Some(*code),
            Self::Unreachable { .. } | Self::TimedOut { .. } => None,
        }
    }
}

fn is_untyped(message: &str) -> bool {
    message.contains("failed to create typed patch object")
        || message.contains("field not declared in schema")
}

/// Single objects at the API server.
#[derive(Clone)]
pub struct Objects {
    client: Client,
}

impl Objects {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client, for watches.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// An object; none where there is none.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let request = Request::new(kind.collection(namespace)).get(name, &GetParams::default());
        match self.ask("get", kind, name, request).await {
            Err(ApiError::Answered { code: 404, .. }) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Server-side apply as the one owner of its fields. Returns the object as it is now.
    pub async fn apply(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        self.patch(kind, namespace, object, false).await
    }

    /// Whether [`Self::apply`] would be taken; changes nothing, and knows every field or says so.
    pub async fn dry_run(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        self.patch(kind, namespace, object, true).await
    }

    async fn patch(&self, kind: Kind, namespace: &str, object: &Value, dry: bool) -> Result<Value, ApiError> {
        let name = name_of(object);
        let params = PatchParams {
            dry_run: dry,
            force: true,
            field_manager: Some(MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let request = Request::new(kind.collection(namespace)).patch(name, &params, &Patch::Apply(object));
        self.ask(if dry { "check" } else { "apply" }, kind, name, request).await
    }

    /// Changes a few fields and owns none.
    pub async fn merge(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        change: &Value,
    ) -> Result<Value, ApiError> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let request = Request::new(kind.collection(namespace)).patch(name, &params, &Patch::Merge(change));
        self.ask("change", kind, name, request).await
    }

    /// Applies a status.
    pub async fn apply_status(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        let params = PatchParams::apply(MANAGER).force();
        let what = ("apply the status of", name_of(object));
        self.patch_status(kind, namespace, what, &params, &Patch::Apply(object)).await
    }

    /// Changes a status and owns none of it. Fields that the definition does not know are left out by the API server.
    pub async fn merge_status(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        change: &Value,
    ) -> Result<Value, ApiError> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let what = ("change the status of", name);
        self.patch_status(kind, namespace, what, &params, &Patch::Merge(change)).await
    }

    async fn patch_status(
        &self,
        kind: Kind,
        namespace: &str,
        (verb, name): (&str, &str),
        params: &PatchParams,
        patch: &Patch<&Value>,
    ) -> Result<Value, ApiError> {
        let collection = Request::new(kind.collection(namespace));
        self.ask(verb, kind, name, collection.patch_subresource("status", name, params, patch)).await
    }

    /// Makes an object that must not be there yet.
    pub async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let body = serde_json::to_vec(object).expect("objects are JSON");
        let request = Request::new(kind.collection(namespace)).create(&params, body);
        self.ask("create", kind, name_of(object), request).await
    }

    /// Deletes an object. True when it was there, false when it was gone before.
    pub async fn delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        params: &DeleteParams,
    ) -> Result<bool, ApiError> {
        let request = Request::new(kind.collection(namespace)).delete(name, params);
        match self.ask::<Value>("delete", kind, name, request).await {
            Ok(_) => Ok(true),
            Err(ApiError::Answered { code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Any request that answers with JSON; `verb`, `kind` and `name` are for the error.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        kind: Kind,
        name: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError> {
        let what = || format!("{verb} {} {name}", kind.name());
        let request = request.map_err(|error| ApiError::new(what(), kube::Error::BuildRequest(error)))?;
        match tokio::time::timeout(WHOLE, self.client.request::<T>(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ApiError::new(what(), error)),
            Err(_) => Err(ApiError::TimedOut { what: what() }),
        }
    }
}

/// `metadata.name` of an object of ours.
pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u16, message: &str) -> ApiError {
        ApiError::Answered {
            what: "apply StatefulSet a".to_owned(),
            code,
            reason: "Reason".to_owned(),
            message: message.to_owned(),
            retry_after_s: (code == 429).then_some(7),
        }
    }

    #[test]
    fn every_answer_has_a_class() {
        assert_eq!(answered(409, "").class(), Class::Conflict);
        assert_eq!(answered(429, "").class(), Class::Busy { retry_after_s: Some(7) });
        for code in [500, 502, 503, 504] {
            assert_eq!(answered(code, "").class(), Class::Unavailable);
        }
        for code in [400, 401, 403, 404, 422] {
            assert_eq!(answered(code, "").class(), Class::Refused);
        }
        let message =
            "failed to create typed patch object (a; apps/v1): .spec.x: field not declared in schema";
        assert_eq!(answered(500, message).class(), Class::Refused);
        assert_eq!(ApiError::TimedOut { what: String::new() }.class(), Class::Unavailable);
    }

    #[test]
    fn an_error_says_what_was_tried() {
        assert_eq!(answered(403, "no").to_string(), "apply StatefulSet a: no");
        assert_eq!(answered(503, "").to_string(), "apply StatefulSet a: the API server answers 503 Reason");
    }
}
