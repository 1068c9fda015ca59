//! As much HTTP/1.1 as it takes to ask a peer's local API something (RFC 9112).
//!
//! One connection per request, answers with a known length or up to the end of the connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A local API that does not answer within this does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of an answer at most; status pages take less than a tenth.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Status code.
    pub(super) code: u16,
    /// Body as text.
    pub(super) body: String,
}

impl Answer {
    /// The body as JSON, where the code says success.
    pub(super) fn json(&self) -> Result<Value> {
        ensure!((200..300).contains(&self.code), "HTTP {}: {}", self.code, self.body.trim());
        serde_json::from_str(&self.body).context("the answer is no JSON")
    }
}

/// `GET path`.
pub(super) fn get(address: &str, path: &str) -> Result<Answer> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"), &[])
}

/// `POST path` with a body.
pub(super) fn post(address: &str, path: &str, body: &[u8]) -> Result<Answer> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    ask(address, &head, body)
}

fn ask(address: &str, head: &str, body: &[u8]) -> Result<Answer> {
    let socket: SocketAddr =
        address.parse().with_context(|| format!("'{address}' is no address of a local API"))?;
    let mut stream = TcpStream::connect_timeout(&socket, ANSWER_WITHIN)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let code =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status code")?;
    Ok(Answer { code, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_code_and_body() {
        let answer = parse("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!(answer, Answer { code: 404, body: "{}".to_owned() });
        assert!(answer.json().unwrap_err().to_string().contains("404"));
        assert!(parse("HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn a_request_reaches_a_server_whole() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            let mut seen = Vec::new();
            while !seen.ends_with(b"body") {
                let length = stream.read(&mut buffer).unwrap();
                seen.extend_from_slice(&buffer[..length]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"a\":1}").unwrap();
            String::from_utf8(seen).unwrap()
        });
        let answer = post(&address, "/v1/x", b"body").unwrap();
        assert_eq!(answer.json().unwrap()["a"], 1);
        assert!(server.join().unwrap().contains("Content-Length: 4\r\n"));
    }
}
