//! `sorcha.peer.v1.Operate` on the TLS port, for the operator of the network alone.
//!
//! Who asks is read from the certificate, as everywhere on that port; whoever is not the operator of this peer's own
//! trust domain and network is refused.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use sorcha_peer_core::types::PeerId;
use sorcha_peer_core::view::DrainView;
use sorcha_proto::v1;
use sorcha_proto::v1::operate_server::{Operate, OperateServer};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

use crate::api::readiness::{Certificate, Readiness};
use crate::api::refusal::{Kind, Refusal};
use crate::node::NodeHandle;
use crate::tls::TlsState;
use crate::transport::PeerInfo;

/// Longest wait for the end of a drain that one request may ask for, in milliseconds.
pub const DRAIN_WAIT_MS_MAX: u64 = 60_000;
/// Peers that may be said to leave too.
const LEAVING_MAX: usize = 10_000;
/// A request at most: `LEAVING_MAX` URIs of usual length.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the service needs to know of the peer.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The driver.
    pub node: NodeHandle,
    /// Certificates, to be loaded again.
    pub tls: Arc<TlsState>,
    /// Told of new certificates; knows the uptime.
    pub readiness: Readiness,
    /// SHA-256 of the configuration file in use.
    pub config_sha256: [u8; 32],
}

impl Operator {
    /// As a route of the TLS port.
    pub fn router(self) -> Router {
        let service = OperateServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX);
        Router::new().route_service(&format!("/{}/{{*method}}", OperateServer::<Self>::NAME), service)
    }

    /// The caller is the operator, by its certificate.
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        let own = self.tls.current();
        let operator = format!("spiffe://{}/{}/operator", own.uri.trust_domain(), own.uri.network());
        match request.extensions().get::<PeerInfo>() {
            Some(info) if info.peer.uri == operator => Ok(request.into_inner()),
            Some(info) => Err(Status::permission_denied(format!(
                "this is for {operator} alone, and {} asks",
                info.peer.uri
            ))),
            None => Err(Status::unauthenticated("the connection carries no certificate")),
        }
    }

    async fn report(&self) -> Result<Response<v1::PeerReport>, Status> {
        let status = self.node.status().await.map_err(Refusal::from)?;
        let (identity, tls) = (self.node.identity(), self.tls.current());
        Ok(Response::new(v1::PeerReport {
            uri: identity.uri.clone(),
            incarnation: identity.incarnation,
            software: concat!("sorcha-peer/", env!("CARGO_PKG_VERSION")).to_owned(),
            uptime_ms: self.readiness.uptime_ms(),
            state: status.state.as_str().to_owned(),
            peers_known: status.peers_known as u32,
            peers_linked: status.peers_linked as u32,
            transactions_held: self.node.store().stats().transactions,
            outbox: status.outbox,
            caught_up: status.caught_up,
            store_fault: status.store_fault.unwrap_or_default(),
            config_digest: self.config_sha256.to_vec().into(),
            bundle_digest: tls.bundle_sha256.to_vec().into(),
            certificate_digest: tls.certificate_sha256.to_vec().into(),
            issuer_digest: tls.issuer_sha256.to_vec().into(),
            certificate_not_before_unix_ms: tls.not_before.as_millisecond(),
            certificate_not_after_unix_ms: tls.not_after.as_millisecond(),
            reload_fault: self.tls.fault().unwrap_or_default(),
            draining: status.drain.is_some(),
        }))
    }
}

/// Drains within the bounds of one request.
pub(super) async fn drain(
    node: &NodeHandle,
    wait_ms: u64,
    leaving: Vec<String>,
    leave: bool,
) -> Result<DrainView, Refusal> {
    if wait_ms > DRAIN_WAIT_MS_MAX {
        let sentence = format!("wait {wait_ms} is too long: at most {DRAIN_WAIT_MS_MAX} ms, and ask again");
        return Err(Refusal::bad("wait", sentence));
    }
    if leaving.len() > LEAVING_MAX {
        let sentence =
            format!("{} peers are too many to leave at once: at most {LEAVING_MAX}", leaving.len());
        return Err(Refusal::bad("leaving", sentence));
    }
    let leaving = leaving.iter().map(|uri| PeerId::of_uri(uri)).collect();
    node.drain(leaving, leave, Duration::from_millis(wait_ms)).await.map_err(Refusal::from)
}

#[tonic::async_trait]
impl Operate for Operator {
    async fn get_report(
        &self,
        request: Request<v1::GetReportRequest>,
    ) -> Result<Response<v1::PeerReport>, Status> {
        self.admit(request)?;
        self.report().await
    }

    async fn reload(&self, request: Request<v1::ReloadRequest>) -> Result<Response<v1::PeerReport>, Status> {
        self.admit(request)?;
        let tls = Arc::clone(&self.tls);
        let loaded = tokio::task::spawn_blocking(move || tls.reload(Timestamp::now())).await;
        match loaded {
            Ok(Ok(())) => self.readiness.set_certificate(Certificate::from(&*self.tls.current())),
            Ok(Err(error)) => return Err(Status::failed_precondition(error.to_string())),
            Err(_) => return Err(Refusal::new(Kind::Unavailable, "the reload ended early: try again").into()),
        }
        self.report().await
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let v1::DrainRequest { wait_ms, leaving, leave } = self.admit(request)?;
        let view = drain(&self.node, u64::from(wait_ms), leaving, leave).await?;
        Ok(Response::new(super::view::drain(view)))
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Result<Response<v1::PeerReport>, Status> {
        self.admit(request)?;
        self.node.resume().await.map_err(Refusal::from)?;
        self.report().await
    }
}
