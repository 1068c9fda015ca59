//! The client of the API server: where its configuration comes from, deadlines, rate, and what is counted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, Response, header};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use crate::api::DEADLINE;
use crate::limit::Limit;
use crate::metrics::Metrics;

/// Longest wait for a connection (a guess: across regions a handshake takes 300 ms).
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence on a connection that is read from; longer than a watch lasts, which is when kube itself looks.
const SILENCE: Duration = Duration::from_secs(150);
/// Longest pause that an API server may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig that was named cannot be used.
    #[error("kubeconfig {}: {why}. Name a readable kubeconfig and a context that it holds.", .file.display())]
    Kubeconfig {
        /// Which.
        file: PathBuf,
        /// The cause.
        why: String,
    },
    /// None was named, and none was found.
    #[error(
        "there is no cluster to talk to: {0}. Name a kubeconfig with --kubeconfig or KUBECONFIG, or run in a pod with \
         a ServiceAccount."
    )]
    Nowhere(String),
    /// It was read and makes no client.
    #[error("the client of the API server cannot be made: {0}")]
    Unusable(String),
}

/// The configuration: what was named, else what kubectl would take, else the pod's own.
pub async fn config(file: Option<&PathBuf>, context: Option<&str>) -> Result<Config, ClientError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let nowhere = |error: &dyn std::error::Error| ClientError::Nowhere(crate::cli::chain(error));
    let mut config = match (file, context) {
        (Some(file), _) => {
            let failed = |error: &dyn std::error::Error| ClientError::Kubeconfig {
                file: file.clone(),
                why: crate::cli::chain(error),
            };
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| failed(&error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| failed(&error))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| nowhere(&error))?,
        (None, None) => Config::infer().await.map_err(|error| nowhere(&error))?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // failures are sorted and waited for here, in one place (`backoff`)
    config.default_retry = false;
    Ok(config)
}

/// The client: so many requests a second, watches apart, each counted.
pub fn client(
    config: Config,
    requests_per_second: u16,
    metrics: Arc<Metrics>,
) -> Result<Client, ClientError> {
    let limit = Arc::new(Mutex::new(Limit::new(requests_per_second, Instant::now())));
    let builder =
        ClientBuilder::try_from(config).map_err(|error| ClientError::Unusable(crate::cli::chain(&error)))?;
    Ok(builder.with_layer(&GateLayer { limit, metrics }).build())
}

/// An answer did not begin in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server within {} s", DEADLINE.as_secs())]
struct NoAnswer;

#[derive(Clone)]
struct GateLayer {
    limit: Arc<Mutex<Limit>>,
    metrics: Arc<Metrics>,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, shared: self.clone() }
    }
}

/// Through which every request goes.
struct Gate<S> {
    inner: S,
    shared: GateLayer,
}

impl<S, B> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let GateLayer { limit, metrics } = self.shared.clone();
        let lock = |limit: &Mutex<Limit>, act: &mut dyn FnMut(&mut Limit)| {
            act(&mut limit.lock().expect("nobody panics while holding it"));
        };
        let (verb, resource) = (verb(&request), resource(request.uri().path()));
        let mut wait = Duration::ZERO;
        if verb != "watch" && resource != "leases" {
            lock(&limit, &mut |limit| wait = limit.take(Instant::now()));
        }
        // futures of the inner services do nothing before they are polled
        let answer = self.inner.call(request);
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let begin = Instant::now();
            let answer = match tokio::time::timeout(DEADLINE, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(NoAnswer.into()),
            };
            let code = answer.as_ref().map(|answer| answer.status().as_u16()).ok();
            metrics.request(verb, resource, code, begin.elapsed());
            if let Ok(answer) = &answer
                && code == Some(429)
            {
                let asked =
                    answer.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
                let pause = Duration::from_secs(asked.unwrap_or(1)).min(PAUSE_MAX);
                lock(&limit, &mut |limit| limit.pause(pause, Instant::now()));
            }
            answer
        })
    }
}

/// The verb as roles name it; a dry run is told apart since it changes nothing.
fn verb(request: &Request<Body>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let has = |pair: &str| query.split('&').any(|it| it == pair);
    let collection = is_collection(request.uri().path());
    match *request.method() {
        Method::GET if has("watch=true") => "watch",
        Method::GET if collection => "list",
        Method::GET => "get",
        Method::PATCH if has("dryRun=All") => "check",
        Method::PATCH => "patch",
        Method::POST => "create",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// What follows the namespace, or the version where there is none.
fn within_version(path: &str) -> Vec<&str> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.first() {
        Some(&"api") => parts.get(2..),
        Some(&"apis") => parts.get(3..),
        _ => None,
    };
    match rest.unwrap_or_default() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest.to_vec(),
        rest => rest.to_vec(),
    }
}

fn is_collection(path: &str) -> bool {
    within_version(path).len() == 1
}

/// Resources that are counted by name: those that the operator asks for, so that the number of series is bounded.
const RESOURCES: [&str; 15] = [
    "configmaps",
    "events",
    "leases",
    "networkpolicies",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "podmonitors",
    "pods",
    "secrets",
    "serviceaccounts",
    "services",
    "sorchapeernetworks",
    "sorchapeernetworks/status",
    "statefulsets",
    "storageclasses",
];

fn resource(path: &str) -> &'static str {
    let name = match within_version(path).as_slice() {
        [] => return "discovery",
        [plural, _, "status"] => format!("{plural}/status"),
        [plural, ..] => (*plural).to_owned(),
    };
    RESOURCES.into_iter().find(|known| *known == name).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_ask_for() {
        let of = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(Body::empty()).expect("a request");
            (verb(&request), resource(request.uri().path()))
        };
        assert_eq!(of("GET", "/api/v1/pods?watch=true&timeoutSeconds=5"), ("watch", "pods"));
        assert_eq!(of("GET", "/api/v1/namespaces/a/secrets?limit=100"), ("list", "secrets"));
        assert_eq!(of("GET", "/api/v1/namespaces/a/secrets/s?"), ("get", "secrets"));
        let set = "/apis/apps/v1/namespaces/a/statefulsets/s?&dryRun=All&force=true";
        assert_eq!(of("PATCH", set), ("check", "statefulsets"));
        let status = "/apis/sorcha.org/v1alpha1/namespaces/a/sorchapeernetworks/n/status?force=true";
        assert_eq!(of("PATCH", status), ("patch", "sorchapeernetworks/status"));
        assert_eq!(of("GET", "/apis/monitoring.coreos.com/v1"), ("get", "discovery"));
        assert_eq!(of("POST", "/api/v1/namespaces/a/whatever"), ("create", "other"));
    }
}
