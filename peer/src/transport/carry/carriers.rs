//! What calls travel on: unary gRPC over HTTP/2, or POST over HTTP/1.1; either over connections that are made anew when
//! they break.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use sorcha_proto::v1::peer_link_client::PeerLinkClient;
use sorcha_proto::v1::{ExchangeRequest, ExchangeResponse};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::EXCHANGE_PATH;
use super::caller::Carrier;
use crate::transport::io::spoken;
use crate::transport::settings::CALL_BYTES_MAX;

/// Connections kept for the next call: one brings, one fetches.
const IDLE_MAX: usize = 2;

type Connecting = Pin<Box<dyn Future<Output = std::io::Result<TlsStream<TcpStream>>> + Send>>;
/// Makes a connection, TLS included.
pub(in crate::transport) type Connect = Arc<dyn Fn() -> Connecting + Send + Sync>;

/// `PeerLink.Exchange`.
pub(in crate::transport) struct Unary(PeerLinkClient<Channel>);

impl Unary {
    /// Over one connection at a time.
    pub(in crate::transport) fn new(endpoint: &Endpoint, connect: Connect) -> Self {
        let connector = tower::service_fn(move |_| {
            let connecting = connect();
            async move { connecting.await.map(TokioIo::new) }
        });
        let client = PeerLinkClient::new(endpoint.connect_with_connector_lazy(connector))
            .max_decoding_message_size(CALL_BYTES_MAX)
            .max_encoding_message_size(CALL_BYTES_MAX);
        Self(client)
    }
}

impl Carrier for Unary {
    async fn call(&self, request: ExchangeRequest) -> Result<ExchangeResponse, String> {
        let answer = self.0.clone().exchange(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| {
            let source = std::error::Error::source(&status).map(|source| format!(": {source}"));
            spoken(&format!("{}{}", status.message(), source.unwrap_or_default()))
        })
    }
}

/// `POST /v1/exchange`.
pub(in crate::transport) struct Rest {
    connect: Connect,
    host: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Rest {
    /// Over a connection for each call that is under way. `host` is what the requests name.
    pub(in crate::transport) fn new(host: String, connect: Connect) -> Self {
        Self { connect, host, idle: Mutex::default() }
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                // Where the other side has closed it meanwhile the next one is taken.
                Some(mut idle) => {
                    if idle.ready().await.is_ok() {
                        return Ok(idle);
                    }
                }
                None => break,
            }
        }
        let tls = (self.connect)().await.map_err(|error| error.to_string())?;
        let made = http1::handshake(TokioIo::new(tls)).await;
        let (requests, connection) = made.map_err(|error| format!("HTTP/1.1 failed: {error}"))?;
        // What ends it, its requests hear.
        tokio::spawn(async move { drop(connection.await) });
        Ok(requests)
    }
}

impl Carrier for Rest {
    async fn call(&self, request: ExchangeRequest) -> Result<ExchangeResponse, String> {
        let mut connection = self.connection().await?;
        let request = http::Request::post(EXCHANGE_PATH)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(Bytes::from(request.encode_to_vec())))
            .map_err(|error| error.to_string())?;
        let broke = |error: hyper::Error| format!("HTTP/1.1 failed: {error}");
        let (head, body) = connection.send_request(request).await.map_err(broke)?.into_parts();
        let body = Limited::new(body, CALL_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("an answer could not be read: {error}"))?.to_bytes();
        if head.status != http::StatusCode::OK {
            let text = spoken(&String::from_utf8_lossy(&body));
            return Err(format!("a call was answered by {}: {}", head.status, text.trim()));
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        drop(idle);
        ExchangeResponse::decode(body)
            .map_err(|_| "an answer is no ExchangeResponse: is it a peer's?".to_owned())
    }
}
