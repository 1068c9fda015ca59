//! What comes from those who do not keep to the protocol.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sorcha_peer_core::event::Class;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status, Streaming};

use super::{Peer, SOON, World, chunk, link, ping};

/// Takes messages as bytes, whatever they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

pub(super) async fn tls(peer: &Peer, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(peer.at).await?;
    TlsConnector::from(config).connect(ServerName::try_from("peer").unwrap(), tcp).await
}

/// A stream of raw messages to the peer, and its answer.
async fn raw_link(world: &World, peer: &Peer) -> (tokio::sync::mpsc::Sender<Bytes>, Streaming<Bytes>) {
    let config = Arc::clone(&world.tls("net", "mallory", Timestamp::now(), &[]).current().client);
    let mut stream = Some(TokioIo::new(tls(peer, config).await.unwrap()));
    let connector = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://peer");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let (sender, messages) = tokio::sync::mpsc::channel(16);
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let path = http::uri::PathAndQuery::from_static("/sorcha.peer.v1.PeerLink/Stream");
    let answer = client.streaming(Request::new(messages), path, Raw).await.unwrap();
    (sender, answer.into_inner())
}

#[tokio::test]
async fn what_is_no_frame_is_reported_and_the_link_ends() {
    let world = World::new();
    let mut alice = world.peer("alice").await;
    let long = sorcha_proto::v1::Chunk { data: vec![0; 65 * 1024].into(), ..Default::default() };
    let long = sorcha_proto::v1::Frame {
        body: Some(sorcha_proto::v1::frame::Body::Chunk(long)),
        ..Default::default()
    };
    for (bytes, part) in [
        (Bytes::from(vec![0; 130 * 1024]), "message length too large"),
        (prost::Message::encode_to_vec(&long).into(), "at most 65536 may be"),
        (Bytes::from_static(&[0xff; 40]), "decode"),
    ] {
        let (sender, _answer) = raw_link(&world, &alice).await;
        let up = alice.up().await;
        assert_eq!(up.peer.uri, "spiffe://example.org/net/mallory");
        sender.send(bytes).await.unwrap();
        let error = alice.bad_frame().await;
        assert!(error.contains(part), "{error}");
        let reason = alice.down(up.link).await;
        assert!(reason.starts_with("what came in is no frame: "), "{reason}");
    }
}

#[tokio::test]
async fn a_frame_that_breaks_its_bounds_is_reported_and_the_link_stands() {
    let world = World::new();
    let mut alice = world.peer("alice").await;
    let (sender, _answer) = raw_link(&world, &alice).await;
    let up = alice.up().await;
    let short = sorcha_proto::v1::Chunk { id: vec![1, 2, 3].into(), ..Default::default() };
    let bad = sorcha_proto::v1::Frame {
        sequence: 1,
        body: Some(sorcha_proto::v1::frame::Body::Chunk(short)),
        ..Default::default()
    };
    sender.send(prost::Message::encode_to_vec(&bad).into()).await.unwrap();
    let error = alice.bad_frame().await;
    assert!(error.contains("3 bytes"), "{error}");
    sender.send(sorcha_peer_wire::encode_frame(&ping(2))).await.unwrap();
    assert_eq!(alice.frame().await, (up.link, ping(2)));
}

#[tokio::test]
async fn a_slow_reader_is_cut() {
    let world = World::new();
    let mut alice = world.peer("alice").await;
    let (_sender, _answer) = raw_link(&world, &alice).await;
    let up = alice.up().await;
    // 8 MiB of queue, and the windows: nobody reads the answer.
    for sequence in 0..600 {
        alice.transport.send(up.link, Class::Bulk, &chunk(sequence, 16 * 1024));
    }
    let reason = alice.down(up.link).await;
    assert!(reason.starts_with("the other side reads too slowly: "), "{reason}");
}

