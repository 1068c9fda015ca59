//! Durable acknowledgements a second, by the number of clients that each wait for their answer.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::client;
use crate::crowd::{Crowd, Place};
use crate::figures::{memory, mib, quantile};

/// Clients share connections, so that what is measured is the peer: this many use one.
const CLIENTS_PER_CONNECTION: usize = 32;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many clients, one measurement each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    clients: Vec<usize>,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// How long each measurement takes, s
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Value> {
    let crowd = Crowd::prepare(place, 1)?;
    let peer = crowd.start(0)?;
    let mut rows = Vec::new();
    for (round, clients) in args.clients.iter().enumerate() {
        let mut connections = Vec::new();
        for _ in 0..clients.div_ceil(CLIENTS_PER_CONNECTION) {
            connections.push(peer.client().await?);
        }
        let until = Instant::now() + Duration::from_secs(args.seconds);
        let tasks: Vec<_> = (0..*clients)
            .map(|number| {
                let mut client = connections[number % connections.len()].clone();
                let (bytes, first) = (args.bytes, ((round * 1_000 + number) as u64) << 32);
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while Instant::now() < until {
                        let body = client::body(first + took.len() as u64, bytes);
                        let began = Instant::now();
                        client::submit(&mut client, body).await?;
                        took.push(began.elapsed().as_secs_f64() * 1000.0);
                    }
                    anyhow::Ok(took)
                })
            })
            .collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await??);
        }
        rows.push(json!({
            "clients": clients, "perSecond": (took.len() as f64 / args.seconds as f64).round(),
            "p50Ms": quantile(&mut took, 0.5), "p99Ms": quantile(&mut took, 0.99),
        }));
    }
    let (_, peak) = memory(peer.pid())?;
    peer.stop()?;
    Ok(json!({ "bytes": args.bytes, "seconds": args.seconds, "rows": rows, "memoryPeakMiB": mib(peak) }))
}
