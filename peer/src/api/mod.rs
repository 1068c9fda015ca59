//! The APIs of a peer: the local one for applications beside it, and the admin port.
//!
//! Knows the driver as a [`NodeHandle`] and the store for reads; decides nothing about the network. Every
//! stream is bounded by its reader: a slow client slows only itself.

pub mod admin;
mod filter;
pub mod guard;
pub mod intake;
pub mod level;
pub mod listen;
pub mod local_grpc;
pub mod local_rest;
pub mod openapi;
pub mod operate;
mod order;
pub mod outbox;
mod page;
mod progress;
pub mod readiness;
pub mod reading;
pub mod refusal;
mod sse;
mod submissions;
mod subscribers;
mod subscription;
pub mod view;
mod words;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::api::guard::Guard;
use crate::api::intake::Intake;
use crate::api::level::Waiting;
use crate::api::listen::{BindError, Listener};
use crate::api::readiness::Readiness;
use crate::api::subscribers::Subscriptions;
use crate::metrics::Metrics;
use crate::node::NodeHandle;

/// The driver loop is called stuck where a question waits longer than this (guess: inputs take microseconds).
pub const DRIVER_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// After the shutdown signal, connections that have not ended by then are dropped.
const CLOSES_WITHIN: Duration = Duration::from_secs(3);

/// What every handler of the local API shares. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Local {
    node: NodeHandle,
    readiness: Readiness,
    intake: Intake,
    subscriptions: Arc<Subscriptions>,
    waiting: Waiting,
    shutdown: CancellationToken,
}

impl Local {
    /// For one listener.
    pub fn new(node: NodeHandle, readiness: Readiness, shutdown: CancellationToken) -> Self {
        let intake = Intake::new(node.body_bytes_max(), node.submit_bytes_max());
        let subscriptions = Arc::new(Subscriptions::new(node.identity().incarnation));
        Self { node, readiness, intake, subscriptions, waiting: Waiting::default(), shutdown }
    }

    async fn status(&self) -> Result<sorcha_proto::v1::Status, refusal::Refusal> {
        let view = self.node.status().await?;
        let stats = self.node.store().stats();
        let position = *self.node.store().head().borrow();
        let (certificate, uptime_ms) = (self.readiness.certificate(), self.readiness.uptime_ms());
        Ok(view::status(self.node.identity(), &view, stats, position, certificate, uptime_ms))
    }
}

/// Serves the local API (gRPC, REST, health, reflection) until `shutdown` is cancelled; then ends open
/// streams with a sentence, and returns when the connections have closed or 3 s have passed.
pub async fn serve_local(
    listener: Listener,
    node: NodeHandle,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), BindError> {
    let guard = Guard::local(bound(&listener)?);
    let local = Local::new(node, readiness.clone(), shutdown.clone());
    let health = local_grpc::health();
    let app = local_grpc::routes(&local, health.service()).merge(local_rest::routes(local));
    readiness.set_serving(true);
    health.serving().await;
    let stopping = async {
        shutdown.cancelled().await;
        readiness.set_serving(false);
        health.stopping().await;
    };
    let served = serve(listener, guarded(app, guard), &shutdown);
    let (served, ()) = tokio::join!(served, stopping);
    served
}

/// Serves the admin port: `/metrics`, `/healthz`, `/readyz`.
pub async fn serve_admin(
    listener: Listener,
    node: NodeHandle,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), BindError> {
    let guard = Guard::admin(bound(&listener)?);
    serve(listener, guarded(admin::routes(node, metrics, readiness), guard), &shutdown).await
}

fn bound(listener: &Listener) -> Result<listen::Bound, BindError> {
    listener.bound().map_err(|source| BindError::Io { address: "the API's socket".to_owned(), source })
}

fn guarded(app: Router, guard: Guard) -> Router {
    app.layer(axum::middleware::from_fn_with_state(Arc::new(guard), guard::guard))
}

async fn serve(listener: Listener, app: Router, shutdown: &CancellationToken) -> Result<(), BindError> {
    let serving = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(CLOSES_WITHIN).await;
    };
    tokio::select! {
        served = serving => served.map_err(|source| BindError::Io { address: "the API's socket".to_owned(), source }),
        () = late => {
            tracing::info!("connections to an API are still open after {} s and are dropped", CLOSES_WITHIN.as_secs());
            Ok(())
        }
    }
}
