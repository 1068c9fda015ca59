//! `sorcha.peer.v1.Node`, `grpc.health.v1` and server reflection on the local port.

use std::convert::Infallible;
use std::pin::Pin;

use axum::Router;
use futures::{Stream, StreamExt};
use sorcha_peer_core::event::Accepted;
use sorcha_peer_core::types::TxId;
use sorcha_proto::v1;
use sorcha_proto::v1::node_server::{Node, NodeServer};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::api::Local;
use crate::api::level::{self, Level};
use crate::api::reading::{self, Pieces};
use crate::api::refusal::{Kind, Refusal};
use crate::api::{operate, outbox, submissions, subscribers, subscription, view};
use crate::clock::wall_now;

/// Bytes of a message beside its body: register, key, framing.
const OVERHEAD_BYTES: usize = 64 * 1024;
/// Bytes of a body in one message: gRPC clients take messages of 4 MiB by default. Larger ones go in parts, which
/// are counted against the budget of bodies being taken in; a whole message is not.
const WHOLE_BODY_BYTES_MAX: u64 = 4 * 1024 * 1024 - OVERHEAD_BYTES as u64;

/// What this port tells clients that look for reflection.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All gRPC services, as routes of the one port.
pub fn routes(local: &Local, health: HealthServer<HealthService>) -> Router {
    let node = NodeServer::new(local.clone())
        .max_decoding_message_size(WHOLE_BODY_BYTES_MAX as usize + OVERHEAD_BYTES);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(sorcha_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The descriptors also hold `PeerLink`, which is served to peers only.
            .with_service_name(NodeServer::<Local>::NAME)
            .with_service_name(HealthServer::<HealthService>::NAME)
            .with_service_name(REFLECTION)
    };
    let v1 = reflection().build_v1().expect("our own descriptors are complete");
    let v1alpha = reflection().build_v1alpha().expect("our own descriptors are complete");
    let app = add(Router::new(), node);
    let app = add(app, health);
    add(add(app, v1), v1alpha)
}

fn add<S>(app: Router, service: S) -> Router
where
    S: NamedService
        + tower::Service<
            axum::extract::Request,
            Response = http::Response<tonic::body::Body>,
            Error = Infallible,
        > + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    app.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}

/// `grpc.health.v1` of the whole server and of `Node`.
pub struct Health {
    reporter: HealthReporter,
}

/// Made once per listener.
pub fn health() -> Health {
    Health { reporter: HealthReporter::new() }
}

impl Health {
    /// To be mounted.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Everything is served.
    pub async fn serving(&self) {
        self.reporter.set_serving::<NodeServer<Local>>().await;
        self.reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    }

    /// Nothing is accepted any more; those who watch are told so, and their streams end.
    pub async fn stopping(mut self) {
        for service in ["", NodeServer::<Local>::NAME] {
            self.reporter.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
            self.reporter.clear_service_status(service).await;
        }
    }
}

/// The answer to an accepted submission.
pub fn submitted(accepted: Accepted) -> v1::SubmitResponse {
    v1::SubmitResponse {
        id: accepted.id.as_bytes().to_vec().into(),
        duplicate: accepted.duplicate,
        published_unix_ms: accepted.published_unix_ms,
        holders: 0,
        pending: false,
    }
}

