//! The way to a running peer: one connection, its failures as sentences with exit codes.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use sorcha_proto::v1::node_client::NodeClient;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::api::listen::ApiAddress;
use crate::cli::Global;
use crate::cli::console::Failure;

/// A connected client and what it needs to speak of its peer.
pub struct Client {
    /// Calls.
    pub node: NodeClient<Channel>,
    address: ApiAddress,
    timeout: Duration,
}

impl Client {
    /// Connects to the peer that the command line means.
    pub async fn connect(global: &Global) -> Result<Self, Failure> {
        let (address, timeout) = (global.target().resolve()?, global.timeout());
        let connecting = channel(&address);
        let channel = tokio::time::timeout(timeout, connecting).await.map_err(|_| {
            Failure::TimedOut(format!("{address} did not answer within {timeout:?}: try a longer --timeout"))
        })??;
        Ok(Self { node: NodeClient::new(channel), address, timeout })
    }

    /// How long to wait for one answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits for one answer.
    pub async fn answer<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(|status| self.failure(&status)),
            Err(_) => Err(self.late()),
        }
    }

    /// No answer came in time.
    pub fn late(&self) -> Failure {
        Failure::TimedOut(format!(
            "the peer at {} did not answer within {:?}: try a longer --timeout",
            self.address, self.timeout
        ))
    }

    /// What a status means to the one who typed the command.
    pub fn failure(&self, status: &Status) -> Failure {
        let address = &self.address;
        // The peer's own statuses have a message and no source; broken connections have a source.
        let broken = std::error::Error::source(status).is_some();
        match status.code() {
            _ if broken => Failure::Failed(format!(
                "the connection to {address} broke: the peer has stopped, or what listens there is not its local API (--peer NAME finds it)"
            )),
            // tonic's words for an answer that is not gRPC: another program, or the peer's admin port.
            Code::Unknown | Code::Internal if status.message().contains("compression flag") => {
                Failure::Failed(format!(
                    "what listens at {address} is not the local API of a peer: look at its port, or find it with --peer NAME"
                ))
            }
            Code::DeadlineExceeded => Failure::TimedOut(status.message().to_owned()),
            Code::Unimplemented => {
                Failure::Failed(format!("{address} is no Sorcha peer of this version: {}", status.message()))
            }
            Code::Unknown | Code::Internal | Code::Cancelled | Code::DataLoss => {
                Failure::Failed(format!("the peer at {address} failed: {}", status.message()))
            }
            _ => Failure::Refused(status.message().to_owned()),
        }
    }
}

async fn channel(address: &ApiAddress) -> Result<Channel, Failure> {
    let connected = match address.clone() {
        ApiAddress::Tcp(to) => {
            let endpoint = Endpoint::from_shared(format!("http://{to}"))
                .map_err(|_| Failure::Usage(format!("'{to}' is not an address: write HOST:PORT")))?;
            let connector = tower::service_fn(move |_: Uri| {
                let to = to.clone();
                async move { TcpStream::connect(to).await.map(TokioIo::new) }
            });
            endpoint.connect_with_connector(connector).await
        }
        ApiAddress::Unix(path) => {
            let connector = tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            Endpoint::from_static("http://localhost").connect_with_connector(connector).await
        }
    };
    connected.map_err(|error| {
        if is_unresolved(&error) {
            return Failure::Unreachable(format!("the host of {address} has no address: look at its spelling"));
        }
        Failure::Unreachable(format!(
            "no peer answers at {address}: start one with `sorcha-peer run` or `cargo xtask up`, or name one with --peer or --api"
        ))
    })
}

/// Whether the resolver knows no such name: its errors carry neither a number nor a kind of their own.
fn is_unresolved(error: &tonic::transport::Error) -> bool {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
        .any(|error| error.to_string().starts_with("failed to lookup address"))
}
