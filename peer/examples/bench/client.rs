//! Clients of a peer's local API, as an application would use it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper_util::rt::TokioIo;
use sorcha_proto::v1::node_client::NodeClient;
use sorcha_proto::v1::{GetStatusRequest, Status, SubmitRequest};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// A client of one peer.
pub(crate) type Client = NodeClient<Channel>;

/// Connects, waiting until the peer serves, for `within` at most.
pub(crate) async fn connect(socket: &Path, within: Duration) -> Result<Client> {
    let deadline = Instant::now() + within;
    loop {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        match Endpoint::from_static("http://localhost").connect_with_connector(connector).await {
            Ok(channel) => return Ok(NodeClient::new(channel)),
            Err(error) if Instant::now() > deadline => {
                bail!("no peer serves at {} after {} s: {error}", socket.display(), within.as_secs())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Submits a body and waits until it is durable there; answers its id.
pub(crate) async fn submit(client: &mut Client, body: Vec<u8>) -> Result<Vec<u8>> {
    let request =
        SubmitRequest { register: "bench".to_owned(), body: body.into(), ..SubmitRequest::default() };
    Ok(client.submit(request).await?.into_inner().id.to_vec())
}

/// The peer at a glance.
pub(crate) async fn status(client: &mut Client) -> Result<Status> {
    Ok(client.get_status(GetStatusRequest {}).await?.into_inner())
}

/// Asks until the status is as wanted.
pub(crate) async fn await_status(
    client: &mut Client,
    within: Duration,
    what: &str,
    wanted: impl Fn(&Status) -> bool,
) -> Result<Status> {
    let deadline = Instant::now() + within;
    loop {
        let status = status(client).await?;
        if wanted(&status) {
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!("not {what} after {} s: {status:?}", within.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A body of this length that does not compress and is like no other.
pub(crate) fn body(number: u64, bytes: usize) -> Vec<u8> {
    use rand::{Rng as _, SeedableRng as _};
    let mut body = vec![0; bytes];
    rand::rngs::StdRng::seed_from_u64(number).fill(&mut body[..]);
    body
}

/// The first eight bytes of an id, which name it in logs.
pub(crate) fn prefix(id: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(id.get(..8).context("an id has 32 bytes")?.try_into()?))
}
