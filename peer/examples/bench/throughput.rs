//! A steady load over five peers: how long transactions take to all of them, and the largest load that holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sorcha_proto::v1::subscribe_event::Event;
use sorcha_proto::v1::subscribe_open::Start;
use sorcha_proto::v1::{SubscribeOpen, SubscribeRequest, subscribe_request};
use tokio::task::JoinHandle;

use crate::client::{self, Client};
use crate::crowd::{Crowd, Place};
use crate::figures::{cpu, memory, mib, now_us, quantile};

/// Peers.
const PEERS: usize = 5;
/// What has not arrived this long after the last submission is lost or too late.
const LATE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Transactions a second over all peers
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// How long, s
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Afterwards double the load until p99 exceeds this, ms; 0: do not
    #[arg(long, default_value_t = 250.0)]
    largest_p99_ms: f64,
}

/// When what arrived where: id prefix to times, Unix us.
type Arrivals = Arc<Mutex<HashMap<u64, Vec<u64>>>>;

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Value> {
    let crowd = Crowd::prepare(place, PEERS)?;
    let peers = (0..PEERS).map(|peer| crowd.start(peer)).collect::<Result<Vec<_>>>()?;
    let mut clients = Vec::new();
    for peer in &peers {
        let mut client = peer.client().await?;
        let linked = |status: &sorcha_proto::v1::Status| status.peers_linked as usize == PEERS - 1;
        client::await_status(&mut client, Duration::from_secs(30), "linked", linked).await?;
        clients.push(client);
    }
    let arrivals = Arrivals::default();
    for client in &clients {
        subscribe(client.clone(), Arc::clone(&arrivals)).await?;
    }
    let busy = |peers: &[crate::crowd::Running]| -> Result<f64> {
        peers.iter().map(|peer| Ok(cpu(peer.pid())?.as_secs_f64())).sum()
    };
    let before = busy(&peers)?;
    let steady = load(&clients, &arrivals, args.rate, args.seconds, args.bytes, 0).await?;
    let cores = (busy(&peers)? - before) / args.seconds as f64;
    let mut largest = Value::Null;
    if args.largest_p99_ms > 0.0 {
        for double in 1..8 {
            let rate = args.rate * f64::from(1 << double);
            let run = load(&clients, &arrivals, rate, 10, args.bytes, u64::from(double as u32) << 40).await?;
            let holds =
                run["missing"] == 0 && run["p99Ms"].as_f64().is_some_and(|p99| p99 <= args.largest_p99_ms);
            if !holds {
                break;
            }
            largest = run;
        }
    }
    let peak = peers.iter().map(|peer| Ok(memory(peer.pid())?.1)).collect::<Result<Vec<_>>>()?;
    for peer in peers {
        peer.stop()?;
    }
    Ok(json!({
        "peers": PEERS, "bytes": args.bytes, "steady": steady, "coresOfAllPeers": cores, "largest": largest,
        "memoryPeakMiB": mib(peak.into_iter().max().unwrap_or(0)),
    }))
}

async fn subscribe(mut client: Client, arrivals: Arrivals) -> Result<()> {
    let open = SubscribeOpen { start: Start::Latest.into(), ..SubscribeOpen::default() };
    let first = SubscribeRequest { request: Some(subscribe_request::Request::Open(open)) };
    let requests = futures::StreamExt::chain(
        futures::stream::once(async { first }),
        futures::stream::pending::<SubscribeRequest>(),
    );
    let mut events = client.subscribe(requests).await?.into_inner();
    tokio::spawn(async move {
        while let Ok(Some(event)) = events.message().await {
            if let Some(Event::Delivery(delivery)) = event.event
                && let Some(transaction) = delivery.transaction
                && let Ok(prefix) = client::prefix(&transaction.id)
            {
                arrivals.lock().expect("no holder panics").entry(prefix).or_default().push(now_us());
            }
        }
    });
    Ok(())
}

/// Arrivals at even distances, in turn at every peer, whether or not earlier ones were answered.
async fn load(
    clients: &[Client],
    arrivals: &Arrivals,
    rate: f64,
    seconds: u64,
    bytes: usize,
    first: u64,
) -> Result<Value> {
    arrivals.lock().expect("no holder panics").clear();
    let count = (rate * seconds as f64) as u64;
    let began = Instant::now();
    let mut tasks: Vec<JoinHandle<Result<(u64, u64, f64)>>> = Vec::new();
    for number in 0..count {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let mut client = clients[number as usize % clients.len()].clone();
        tasks.push(tokio::spawn(async move {
            let body = client::body(first + number, bytes);
            let (sent, at) = (now_us(), Instant::now());
            let id = client::submit(&mut client, body).await?;
            Ok((client::prefix(&id)?, sent, at.elapsed().as_secs_f64() * 1000.0))
        }));
    }
    let offered = began.elapsed().as_secs_f64();
    let (mut sent, mut refused, mut acknowledged) = (Vec::new(), 0, Vec::new());
    for task in tasks {
        match task.await? {
            Ok((prefix, at, took)) => {
                sent.push((prefix, at));
                acknowledged.push(took);
            }
            Err(_) => refused += 1,
        }
    }
    let deadline = Instant::now() + LATE;
    while Instant::now() < deadline {
        let arrived: usize = arrivals.lock().expect("no holder panics").values().map(Vec::len).sum();
        if arrived >= sent.len() * clients.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let arrivals = arrivals.lock().expect("no holder panics");
    let (mut all, mut missing) = (Vec::new(), 0);
    for (prefix, at) in &sent {
        match arrivals.get(prefix) {
            Some(times) if times.len() >= clients.len() => {
                let last = times.iter().copied().max().unwrap_or(0);
                all.push(last.saturating_sub(*at) as f64 / 1000.0);
            }
            _ => missing += 1,
        }
    }
    ensure!(!all.is_empty(), "nothing arrived at all peers");
    Ok(json!({
        "perSecond": (count as f64 / offered).round(), "wantedPerSecond": rate, "seconds": seconds,
        "accepted": sent.len(), "refused": refused, "missing": missing,
        "acknowledgedP99Ms": quantile(&mut acknowledged, 0.99),
        "p50Ms": quantile(&mut all, 0.5), "p99Ms": quantile(&mut all, 0.99), "maxMs": quantile(&mut all, 1.0),
    }))
}