#[tonic::async_trait]
impl Node for Local {
    type SubmitStreamStream = Events<v1::SubmitResponse>;
    type SubscribeStream = Events<v1::SubscribeEvent>;
    type WatchEventsStream = Events<v1::Event>;

    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let v1::SubmitRequest { register, body, idempotency_key, holders, wait_ms } = request.into_inner();
        let level = Level::new(&self.node, holders, wait_ms.into())?;
        let body = self.intake.whole(body)?;
        let submitting =
            level::submit(&self.node, &self.waiting, level, register, body.bytes.clone(), idempotency_key);
        Ok(Response::new(submitting.await?))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let v1::DrainRequest { wait_ms, leaving, leave } = request.into_inner();
        let view = operate::drain(&self.node, u64::from(wait_ms), leaving, leave).await?;
        Ok(Response::new(view::drain(view)))
    }

    async fn resume(&self, _: Request<v1::ResumeRequest>) -> Result<Response<v1::Status>, Status> {
        self.node.resume().await.map_err(Refusal::from)?;
        Ok(Response::new(self.status().await?))
    }

    async fn submit_stream(
        &self,
        request: Request<Streaming<v1::SubmitPart>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        Ok(Response::new(Box::pin(submissions::submit_stream(self.clone(), request.into_inner()))))
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Ok(Response::new(Box::pin(subscription::subscribe(self.clone(), request.into_inner()))))
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::Transaction>, Status> {
        let v1::GetTransactionRequest { id, header_only } = request.into_inner();
        let id = TxId::from_slice(&id)
            .ok_or_else(|| Refusal::bad("id", format!("an id has 32 bytes, not {}", id.len())).status())?;
        let stored = reading::transaction(self.node.store(), id).await?;
        let mut transaction = view::transaction(&stored);
        if !header_only {
            if transaction.body_bytes > WHOLE_BODY_BYTES_MAX {
                let sentence = format!(
                    "the body has {} bytes, too many for one message: use Subscribe, or GET /v1/transactions/{id}/body, or ask for the header only",
                    transaction.body_bytes
                );
                return Err(Refusal::new(Kind::Unfit, sentence).status());
            }
            let mut body = bytes::BytesMut::with_capacity(transaction.body_bytes as usize);
            let mut pieces = Pieces::new(self.node.store().clone(), &stored);
            while let Some(piece) = pieces.next().await? {
                body.extend_from_slice(&piece);
            }
            transaction.body = body.freeze();
        }
        Ok(Response::new(transaction))
    }

    async fn get_holders(
        &self,
        request: Request<v1::GetHoldersRequest>,
    ) -> Result<Response<v1::Holders>, Status> {
        let v1::GetHoldersRequest { id, wanted, wait_ms } = request.into_inner();
        let id = TxId::from_slice(&id)
            .ok_or_else(|| Refusal::bad("id", format!("an id has 32 bytes, not {}", id.len())).status())?;
        Ok(Response::new(level::holders(&self.node, &self.waiting, id, wanted, wait_ms.into()).await?))
    }

    async fn list_outbox(
        &self,
        request: Request<v1::ListOutboxRequest>,
    ) -> Result<Response<v1::Outbox>, Status> {
        Ok(Response::new(outbox::list(&self.node, request.into_inner().limit.into()).await?))
    }

    async fn retry_outbox(&self, request: Request<v1::OutboxIds>) -> Result<Response<v1::Outbox>, Status> {
        let ids = outbox::ids(&request.into_inner().ids)?;
        Ok(Response::new(outbox::retry(&self.node, ids).await?))
    }

    async fn discard_outbox(&self, request: Request<v1::OutboxIds>) -> Result<Response<v1::Outbox>, Status> {
        let ids = outbox::ids(&request.into_inner().ids)?;
        Ok(Response::new(outbox::discard(&self.node, ids).await?))
    }

    async fn list_quarantine(
        &self,
        request: Request<v1::ListQuarantineRequest>,
    ) -> Result<Response<v1::Quarantine>, Status> {
        let views = self.node.quarantine(request.into_inner().retry).await.map_err(Refusal::from)?;
        Ok(Response::new(view::quarantine(&views)))
    }

    async fn list_cursors(
        &self,
        _: Request<v1::ListCursorsRequest>,
    ) -> Result<Response<v1::Cursors>, Status> {
        Ok(Response::new(subscribers::list(self, None).await?))
    }

    async fn delete_cursor(
        &self,
        request: Request<v1::DeleteCursorRequest>,
    ) -> Result<Response<v1::Cursors>, Status> {
        Ok(Response::new(subscribers::delete(self, &request.into_inner().name).await?))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        Ok(Response::new(self.status().await?))
    }

    async fn list_peers(
        &self,
        _: Request<v1::ListPeersRequest>,
    ) -> Result<Response<v1::ListPeersResponse>, Status> {
        let peers = self.node.peers().await.map_err(Refusal::from)?;
        Ok(Response::new(v1::ListPeersResponse { peers: peers.iter().map(view::peer).collect() }))
    }

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let ended = futures::stream::once(async { Err(Refusal::draining().status()) });
        Ok(Response::new(Box::pin(events(self).map(Ok).chain(ended))))
    }
}

/// What happens from now on, until the peer stops. A reader that is too slow is told how much it missed.
pub fn events(local: &Local) -> impl Stream<Item = v1::Event> + Send + use<> {
    BroadcastStream::new(local.node.events())
        .map(|next| match next {
            Ok(event) => view::event(&event),
            Err(BroadcastStreamRecvError::Lagged(missed)) => view::events_missed(wall_now(), missed),
        })
        .take_until(local.shutdown.clone().cancelled_owned())
}