#[tokio::test]
async fn who_presents_no_certificate_gets_nothing() {
    let world = World::new();
    let mut alice = world.peer("alice").await;
    let good = Arc::clone(&world.tls("net", "bob", Timestamp::now(), &[]).current().client);
    let mut bare = ClientConfig::clone(&good);
    bare.client_auth_cert_resolver = Arc::new(NoCertificate);
    bare.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = tls(&alice, Arc::new(bare)).await.unwrap();
    let _ = stream.write_all(b"GET /v1/identity HTTP/1.1\r\nhost: peer\r\nconnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(
        answer.ends_with("the connection carries no certificate; every peer must present one\n"),
        "{answer}"
    );
    let mut bare = ClientConfig::clone(&good);
    bare.client_auth_cert_resolver = Arc::new(NoCertificate);
    let mut stream = Some(TokioIo::new(tls(&alice, Arc::new(bare)).await.unwrap()));
    let connector = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://peer");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let mut client = sorcha_proto::v1::peer_link_client::PeerLinkClient::new(channel);
    let error = client.exchange(sorcha_proto::v1::ExchangeRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unauthenticated, "{error}");
    assert!(alice.inputs.try_recv().is_err());
}

#[test]
fn what_others_say_stays_one_line() {
    let said = crate::transport::io::spoken(&format!("one\ntwo\x1b[2J{}", "x".repeat(9000)));
    assert!(said.starts_with("one two [2Jx") && said.len() == 512, "{said}");
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn bytes_that_are_no_tls_harm_nobody() {
    let world = World::new();
    let (mut alice, mut bob) = (world.peer("alice").await, world.peer("bob").await);
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut garbage = TcpStream::connect(alice.at).await.unwrap();
        garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        idle.push(TcpStream::connect(alice.at).await.unwrap());
    }
    link(&mut bob, &mut alice).await;
}

#[tokio::test]
async fn rest_on_the_peer_port_says_who_the_caller_is() {
    let world = World::new();
    let alice = world.peer("alice").await;
    let mut config = ClientConfig::clone(&world.tls("net", "bob", Timestamp::now(), &[]).current().client);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = tls(&alice, Arc::new(config)).await.unwrap();
    stream.write_all(b"GET /v1/identity HTTP/1.1\r\nhost: peer\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains(r#""uri":"spiffe://example.org/net/bob""#), "{answer}");
    assert!(answer.contains(r#""answeredBy":"spiffe://example.org/net/alice""#), "{answer}");
}

#[tokio::test]
async fn a_second_link_on_one_connection_is_refused_by_a_sentence() {
    let world = World::new();
    let mut alice = world.peer("alice").await;
    let config = Arc::clone(&world.tls("net", "bob", Timestamp::now(), &[]).current().client);
    let mut stream = Some(TokioIo::new(tls(&alice, config).await.unwrap()));
    let connector = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://peer");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let mut client = sorcha_proto::v1::peer_link_client::PeerLinkClient::new(channel);
    let _first = client.stream(tokio_stream::pending()).await.unwrap();
    alice.up().await;
    let error = client.stream(tokio_stream::pending()).await.unwrap_err();
    assert!(error.message().contains("a link stands on this connection already"), "{error}");
    let error = client.exchange(sorcha_proto::v1::ExchangeRequest::default()).await.unwrap_err();
    assert!(error.message().contains("a session has 16 bytes"), "{error}");
    assert!(alice.inputs.try_recv().is_err());
}

#[tokio::test]
async fn sessions_that_nobody_may_open_are_refused_by_a_sentence() {
    let world = World::new();
    let mut alice = world.peer("alice").await;
    let config = Arc::clone(&world.tls("net", "mallory", Timestamp::now(), &[]).current().bearer);
    let post = async |request: sorcha_proto::v1::ExchangeRequest| {
        let mut stream = tls(&alice, Arc::clone(&config)).await.unwrap();
        let body = prost::Message::encode_to_vec(&request);
        let head = format!(
            "POST /v1/exchange HTTP/1.1\r\nhost: peer\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let request = |session: usize, data: usize| sorcha_proto::v1::ExchangeRequest {
        session: vec![7; session].into(),
        data: vec![1; data].into(),
        opens: true,
        ..Default::default()
    };
    let answer = post(request(15, 0)).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("a session has 16 bytes"), "{answer}");
    let answer = post(request(16, 128 * 1024 + 1)).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("131073 bytes in a call"), "{answer}");
    let answer = post(request(16, 200 * 1024)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // What is brought is no TLS: the session ends, and nobody is linked.
    let answer = post(request(16, 100)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(alice.inputs.try_recv().is_err());
}
