//! How fast what one peer accepted while the other was away gets there, durable on both ends.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::client;
use crate::crowd::{Crowd, Place};
use crate::figures::{memory, mib};

/// Submissions under way while the outbox is filled.
const CLIENTS: usize = 64;
/// It takes no longer than this.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Transactions accepted during the outage
    #[arg(long, default_value_t = 100_000)]
    pub(crate) transactions: u64,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024)]
    pub(crate) bytes: usize,
}

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Value> {
    let crowd = Crowd::prepare(place, 2)?;
    let (drained, mut report) = drain(&crowd, args).await?;
    report["perSecond"] = json!(drained.round());
    Ok(report)
}

/// Fills the first peer's outbox while the second is away, lets it come back, and answers how many a second got there, and
/// more.
pub(crate) async fn drain(crowd: &Crowd, args: &Args) -> Result<(f64, Value)> {
    let here = crowd.start(0)?;
    // Known to each other, then away: an outage, not a first meeting.
    let there = crowd.start(1)?;
    let mut client = here.client().await?;
    client::await_status(&mut client, Duration::from_secs(30), "linked", |status| status.peers_linked == 1)
        .await?;
    there.stop()?;

    let filling = Instant::now();
    let tasks: Vec<_> = (0..CLIENTS as u64)
        .map(|number| {
            let (mut client, bytes) = (client.clone(), args.bytes);
            let share =
                args.transactions / CLIENTS as u64 + u64::from(number < args.transactions % CLIENTS as u64);
            tokio::spawn(async move {
                for count in 0..share {
                    client::submit(&mut client, client::body((number << 32) + count, bytes)).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let filled = filling.elapsed().as_secs_f64();

    let there = crowd.start(1)?;
    let mut other = there.client().await?;
    client::await_status(&mut other, Duration::from_secs(30), "linked", |status| status.peers_linked == 1)
        .await?;
    // From the link on: what stands there is what the network does, not how a process starts.
    let began = Instant::now();
    let already = client::status(&mut other).await?.transactions;
    client::await_status(&mut other, DRAINED_WITHIN, "drained", |status| {
        status.transactions >= args.transactions
    })
    .await?;
    let took = began.elapsed().as_secs_f64();
    client::await_status(&mut client, DRAINED_WITHIN, "confirmed", |status| status.outbox == 0).await?;
    let confirmed = began.elapsed().as_secs_f64();
    let ((_, sender), (_, receiver)) = (memory(here.pid())?, memory(there.pid())?);
    there.stop()?;
    here.stop()?;
    let report = json!({
        "transactions": args.transactions, "bytes": args.bytes,
        "acceptedPerSecond": (args.transactions as f64 / filled).round(),
        "seconds": took, "confirmedAfterS": confirmed,
        "memoryPeakMiB": { "sender": mib(sender), "receiver": mib(receiver) },
    });
    Ok(((args.transactions - already) as f64 / took, report))
}
