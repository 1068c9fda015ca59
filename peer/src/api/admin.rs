//! The admin port: metrics, health and readiness, for probes and scrapers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::api::DRIVER_ANSWERS_WITHIN;
use crate::api::readiness::{Check, Readiness};
use crate::api::refusal::{Kind, Refusal};
use crate::clock::wall_now;
use crate::metrics::{Metrics, Snapshot};
use crate::node::NodeHandle;

/// What the admin port's handlers share.
#[derive(Debug, Clone)]
struct Admin {
    node: NodeHandle,
    metrics: Metrics,
    readiness: Readiness,
}

/// Answer of `/readyz`.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

const ROOT: &str = "Sorcha peer, admin port

/metrics  figures for Prometheus
/healthz  200 while the process lives and its driver answers
/readyz   200 while the store accepts, submissions are taken, the local API serves and the certificate is valid; JSON with each check
";

/// All routes.
pub fn routes(node: NodeHandle, metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/", get(async || ROOT))
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || Refusal::new(Kind::NotFound, "there is no such page here; / lists what there is"))
        .method_not_allowed_fallback(async || {
            Refusal::new(Kind::WrongMethod, "this port takes GET only; / lists what there is")
        })
        .with_state(Admin { node, metrics, readiness })
}

async fn scrape(State(admin): State<Admin>) -> Response {
    let status =
        tokio::time::timeout(DRIVER_ANSWERS_WITHIN, admin.node.status()).await.ok().and_then(Result::ok);
    let snapshot = Snapshot {
        identity: admin.node.identity(),
        status: status.as_ref(),
        store: admin.node.store().stats(),
        certificate: admin.readiness.certificate(),
    };
    let text = admin.metrics.render(&snapshot);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn healthz(State(admin): State<Admin>) -> Result<&'static str, Refusal> {
    match tokio::time::timeout(DRIVER_ANSWERS_WITHIN, admin.node.status()).await {
        Ok(Ok(_)) => Ok("ok\n"),
        Ok(Err(stopped)) => Err(stopped.into()),
        Err(_) => {
            let sentence = format!("the driver has not answered for {} s", DRIVER_ANSWERS_WITHIN.as_secs());
            Err(Refusal::new(Kind::Unavailable, sentence))
        }
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let checks = admin.readiness.checks(&admin.node, wall_now()).await;
    let ready = checks.iter().all(|check| check.ok);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Ready { ready, checks })).into_response()
}
