//! Port 7461: figures for Prometheus and answers to probes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::health::Health;
use crate::metrics::Metrics;

/// What is served from.
#[derive(Clone)]
pub struct Served {
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Probes.
    pub health: Arc<Health>,
}

/// Opens the port.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, served: Served) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(served);
    axum::serve(listener, router).await
}

async fn metrics(State(served): State<Served>) -> impl IntoResponse {
    let text = served.metrics.text(served.health.waiting());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn healthz(State(served): State<Served>) -> (StatusCode, String) {
    answer(served.health.stuck())
}

async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    answer(served.health.not_ready())
}

/// 200, or 503 with the sentence.
fn answer(fault: Option<String>) -> (StatusCode, String) {
    match fault {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")),
    }
}
