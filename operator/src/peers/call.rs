//! The calls, each with its deadline, a bounded number at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sorcha_operator_plan::names::PORT_PEER;
use sorcha_operator_plan::observed::PeerSeen;
use sorcha_operator_plan::step::PeerAddress;
use sorcha_proto::v1::operate_client::OperateClient;
use sorcha_proto::v1::{
    DrainRequest, DrainResponse, GetReportRequest, PeerReport, ReloadRequest, ResumeRequest,
};
use tokio::sync::Semaphore;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::connection::{ConnectError, Connections};
use crate::ca::{Authorities, CaError, Realm};

/// Calls under way at most, over all networks: each takes a connection and about 1 ms of work, and all 500 networks of
/// three peers are asked within seconds (guess).
const CALLS_MAX: usize = 64;
/// Drains under way at most, apart from the other calls because they are held back for long (guess).
const DRAINS_MAX: usize = 16;
/// A peer answers a report or a reload from memory; it is slow only where its machine is (guess).
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait of a drain's answer; asked again it goes on where it was.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(60);
/// An answer at most; a report has about 500 bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Characters of what a peer says that are repeated.
const SAID_CHARACTERS_MAX: usize = 512;

/// Why a peer did not answer. The peer is as it was before, except after [`PeerError::TimedOut`] and
/// [`PeerError::Broken`], which leave it open. Asking again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is no connection.
    #[error("{pod} cannot be asked: {why}")]
    Unreachable {
        /// Name of its pod.
        pod: String,
        /// As part of a sentence.
        why: String,
    },
    /// One of both certificates was refused, or it is another's.
    #[error("{pod} is not asked: {why}")]
    Untrusted {
        /// Name of its pod.
        pod: String,
        /// As part of a sentence.
        why: String,
    },
    /// It took the call and did not answer in time.
    #[error("{pod} did not answer within {} s", within.as_secs())]
    TimedOut {
        /// Name of its pod.
        pod: String,
        /// How long was waited.
        within: Duration,
    },
    /// It refused, and says why.
    #[error("{pod} refuses: {why}")]
    Refused {
        /// Name of its pod.
        pod: String,
        /// Its sentence.
        why: String,
    },
    /// The connection ended, or it speaks another protocol.
    #[error("{pod} gave no usable answer: {why}")]
    Broken {
        /// Name of its pod.
        pod: String,
        /// As part of a sentence.
        why: String,
    },
    /// The operator has no identity to call with.
    #[error(transparent)]
    Identity(#[from] CaError),
}

/// An answer to [`Peers::drain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainAsked {
    /// Everything that it held is held by a peer that stays, and it accepts nothing.
    pub is_drained: bool,
    /// Transactions still to be held elsewhere.
    pub remaining: u64,
    /// Why it does not go on; empty while it does.
    pub reason: String,
}

/// The way to the peers of all networks.
pub struct Peers {
    authorities: Arc<Authorities>,
    connections: Connections,
    turns: Semaphore,
    drains: Semaphore,
    port: u16,
}

impl Peers {
    /// With identities from these authorities.
    pub fn new(authorities: Arc<Authorities>) -> Self {
        Self::on_port(authorities, PORT_PEER)
    }

    pub(super) fn on_port(authorities: Arc<Authorities>, port: u16) -> Self {
        Self {
            authorities,
            connections: Connections::default(),
            turns: Semaphore::new(CALLS_MAX),
            drains: Semaphore::new(DRAINS_MAX),
            port,
        }
    }

    /// What a peer knows of itself.
    pub async fn report(&self, realm: &Realm, peer: &PeerAddress) -> Result<PeerSeen, PeerError> {
        let answer = self.call(realm, peer, &self.turns, ANSWER_WITHIN, async |mut client| {
            client.get_report(Request::new(GetReportRequest {})).await
        });
        seen(peer, &answer.await?)
    }

    /// Tells a peer to take its files now.
    pub async fn reload(&self, realm: &Realm, peer: &PeerAddress) -> Result<PeerSeen, PeerError> {
        let answer = self.call(realm, peer, &self.turns, ANSWER_WITHIN, async |mut client| {
            client.reload(Request::new(ReloadRequest {})).await
        });
        seen(peer, &answer.await?)
    }

