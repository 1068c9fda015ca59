//! Many peers in one process, made of the parts that ship.
//!
//! Speaks lines: `status` is answered by how the peers are linked and how many dials have failed, `log` by what they have received since the last `log`:
//! `[id prefix, peer of this process, Unix time in us]`. Ends with its standard input.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use sorcha_peer::driver::Stop;
use sorcha_peer::node::NodeHandle;
use sorcha_peer::run::{Ending, serve};
use sorcha_peer_config::{Mode, Surroundings};
use sorcha_peer_core::event::Event;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::crowd::config_of;
use crate::figures::now_us;

/// Peers that start at the same time: a start waits for its disk more than for a processor.
const STARTS_AT_ONCE: usize = 8;

type Received = Arc<Mutex<Vec<(u64, usize, u64)>>>;

/// Dials of all peers that came to nothing.
static DIALS_FAILED: AtomicU64 = AtomicU64::new(0);

pub(crate) async fn run(directories: &[PathBuf]) -> Result<()> {
    let received = Received::default();
    let started = futures::stream::iter(directories.iter().enumerate())
        .map(|(number, directory)| start(number, directory, &received))
        .buffered(STARTS_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let (nodes, stops): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    while let Some(line) = lines.next_line().await? {
        let answer = match line.trim() {
            "status" => status(&nodes).await?,
            "log" => json!(std::mem::take(&mut *received.lock().expect("no holder panics"))),
            other => json!({ "unknown": other }),
        };
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        out.flush().await?;
    }
    drop(stops);
    Ok(())
}

async fn follow(node: NodeHandle, number: usize, received: Received) {
    let mut events = node.events();
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Event::Received { id, .. } = &event.event {
                    received.lock().expect("no holder panics").push((id.prefix(), number, now_us()));
                }
                if let Event::DialFailed { .. } = &event.event {
                    DIALS_FAILED.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::error!("{missed} events of a peer are missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// One peer, and what stops it.
async fn start(
    number: usize,
    directory: &Path,
    received: &Received,
) -> Result<(NodeHandle, oneshot::Sender<Stop>)> {
    let text = std::fs::read_to_string(config_of(directory))?;
    let loaded = sorcha_peer_config::load(&text, &Surroundings::default(), Mode::Run)
        .map_err(|problems| anyhow!("{}: {problems}", directory.display()))?;
    let (stop_in, stop) = oneshot::channel();
    let (node_in, node) = oneshot::channel();
    let peer = serve(loaded.config, [0; 32], Ending { stop, hurry: CancellationToken::new() }, |node| {
        // Whoever waits for it is there.
        drop(node_in.send(node.clone()));
        Ok(())
    });
    // On the heap: a peer's future is large.
    let peer = Box::pin(peer);
    tokio::spawn(async move {
        if let Err(error) = peer.await {
            tracing::error!("a peer has ended: {error}");
        }
    });
    let node = node.await.with_context(|| format!("the peer in {} does not start", directory.display()))?;
    tokio::spawn(follow(node.clone(), number, Arc::clone(received)));
    Ok((node, stop_in))
}

async fn status(nodes: &[NodeHandle]) -> Result<serde_json::Value> {
    let (mut known, mut linked) = (Vec::new(), Vec::new());
    let mut online = 0;
    for status in futures::future::try_join_all(nodes.iter().map(NodeHandle::status)).await? {
        known.push(status.peers_known);
        linked.push(status.peers_linked);
        online += usize::from(status.state == sorcha_peer_core::view::State::Online);
    }
    Ok(json!({
        "peers": nodes.len(), "online": online, "knownMin": known.iter().min(), "linkedMin": linked.iter().min(),
        "linkedMax": linked.iter().max(), "linked": linked.iter().sum::<usize>(),
        "knownMax": known.iter().max(), "dialsFailed": DIALS_FAILED.load(Ordering::Relaxed),
    }))
}
