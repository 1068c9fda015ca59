//! The client of the API server: where its configuration comes from, deadlines, rate, and what is counted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rand::Rng as _;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::api::DEADLINE;
use crate::limit::Limit;
use crate::metrics::Metrics;

/// Longest wait for a connection (a guess: across regions a handshake takes 300 ms).
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence on a connection that is read from; longer than a watch lasts, which is when kube itself looks.
const SILENCE: Duration = Duration::from_secs(150);
/// What an API server that is too busy is taken to ask for where it does not say: its own default.
const PAUSE_DEFAULT: Duration = Duration::from_secs(1);
/// Shortest pause, whatever it says (a guess: a tenth of its own default is no hot loop).
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// A request that is refused with 429 is sent again until this much time has gone by with it; who made it hears of it
/// then, and waits longer (a guess: less than half of what the whole request may take).
const PATIENCE: Duration = Duration::from_secs(20);

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
    Ok(builder.with_layer(&GateLayer { limit, metrics, patience: PATIENCE }).build())
}

/// An answer did not begin in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server within {} s", DEADLINE.as_secs())]
struct NoAnswer;

#[derive(Clone)]
struct GateLayer {
    limit: Arc<Mutex<Limit>>,
    metrics: Arc<Metrics>,
    patience: Duration,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner: Arc::new(tokio::sync::Mutex::new(inner)), shared: self.clone() }
    }
}

/// Through which every request goes.
struct Gate<S> {
    /// Locked while a request is handed over, not while it is answered.
    inner: Arc<tokio::sync::Mutex<S>>,
    shared: GateLayer,
}

impl<S, B> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(pass(self.inner.clone(), self.shared.clone(), request))
    }
}

/// Sends a request in its turn. One that the API server throttles is sent again after the time that it asks for and
/// some more: 429 says that nothing was done, whatever was asked. The other requests go on, slower: what is throttled
/// is a share of what a client asks (API priority and fairness), or one object that is busy, seldom everything.
async fn pass<S, B>(
    inner: Arc<tokio::sync::Mutex<S>>,
    GateLayer { limit, metrics, patience }: GateLayer,
    mut request: Request<Body>,
) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
{
    let lock = || limit.lock().expect("nobody panics while holding it");
    let (verb, resource) = (verb(&request), resource(request.uri().path()));
    // those who watch and those who lead wait in ways of their own
    let is_limited = verb != "watch" && resource != "leases";
    let begin = Instant::now();
    loop {
        let spare = if is_limited { again(&request) } else { None };
        if is_limited {
            let wait = lock().take(Instant::now());
            tokio::time::sleep(wait).await;
        }
        let sent = Instant::now();
        let answer = inner.lock().await.ready().await?.call(request);
        let answer = match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer.into()),
        };
        let code = answer.as_ref().map(|answer| answer.status().as_u16()).ok();
        metrics.request(verb, resource, code, sent.elapsed());
        let Some(pause) = answer.as_ref().ok().and_then(pause) else { return answer };
        lock().throttled(Instant::now());
        match spare {
            Some(spare) if begin.elapsed() + pause <= patience => request = spare,
            _ => return answer,
        }
        tokio::time::sleep(pause).await;
    }
}

/// How long the API server asks to wait, and up to half as long again: who was refused together does not return
/// together.
fn pause<B>(answer: &Response<B>) -> Option<Duration> {
    if answer.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let asked = answer.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
    let asked = asked.map_or(PAUSE_DEFAULT, Duration::from_secs).max(PAUSE_MIN);
    Some(asked.saturating_add(asked.mul_f64(rand::rng().random_range(0.0..=0.5))))
}

/// The same request once more; none where its body can be sent only once.
fn again(request: &Request<Body>) -> Option<Request<Body>> {
    let mut same = Request::new(request.body().try_clone()?);
    *same.method_mut() = request.method().clone();
    *same.uri_mut() = request.uri().clone();
    *same.version_mut() = request.version();
    *same.headers_mut() = request.headers().clone();
    *same.extensions_mut() = request.extensions().clone();
    Some(same)
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers with these statuses one after the other, then with 200, and asks to wait for so many seconds.
    async fn sent(refusals: &[u16], retry_after: u64, uri: &str) -> (u16, Duration, usize) {
        let limit = Arc::new(Mutex::new(Limit::new(100, Instant::now())));
        let layer = GateLayer { limit, metrics: Arc::new(Metrics::new()), patience: Duration::from_secs(3) };
        let count = Arc::new(AtomicUsize::new(0));
        let (counted, refusals) = (count.clone(), refusals.to_vec());
        let mut gate = layer.layer(tower::service_fn(move |request: Request<Body>| {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            let code = refusals.get(number).copied().unwrap_or(200);
            assert_eq!(request.headers().get("content-type").unwrap(), "a/b", "sent again as it was");
            let answer = Response::builder().status(code).header("retry-after", retry_after).body(());
            std::future::ready(answer.map_err(BoxError::from))
        }));
        let begin = Instant::now();
        let request = Request::patch(uri).header("content-type", "a/b").body(Body::from(b"x".to_vec()));
        let answer = gate.call(request.expect("a request")).await.expect("an answer");
        (answer.status().as_u16(), begin.elapsed(), count.load(Ordering::Relaxed))
    }

    const SECRET: &str = "/api/v1/namespaces/a/secrets/s";

    #[tokio::test]
    async fn a_throttled_request_is_sent_again_when_it_is_asked_for() {
        let (code, took, count) = sent(&[429], 1, SECRET).await;
        assert_eq!((code, count), (200, 2));
        assert!(took >= Duration::from_secs(1), "{took:?}");
        let (code, took, count) = sent(&[429; 100], 0, SECRET).await;
        assert_eq!(code, 429, "at last whoever asks is told");
        assert!(count <= 31, "no hot loop: {count} times in {took:?}");
        let (code, _, count) = sent(&[429], 60, SECRET).await;
        assert_eq!((code, count), (429, 1), "a long wait is the caller's");
    }

    #[tokio::test]
    async fn what_may_have_been_done_is_not_sent_again() {
        for other in [409, 500, 503] {
            assert_eq!(sent(&[other], 1, SECRET).await.2, 1, "only 429 says that nothing was done");
        }
        let lease = "/apis/coordination.k8s.io/v1/namespaces/a/leases/l";
        assert_eq!(sent(&[429], 1, lease).await.2, 1, "who leads must not wait for long");
    }

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