    /// Tells a peer to accept nothing more and to bring what it holds to others than `leaving`; answers when that is
    /// done or `wait` (at most a minute) has passed. With `leave` the others forget it once it is done.
    pub async fn drain(
        &self,
        realm: &Realm,
        peer: &PeerAddress,
        leaving: &[String],
        leave: bool,
        wait: Duration,
    ) -> Result<DrainAsked, PeerError> {
        let wait = wait.min(DRAIN_WAIT_MAX);
        let request = DrainRequest {
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            leaving: leaving.to_vec(),
            leave,
        };
        let answer = self.call(realm, peer, &self.drains, wait + ANSWER_WITHIN, async |mut client| {
            client.drain(Request::new(request)).await
        });
        let DrainResponse { drained, remaining, reason } = answer.await?;
        Ok(DrainAsked { is_drained: drained, remaining, reason: spoken(&reason) })
    }

    /// Tells a peer that was to drain that it stays.
    pub async fn resume(&self, realm: &Realm, peer: &PeerAddress) -> Result<PeerSeen, PeerError> {
        let answer = self.call(realm, peer, &self.turns, ANSWER_WITHIN, async |mut client| {
            client.resume(Request::new(ResumeRequest {})).await
        });
        seen(peer, &answer.await?)
    }

    /// Connections that are kept, for metrics.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    async fn call<T>(
        &self,
        realm: &Realm,
        peer: &PeerAddress,
        turns: &Semaphore,
        within: Duration,
        ask: impl AsyncFnOnce(OperateClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, PeerError> {
        let pod = || peer.pod.clone();
        let at = SocketAddr::new(peer.address, self.port);
        let identity = self.authorities.identity(realm, Timestamp::now()).await?;
        let _turn = turns.acquire().await;
        let channel = self.connections.to(peer, at, &identity).await.map_err(|error| match error {
            ConnectError::Unreachable(why) => PeerError::Unreachable { pod: pod(), why },
            ConnectError::Untrusted(why) => PeerError::Untrusted { pod: pod(), why },
        })?;
        let client = OperateClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let Ok(answer) = tokio::time::timeout(within, ask(client)).await else {
            self.connections.drop_failed(peer, at);
            return Err(PeerError::TimedOut { pod: pod(), within });
        };
        answer.map(Response::into_inner).map_err(|status| {
            let why = spoken(status.message());
            match status.code() {
                Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument => {
                    PeerError::Refused { pod: pod(), why }
                }
                code => {
                    self.connections.drop_failed(peer, at);
                    let why = if why.is_empty() { format!("{code:?}") } else { why };
                    PeerError::Broken { pod: pod(), why }
                }
            }
        })
    }
}

/// What a peer says of itself, as far as decisions need it.
fn seen(peer: &PeerAddress, report: &PeerReport) -> Result<PeerSeen, PeerError> {
    if report.uri != peer.uri {
        let why = format!("it reports as {}", spoken(&report.uri));
        return Err(PeerError::Broken { pod: peer.pod.clone(), why });
    }
    let some = |text: &str| (!text.is_empty()).then(|| spoken(text));
    Ok(PeerSeen {
        incarnation: report.incarnation,
        software: spoken(&report.software),
        state: spoken(&report.state),
        peers_known: report.peers_known,
        peers_linked: report.peers_linked,
        outbox: report.outbox,
        is_caught_up: report.caught_up,
        store_fault: some(&report.store_fault),
        config_digest: hex::encode(&report.config_digest),
        bundle_digest: hex::encode(&report.bundle_digest),
        certificate_not_after_unix_ms: report.certificate_not_after_unix_ms,
        reload_fault: some(&report.reload_fault),
    })
}

/// What a peer says, fit for a condition: on one line and not longer than a sentence.
fn spoken(text: &str) -> String {
    text.chars()
        .take(SAID_CHARACTERS_MAX)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}
