//! A process with some nodes of one rival: starts them, sends what the plan says, writes down what arrived when.
//!
//! On standard output: `ready` once every node takes part. On standard input: `go MICROSECONDS`, the start of the run in Unix time;
//! `links`, answered by the connections of all its nodes; `log`, answered by what happened. Ends with its standard input.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::plan::{Plan, payload};

/// A library, as its users use it.
pub trait Rival: Sized + Send + Sync + 'static {
    /// Starts one node of the plan. What it delivers to its application goes to the log.
    fn start(plan: &Plan, node: usize, log: Log) -> impl Future<Output = Result<Self>> + Send;
    /// What it lacks to take part; nothing once it does.
    fn lacks(&self) -> impl Future<Output = Option<String>> + Send;
    /// Connections that it has.
    fn links(&self) -> impl Future<Output = usize> + Send;
    /// Sends to everybody.
    fn send(&self, payload: Vec<u8>) -> impl Future<Output = Result<()>> + Send;
}

/// A node that does not take part within this does not work.
pub const READY_WITHIN: Duration = Duration::from_secs(90);

/// What happened, in memory until it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Happened>>);

/// The content of a log.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Happened {
    /// Number of the message, when it was handed over (Unix time, us).
    pub sent: Vec<(u64, u64)>,
    /// Number of the message, which node, when its application had the payload.
    pub got: Vec<(u64, usize, u64)>,
}

impl Log {
    /// A node has delivered a payload.
    pub fn got(&self, payload: &[u8], node: usize) {
        let now = now_us();
        if let Some(number) = crate::plan::number_of(payload) {
            self.0.lock().expect("no holder panics").got.push((number, node, now));
        }
    }

    fn sent(&self, number: u64, at: u64) {
        self.0.lock().expect("no holder panics").sent.push((number, at));
    }
}

/// Unix time in microseconds: all processes are on one machine.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Runs the nodes from `first` on.
pub async fn run<R: Rival>(plan: &Path, first: usize, count: usize) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?).context("the plan does not read")?;
    let (lines_in, mut lines) = mpsc::channel(4);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines_in.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let log = Log::default();
    let nodes: Arc<[R]> = tokio::select! {
        nodes = start(&plan, first, count, &log) => nodes?.into(),
        _ = lines.recv() => bail!("told something before it is ready"),
    };
    say("ready")?;
    while let Some(line) = lines.recv().await {
        match line.trim() {
            "links" => {
                let mut links = 0;
                for node in nodes.iter() {
                    links += node.links().await;
                }
                say(&links.to_string())?;
            }
            "log" => {
                let happened = serde_json::to_string(&*log.0.lock().expect("no holder panics"))?;
                say(&happened)?;
            }
            line => {
                let start = line.strip_prefix("go ").and_then(|at| at.parse().ok());
                let start = start.with_context(|| format!("'{line}' is not understood"))?;
                tokio::spawn(send(plan.clone(), first, Arc::clone(&nodes), log.clone(), start));
            }
        }
    }
    Ok(())
}

async fn start<R: Rival>(plan: &Plan, first: usize, count: usize, log: &Log) -> Result<Vec<R>> {
    let mut nodes = Vec::new();
    for node in first..first + count {
        nodes.push(R::start(plan, node, log.clone()).await?);
    }
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    for (number, node) in nodes.iter().enumerate() {
        while let Some(lacks) = node.lacks().await {
            if tokio::time::Instant::now() > deadline {
                let node = first + number;
                bail!("node {node} does not take part after {} s: {lacks}", READY_WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(nodes)
}

async fn send<R: Rival>(plan: Plan, first: usize, nodes: Arc<[R]>, log: Log, start: u64) {
    let mut mine = Vec::new();
    for phase in &plan.phases {
        let here = phase.sends.iter().filter(|send| (first..first + nodes.len()).contains(&send.node));
        mine.extend(here.map(|send| (*send, phase.bytes)));
    }
    for (send, bytes) in mine {
        let due = start + send.at.as_micros() as u64;
        let body = payload(send.number, bytes);
        tokio::time::sleep(Duration::from_micros(due.saturating_sub(now_us()))).await;
        let (nodes, log) = (Arc::clone(&nodes), log.clone());
        // Its own task: one that waits does not hold the next one back.
        tokio::spawn(async move {
            let at = now_us();
            match nodes[send.node - first].send(body).await {
                Ok(()) => log.sent(send.number, at),
                Err(error) => eprintln!("message {} is not sent: {error:#}", send.number),
            }
        });
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
