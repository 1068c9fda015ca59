//! A small client of the peers' REST API, for tests that submit thousands: a connection for each request, no process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

/// A peer that is busy or stopped does not answer; whoever submits goes on after this time.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a peer answered.
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

/// Sends one request to `host:port`.
pub fn request(
    api: &str,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &[u8],
) -> anyhow::Result<Answer> {
    let address: SocketAddr = api.parse().with_context(|| format!("{api} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {api}\r\nconnection: close\r\n{key}content-length: {length}\r\n\r\n"
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

/// Submits a body.
pub fn submit(api: &str, key: Option<&str>, body: &[u8]) -> anyhow::Result<Answer> {
    request(api, "POST", "/v1/transactions?register=load", key, body)
}

/// Submits one body after another to a peer until told to stop; what was acknowledged is added to `acknowledged`.
/// Every second submission has a key and is tried again under it, as an application would, until it is acknowledged.
pub fn keep_submitting(api: &str, name: &str, stop: &AtomicBool, acknowledged: &Mutex<Vec<String>>) {
    for number in 0_u64.. {
        let key = (number % 2 == 0).then(|| format!("{name}-{number}"));
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let body = format!("{name}/{number}/{}", "x".repeat((number % 700) as usize));
            match submit(api, key.as_deref(), body.as_bytes()) {
                Ok(answer) if answer.code < 300 => {
                    if let Some(id) = answer.json()["id"].as_str() {
                        acknowledged.lock().expect("no holder panics").push(id.to_owned());
                    }
                    break;
                }
                // A refusal or a cut connection is no acknowledgement.
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
            if key.is_none() {
                break;
            }
        }
    }
}
