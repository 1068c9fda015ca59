//! Very many peers on one machine, in a few processes, and one more by itself, whose memory is looked at.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::client;
use crate::crowd::{Crowd, Host, Place};
use crate::figures::{memory, mib, now_us, quantile};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Peers in all
    #[arg(long, default_value_t = 1000)]
    peers: usize,
    /// Processes that all but one of them are spread over
    #[arg(long, default_value_t = 10)]
    processes: usize,
    /// Transactions a second
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// How long they are sent, s
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// All must be linked within this, s
    #[arg(long, default_value_t = 600)]
    linked_within: u64,
    /// Rest after the last transaction, s
    #[arg(long, default_value_t = 15)]
    rest: u64,
}

/// The links have settled when their number has changed by less than one in a thousand for this long.
const SETTLED: Duration = Duration::from_secs(10);
/// How long the peers of one process are given to know all before them, before the next process starts all the same.
const JOINS_WITHIN: Duration = Duration::from_secs(60);
/// How often is said how far they are.
const SAY_EVERY: Duration = Duration::from_secs(20);
/// `discovery.heartbeatInterval` of all. With the default of 5 s the signs of life of 57,000 links alone take one of two
/// cores here; a machine of one's own notices nothing of 114.
const HEARTBEAT: &str = "20s";

pub(crate) async fn run(place: &Place, args: &Args) -> Result<Value> {
    let alone = args.peers - 1;
    let each = alone.div_ceil(args.processes);
    // One in every process, as everyone on a machine of its own would have one of many.
    let bootstrap = |_| (0..alone).step_by(each).collect();
    let discovery = json!({ "discovery": { "heartbeatInterval": HEARTBEAT } });
    let crowd = Crowd::prepare_with(place, args.peers, bootstrap, &discovery)?;
    let began = Instant::now();
    let mut hosts = Vec::new();
    let mut first = 0;
    while first < alone {
        let end = (first + each).min(alone);
        let mut host = crowd.host(first..end)?;
        // One process after the other: a thousand that start at once on a few processors only wait for each other.
        let joining = Instant::now();
        loop {
            let status = host.ask("status")?;
            if status["knownMin"].as_u64() >= Some(end as u64 - 1) || joining.elapsed() > JOINS_WITHIN {
                let (known, seconds) = (&status["knownMin"], joining.elapsed().as_secs());
                tracing::warn!(
                    "peers {first} to {end} joined in {seconds} s: each knows at least {known} others"
                );
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        hosts.push((first, host));
        first = end;
    }
    let listening = began.elapsed().as_secs_f64();
    let single = crowd.start(alone)?;
    let mut single_client = single.client().await?;
    let known = await_linked(&mut hosts, args)?;
    client::await_status(&mut single_client, Duration::from_secs(args.linked_within), "linked", |status| {
        status.peers_known as usize == args.peers - 1 && status.caught_up
    })
    .await?;
    let linked = began.elapsed().as_secs_f64();
    for (_, host) in &mut hosts {
        host.ask("log")?;
    }
    let (idle, _) = memory(single.pid())?;

    let count = (args.rate * args.seconds as f64) as u64;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..count {
        let due = start + Duration::from_secs_f64(number as f64 / args.rate);
        tokio::time::sleep_until(due.into()).await;
        // A stride that is prime to the number of peers visits them all.
        let origin = (number as usize * 367) % alone;
        let mut client = crowd.client(origin).await?;
        let bytes = args.bytes;
        tasks.push(tokio::spawn(async move {
            let sent = now_us();
            let id = client::submit(&mut client, client::body(number, bytes)).await?;
            anyhow::Ok((client::prefix(&id)?, origin, sent))
        }));
    }
    let mut sent = Vec::new();
    for task in tasks {
        sent.push(task.await??);
    }
    tokio::time::sleep(Duration::from_secs(args.rest)).await;

    let mut arrivals: HashMap<u64, HashMap<usize, u64>> = HashMap::new();
    for (first, host) in &mut hosts {
        for row in host.ask("log")?.as_array().context("a log is a list")? {
            let (prefix, peer) =
                (row[0].as_u64().context("an id")?, row[1].as_u64().context("a peer")? as usize);
            let at = row[2].as_u64().context("a time")?;
            arrivals.entry(prefix).or_default().entry(*first + peer).or_insert(at);
        }
    }
    let (mut most, mut last, mut missing) = (Vec::new(), Vec::new(), 0);
    let others = alone - 1;
    for (prefix, origin, at) in &sent {
        let mut times: Vec<f64> = arrivals
            .get(prefix)
            .into_iter()
            .flatten()
            .filter(|(peer, _)| *peer != origin)
            .map(|(_, arrived)| arrived.saturating_sub(*at) as f64 / 1000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        missing += others - times.len().min(others);
        most.push(times.get((others as f64 * 0.9).ceil() as usize - 1).copied().unwrap_or(f64::INFINITY));
        last.push(times.get(others - 1).copied().unwrap_or(f64::INFINITY));
    }
    let held = client::status(&mut single_client).await?.transactions;
    let (now, peak) = memory(single.pid())?;
    let crowd_bytes: u64 = hosts.iter().map(|(_, host)| Ok(memory(host.pid())?.0)).sum::<Result<u64>>()?;
    Ok(json!({
        "heartbeatInterval": HEARTBEAT, "peers": args.peers, "processes": args.processes, "rate": args.rate, "seconds": args.seconds, "bytes": args.bytes,
        "listeningAfterS": listening, "linkedAfterS": linked, "links": known, "transactions": count, "missing": missing,
        "heldByTheSinglePeer": held,
        "reach90Ms": { "p50": quantile(&mut most, 0.5), "p95": quantile(&mut most, 0.95) },
        "lastMs": { "p50": quantile(&mut last, 0.5), "p95": quantile(&mut last, 0.95), "max": quantile(&mut last, 1.0) },
        "memoryMiB": { "idle": mib(idle), "now": mib(now), "peak": mib(peak), "crowdPerPeer": mib(crowd_bytes / alone as u64) },
    }))
}

/// Until every peer knows all others and the number of links stands still; answers how they are linked.
fn await_linked(hosts: &mut [(usize, Host)], args: &Args) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(args.linked_within);
    let (began, mut stands, mut said) = (Instant::now(), (0, Instant::now()), Instant::now());
    loop {
        let mut states = Vec::new();
        for (_, host) in hosts.iter_mut() {
            states.push(host.ask("status")?);
        }
        let of = |name: &str| states.iter().filter_map(|state| state[name].as_u64()).collect::<Vec<_>>();
        let (links, known) =
            (of("linked").iter().sum::<u64>(), of("knownMin").into_iter().min().unwrap_or(0));
        if links.abs_diff(stands.0) > links / 1000 {
            stands = (links, Instant::now());
        }
        if said.elapsed() > SAY_EVERY {
            said = Instant::now();
            tracing::warn!(
                "after {} s each knows at least {known} others, {links} ends of links stand",
                began.elapsed().as_secs()
            );
        }
        if known as usize == args.peers - 1 && stands.1.elapsed() > SETTLED {
            return Ok(json!({
                "inAll": links / 2, "perPeer": links as f64 / (args.peers - 1) as f64,
                "least": of("linkedMin").into_iter().min(), "most": of("linkedMax").into_iter().max(),
            }));
        }
        if Instant::now() > deadline {
            bail!(
                "not all linked after {} s: a peer knows {known} others, {links} ends of links stand",
                args.linked_within
            );
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
