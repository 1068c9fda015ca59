//! A small client of plain HTTP, for peers' REST API and for ports that serve health and metrics.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

/// All are on this machine: who listens takes a connection at once.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Whoever only asks does not wait for longer.
const ASK_MAX: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// The body, as it came.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends one request to `host:port`, with an idempotency key where there is one; each read of the answer takes no longer
/// than `answer_max`.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &[u8],
    answer_max: Duration,
) -> anyhow::Result<Answer> {
    let address: SocketAddr = address.parse().with_context(|| format!("{address} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    stream.set_read_timeout(Some(answer_max))?;
    stream.set_write_timeout(Some(answer_max))?;
    let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{key}content-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer was cut off")?;
    let code =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
    Ok(Answer { code, body: body.to_owned() })
}

/// What a port answers to a GET: status and body; none while it answers nothing.
pub fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let answer = request(address, "GET", path, None, &[], ASK_MAX).ok()?;
    Some((answer.code, answer.body))
}

/// The value of one series at a port that serves metrics; none while it does not answer or has no such series.
pub fn metric(address: &str, series: &str) -> Option<u64> {
    let (_, text) = ask(address, "/metrics").filter(|(code, _)| *code == 200)?;
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.parse().ok()
}
