//! A peer's REST API, reached through the API server: it listens on loopback alone, and a port is forwarded to it.

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::Deserialize;
use sorcha_operator_plan::names::PORT_API;
use tokio_util::bytes::Bytes;

use super::SmokeError;
use crate::cli::chain;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest wait for one answer (a guess: many times what a forwarded port takes).
const ANSWER: Duration = Duration::from_secs(15);
/// Register of the transaction.
const REGISTER: &str = "smoke-test";

#[derive(Deserialize)]
struct Submitted {
    id: String,
}

/// Submits a transaction; its id. Tried again with the same key it makes no second one.
pub(super) async fn submit(
    pods: &Api<Pod>,
    peer: &str,
    key: &str,
    body: &[u8],
) -> Result<String, SmokeError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/v1/transactions?register={REGISTER}"))
        .header("idempotency-key", key);
    let (status, answer) = ask(pods, peer, request, body).await?;
    let submitted: Option<Submitted> =
        if status.is_success() { serde_json::from_slice(&answer).ok() } else { None };
    submitted.map(|submitted| submitted.id).ok_or_else(|| refuses(peer, status, &answer))
}

/// The body of a transaction; none where the peer does not hold it yet.
pub(super) async fn body(pods: &Api<Pod>, peer: &str, id: &str) -> Result<Option<Bytes>, SmokeError> {
    let request = Request::builder().uri(format!("/v1/transactions/{id}/body"));
    let (status, answer) = ask(pods, peer, request, &[]).await?;
    match status {
        StatusCode::OK => Ok(Some(answer)),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(refuses(peer, status, &answer)),
    }
}

fn refuses(peer: &str, status: StatusCode, answer: &[u8]) -> SmokeError {
    let says = format!("answers {status}: {}", String::from_utf8_lossy(answer).trim());
    SmokeError::Peer { peer: peer.to_owned(), says }
}

/// One request on a forwarded port of its own.
async fn ask(
    pods: &Api<Pod>,
    peer: &str,
    request: http::request::Builder,
    body: &[u8],
) -> Result<(StatusCode, Bytes), SmokeError> {
    let failed = |says: String| SmokeError::Unreached { peer: peer.to_owned(), says };
    let asking = async {
        let forwarded = pods.portforward(peer, &[PORT_API]).await;
        let mut forwarded = forwarded.map_err(|e| failed(format!("cannot be reached: {}", chain(&e))))?;
        let stream = forwarded.take_stream(PORT_API).expect("the one port that was asked for");
        let closed = |e: hyper::Error| failed(format!("ends the connection: {}", chain(&e)));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(closed)?;
        let connection = tokio::spawn(connection);
        let request = request
            // The port answers those alone who name this machine.
            .header(header::HOST, format!("localhost:{PORT_API}"))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .expect("our own paths are valid");
        let answer = async {
            let response = sender.send_request(request).await.map_err(closed)?;
            let status = response.status();
            let read = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let read = read.map_err(|e| failed(format!("breaks off its answer: {e}")))?;
            Ok((status, read.to_bytes()))
        };
        let answer = answer.await;
        connection.abort();
        forwarded.abort();
        answer
    };
    tokio::time::timeout(ANSWER, asking)
        .await
        .unwrap_or_else(|_| Err(failed(format!("does not answer within {} s", ANSWER.as_secs()))))
}
