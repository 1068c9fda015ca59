//! A proxy between a client and an API server that does what networks and busy servers do: errors, delays, lost
//! answers, cut streams, outages.
//!
//! Speaks plain HTTP on 127.0.0.1 to its client and passes on who the client is. Knows HTTP, not Kubernetes, apart
//! from what tells a watch from a write.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::client::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::rest::{runtime, upstream};

/// What the service answers with.
type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// Which requests a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// All.
    All,
    /// All that change something.
    Writes,
    /// Watches.
    Watches,
    /// All that ask and are no watches.
    Reads,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not passed on, and answered with a status; `Retry-After` in seconds where that is given.
    Refuse {
        /// HTTP status.
        code: u16,
        /// Seconds.
        retry_after: Option<u32>,
    },
    /// It is passed on and done, and its answer is lost with the connection.
    LoseAnswer,
    /// The connection is closed before it is passed on.
    Close,
    /// It is passed on later.
    Delay(Duration),
    /// Its answer breaks off in the middle after this time.
    Cut(Duration),
}

/// A fault with its victims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which kind of requests.
    pub meets: Meets,
    /// How many of a hundred, chosen by a fixed sequence.
    pub percent: u32,
    /// What happens to them.
    pub fault: Fault,
}

/// How nothing gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Connections are closed at once, also those that stand.
    Closed,
    /// Nothing is answered, and nothing comes on streams that stand.
    Silent,
}

/// Requests that came, by second since the proxy was started.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// All that came, passed on or not; connections during an outage count.
    pub all: Vec<u32>,
    /// Those that met a fault.
    pub faulty: u32,
}

impl Counts {
    /// Total, and that of the busiest second, from a second on.
    pub fn since(&self, second: usize) -> (u32, u32) {
        let seconds = self.all.get(second..).unwrap_or_default();
        (seconds.iter().sum(), seconds.iter().copied().max().unwrap_or_default())
    }
}

/// A proxy; dropping it closes its port and all connections.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    client: kube::Client,
    started: Instant,
    state: Mutex<State>,
    weather: watch::Sender<Weather>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    counts: Counts,
    /// Drawn for every request and rule: a linear congruential generator, so that a run can be repeated.
    draws: u64,
}

/// What standing connections must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Weather {
    outage: Option<Outage>,
    /// Goes up when all streams are to break off.
    cuts: u64,
    ended: bool,
}

impl Proxy {
    /// In front of a server whose root certificate is given as PEM.
    pub fn start(url: &str, root: &[u8]) -> anyhow::Result<Self> {
        let config = upstream(url, root)?;
        let (client, listener) = runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            anyhow::Ok((kube::Client::try_from(config)?, listener))
        })?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            client,
            started: Instant::now(),
            state: Mutex::default(),
            weather: watch::Sender::default(),
        });
        runtime().spawn(accept(listener, shared.clone()));
        Ok(Self { shared, port })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on these faults, and no others.
    pub fn faults(&self, rules: &[Rule]) {
        self.shared.state().rules = rules.to_vec();
    }

    /// Begins or ends an outage.
    pub fn outage(&self, outage: Option<Outage>) {
        self.shared.weather.send_modify(|weather| weather.outage = outage);
    }

    /// Cuts all connections that stand, in the middle of whatever they carry.
    pub fn cut(&self) {
        self.shared.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// What came so far.
    pub fn counts(&self) -> Counts {
        self.shared.state().counts.clone()
    }

    /// Which second of [`Counts::all`] it is.
    pub fn second(&self) -> usize {
        self.shared.started.elapsed().as_secs() as usize
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.weather.send_modify(|weather| weather.ended = true);
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn count(&self) {
        let second = self.started.elapsed().as_secs() as usize;
        let mut state = self.state();
        if state.counts.all.len() <= second {
            state.counts.all.resize(second + 1, 0);
        }
        state.counts.all[second] += 1;
    }

    /// The faults of one request.
    fn draw(&self, method: &Method, query: &str) -> Vec<Fault> {
        let is_watch = method == Method::GET && query.contains("watch=");
        let is_write = method != Method::GET;
        let mut state = self.state();
        let mut found = Vec::new();
        for rule in state.rules.clone() {
            // Numerical Recipes' generator; its upper bits are even enough for this.
            state.draws =
                state.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let meets = match rule.meets {
                Meets::All => true,
                Meets::Writes => is_write,
                Meets::Watches => is_watch,
                Meets::Reads => !is_write && !is_watch,
            };
            if meets && (state.draws >> 33) % 100 < u64::from(rule.percent) {
                found.push(rule.fault);
            }
        }
        state.counts.faulty += u32::from(!found.is_empty());
        found
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                tokio::spawn(serve(stream, shared.clone()));
            }
            changed = weather.wait_for(|weather| weather.ended) => {
                drop(changed);
                return;
            }
        }
    }
}

/// One connection, until its end or until the weather says so.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut weather = shared.weather.subscribe();
    let born = *weather.borrow_and_update();
    if born.outage == Some(Outage::Closed) {
        shared.count();
        return;
    }
    let service = service_fn(|request| handle(shared.clone(), request));
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let bad =
        weather.wait_for(|now| now.ended || now.cuts != born.cuts || now.outage == Some(Outage::Closed));
    tokio::select! {
        // A client that goes away is no matter.
        ended = connection => drop(ended),
        changed = bad => drop(changed),
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> std::io::Result<Answer> {
    shared.count();
    let silence = shared.clone();
    let quiet = async move {
        let mut weather = silence.weather.subscribe();
        // The sender lives as long as this.
        drop(weather.wait_for(|weather| weather.outage != Some(Outage::Silent)).await);
    };
    quiet.await;
    let (parts, body) = request.into_parts();
    let mut cut = None;
    let mut lose = false;
    for fault in shared.draw(&parts.method, parts.uri.query().unwrap_or_default()) {
        match fault {
            Fault::Refuse { code, retry_after } => return Ok(refusal(code, retry_after)),
            Fault::Close => return Err(std::io::Error::other("closed by a test")),
            Fault::LoseAnswer => lose = true,
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Cut(time) => cut = Some(time),
        }
    }
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let response = shared.client.send(Request::from_parts(parts, Body::from(body))).await;
    let response = response.map_err(std::io::Error::other)?;
    if lose {
        let _done = response.into_body().collect().await;
        return Err(std::io::Error::other("lost by a test"));
    }
    let (mut parts, body) = response.into_parts();
    // How it came is between the proxy and the server.
    parts.headers.remove(http::header::TRANSFER_ENCODING);
    parts.headers.remove(http::header::CONNECTION);
    let end = async move {
        match cut {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending::<()>().await,
        }
    };
    let weather = shared.weather.subscribe();
    let frames = futures::stream::unfold(weather, |mut weather| async {
        // Holds streams back while nothing is to be heard.
        drop(weather.wait_for(|weather| weather.outage != Some(Outage::Silent)).await);
        Some((Ok::<(), Infallible>(()), weather))
    });
    let data = body.into_data_stream();
    let stream = data
        .zip(frames)
        .map(|(chunk, _heard)| chunk.map(Frame::data).map_err(std::io::Error::other))
        .take_until(Box::pin(end))
        .boxed();
    let broken = cut.is_some().then(|| Err(std::io::Error::other("cut by a test")));
    let stream = stream.chain(futures::stream::iter(broken));
    Ok(Response::from_parts(parts, StreamBody::new(stream).boxed_unsync()))
}

/// As an API server words it.
fn refusal(code: u16, retry_after: Option<u32>) -> Answer {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "code": code, "message": "refused by a test",
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
    }
    response
}
