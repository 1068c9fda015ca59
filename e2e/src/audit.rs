//! The log of requests that an API server writes: who asked for what, when, and what came of it.
//!
//! Reads the file as it grows. Knows nothing of why somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::Value;

/// What is logged: everything that service accounts ask for, and who changes manifests.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: [\"system:serviceaccounts\"]
- level: Metadata
  verbs: [create, update, patch, delete]
  resources: [{group: sorcha.org}]
- level: None
";

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// Which of its tokens, as the token's own `jti` says; empty for tokens of another kind.
    pub credential: String,
    /// `get`, `list`, `watch`, `patch`, ...
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// Plural, with its subresource: `pods`, `pods/status`. For a path that is no resource, the path.
    pub resource: String,
    /// Empty for what has none.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The whole path with its query.
    pub uri: String,
    /// HTTP status; 0 where none was sent.
    pub code: u16,
    /// Refused because its user lacks the right.
    pub is_denied: bool,
    /// When the server received it.
    pub received: Timestamp,
    /// When the server had answered; of a watch, when it had begun to.
    pub answered: Timestamp,
}

impl Request {
    /// It changes something, or would if it were no trial (`dryRun`). Leases are left out, for they are renewed
    /// for ever; so are questions about one's own rights, which are created but change nothing.
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
            && self.resource != "leases"
            && self.group != "authorization.k8s.io"
    }

    /// As one line of a report.
    pub fn line(&self) -> String {
        format!("{} {} {} -> {}", self.received, self.verb, self.uri, self.code)
    }

    fn read(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let verb = text(&event["verb"]);
        // Everything is told when it is complete; watches when they begin, since they may never be complete.
        let stage = event["stage"].as_str()?;
        let told = if verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        let code = event["responseStatus"]["code"].as_u64().unwrap_or_default() as u16;
        if stage != told && !(verb == "watch" && code >= 400 && stage == "ResponseComplete") {
            return None;
        }
        let object = &event["objectRef"];
        let resource = match (object["resource"].as_str(), object["subresource"].as_str()) {
            (Some(resource), Some(below)) => format!("{resource}/{below}"),
            (Some(resource), None) => resource.to_owned(),
            _ => text(&event["requestURI"]),
        };
        Some(Self {
            user: text(&event["user"]["username"]),
            credential: event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]
                .as_str()
                .and_then(|id| id.strip_prefix("JTI="))
                .unwrap_or_default()
                .to_owned(),
            verb,
            group: text(&object["apiGroup"]),
            resource,
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            uri: text(&event["requestURI"]),
            code,
            is_denied: event["annotations"]["authorization.k8s.io/decision"] == "forbid",
            received: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
            answered: event["stageTimestamp"].as_str()?.parse().ok()?,
        })
    }
}

/// A log that is read as it grows.
pub struct Audit {
    path: PathBuf,
    read: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    offset: u64,
    requests: Vec<Request>,
}

impl Audit {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// What one user has asked for from a time on.
    pub fn since(&self, user: &str, time: Timestamp) -> Vec<Request> {
        self.select(|request| request.user == user && request.received >= time)
    }

    /// Its writes, Leases apart.
    pub fn writes(&self, user: &str, time: Timestamp) -> Vec<Request> {
        self.select(|request| request.user == user && request.received >= time && request.is_write())
    }

    /// All requests that a condition holds for, in the order of the log.
    pub fn select(&self, condition: impl Fn(&Request) -> bool) -> Vec<Request> {
        let mut progress = self.read.lock().expect("nobody panics while holding it");
        self.read_on(&mut progress);
        progress.requests.iter().filter(|request| condition(request)).cloned().collect()
    }

    /// Whole lines only: the last one may be under way.
    fn read_on(&self, progress: &mut Progress) {
        let Ok(mut file) = std::fs::File::open(&self.path) else { return };
        let mut text = Vec::new();
        let seek = SeekFrom::Start(progress.offset);
        if file.seek(seek).is_err() || file.read_to_end(&mut text).is_err() {
            return;
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        progress.offset += whole as u64;
        let lines = String::from_utf8_lossy(&text[..whole]);
        progress.requests.extend(lines.lines().filter_map(Request::read));
    }
}

/// How often something was asked for, second by second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// All of them.
    pub total: usize,
    /// In the busiest second.
    pub peak: usize,
    /// Over the time from the first to the last, at least a second.
    pub mean: f64,
}

/// The rate of some requests.
pub fn rate(requests: &[Request]) -> Rate {
    let mut seconds: BTreeMap<i64, usize> = BTreeMap::new();
    for request in requests {
        *seconds.entry(request.received.as_second()).or_default() += 1;
    }
    let span = match (seconds.first_key_value(), seconds.last_key_value()) {
        (Some((first, _)), Some((last, _))) => last - first + 1,
        _ => 1,
    };
    let peak = seconds.values().copied().max().unwrap_or_default();
    Rate { total: requests.len(), peak, mean: requests.len() as f64 / span as f64 }
}

/// What was asked for, as rules of a role name it: (verb, group, resource).
pub fn used(requests: &[Request]) -> BTreeSet<(String, String, String)> {
    let named = requests.iter().filter(|request| !request.resource.starts_with('/'));
    named.map(|request| (request.verb.clone(), request.group.clone(), request.resource.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stage: &str, verb: &str, resource: &str, second: u32) -> String {
        let time = format!("2026-01-01T00:00:{second:02}.500000Z");
        serde_json::json!({
            "stage": stage, "verb": verb, "requestURI": "/x",
            "user": { "username": "someone" },
            "objectRef": { "resource": resource, "namespace": "a", "name": "b" },
            "responseStatus": { "code": 200 },
            "requestReceivedTimestamp": time, "stageTimestamp": time,
        })
        .to_string()
    }

    #[test]
    fn a_log_is_read_as_it_grows() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("audit.log");
        let audit = Audit::new(path.clone());
        assert_eq!(audit.select(|_| true), [], "no log, no requests");
        let (first, second) =
            (line("ResponseComplete", "get", "pods", 1), line("ResponseComplete", "patch", "pods", 2));
        std::fs::write(&path, format!("{first}\n{}", &second[..20]))?;
        assert_eq!(audit.select(|_| true).len(), 1, "half a line is none");
        std::fs::write(&path, format!("{first}\n{second}\n"))?;
        assert_eq!(audit.select(|_| true).len(), 2);
        assert_eq!(audit.writes("someone", Timestamp::UNIX_EPOCH).len(), 1);
        assert_eq!(audit.writes("somebody else", Timestamp::UNIX_EPOCH), []);
        Ok(())
    }

    #[test]
    fn a_watch_counts_once_and_leases_are_no_writes() {
        assert!(Request::read(&line("ResponseStarted", "watch", "pods", 1)).is_some());
        assert!(Request::read(&line("ResponseComplete", "watch", "pods", 1)).is_none());
        assert!(Request::read(&line("ResponseStarted", "get", "pods", 1)).is_none());
        let lease = Request::read(&line("ResponseComplete", "patch", "leases", 1));
        assert!(!lease.expect("it is complete").is_write());
    }

    #[test]
    fn a_rate_has_a_peak_and_a_mean() {
        let at = |second| Request::read(&line("ResponseComplete", "get", "pods", second)).expect("complete");
        let found = rate(&[at(1), at(1), at(1), at(4)]);
        assert_eq!((found.total, found.peak), (4, 3));
        assert!((found.mean - 1.0).abs() < f64::EPSILON);
        assert_eq!(rate(&[]), Rate { total: 0, peak: 0, mean: 0.0 });
    }
}
