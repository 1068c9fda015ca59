//! Sorcha, as it ships: mutual TLS, signed transactions, stored at every peer before they count as delivered.
//!
//! Several peers in one process, each with certificate, store and ports of its own; everything that is not in [`config`] is
//! the default. A payload counts as delivered when it has been read back from the store, as a subscription reads it.

use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sorcha_peer::driver::Stop;
use sorcha_peer::node::NodeHandle;
use sorcha_peer::run::{Ending, serve};
use sorcha_peer_config::{Mode, Surroundings};
use sorcha_peer_core::event::Event;
use sorcha_peer_core::view::State;
use sorcha_peer_pki::{Authority, IssueRequest, SpiffeId, files};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::node::{Log, Rival};
use crate::plan::Plan;

/// Peers that everybody begins with.
const BOOTSTRAP: usize = 3;
/// Trust domain of the comparison.
const DOMAIN: &str = "rivals.example";

/// One peer; `state.durable` as given.
#[derive(Debug)]
pub struct Sorcha<const DURABLE: bool> {
    node: NodeHandle,
    others: usize,
    /// The peer runs as long as this is there.
    _stop: Mutex<oneshot::Sender<Stop>>,
}

/// Certificates of all peers, in the directory of the plan.
pub fn prepare(plan: &Plan) -> Result<()> {
    let now = Timestamp::now();
    let authority = Authority::generate(DOMAIN, now, SignedDuration::from_hours(24))?;
    for node in 0..plan.nodes {
        let uri = SpiffeId::new(DOMAIN, "rivals", &name(node))?;
        let issued = authority.issue(&IssueRequest::new(uri, now))?;
        files::write_identity(
            &plan.directory.join(name(node)).join("tls"),
            &issued,
            authority.certificate_pem(),
        )?;
    }
    Ok(())
}

fn name(node: usize) -> String {
    format!("peer-{node}")
}

/// A peer's whole configuration.
pub fn config(plan: &Plan, node: usize, durable: bool) -> serde_json::Value {
    let directory = plan.directory.join(name(node));
    serde_json::json!({
        "configVersion": 1, "networkId": "rivals", "trustDomain": DOMAIN, "name": name(node),
        "listen": { "peer": plan.address(node), "api": "127.0.0.1:0", "admin": "127.0.0.1:0" },
        "tls": { "directory": directory.join("tls") },
        "state": { "directory": directory.join("state"), "durable": durable },
        "bootstrap": { "addresses": (0..BOOTSTRAP).map(|peer| plan.address(peer)).collect::<Vec<_>>() },
    })
}

impl<const DURABLE: bool> Rival for Sorcha<DURABLE> {
    async fn start(plan: &Plan, node: usize, log: Log) -> Result<Self> {
        let text = config(plan, node, DURABLE).to_string();
        let loaded = sorcha_peer_config::load(&text, &Surroundings::default(), Mode::Run)
            .map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let (stop_in, stop) = oneshot::channel();
        let (handle_in, handle) = oneshot::channel();
        let peer = serve(loaded.config, [0; 32], Ending { stop, hurry: CancellationToken::new() }, |node| {
            // Whoever waits for it is there.
            drop(handle_in.send(node.clone()));
            Ok(())
        });
        // On the heap: a peer's future is large.
        let peer = Box::pin(peer);
        tokio::spawn(async move {
            if let Err(error) = peer.await {
                eprintln!("{} has ended: {error}", name(node));
            }
        });
        let handle = handle.await.context("the peer does not start")?;
        tokio::spawn(follow(handle.clone(), node, log));
        Ok(Self { node: handle, others: plan.nodes - 1, _stop: Mutex::new(stop_in) })
    }

    async fn lacks(&self) -> Option<String> {
        let Ok(status) = self.node.status().await else { return Some("it has ended".to_owned()) };
        let ready = status.peers_known == self.others && status.caught_up && status.state == State::Online;
        (!ready).then(|| {
            format!(
                "it is {}, knows {} of {} others, is linked to {}, and {} caught up",
                status.state.as_str(),
                status.peers_known,
                self.others,
                status.peers_linked,
                if status.caught_up { "has" } else { "has not" }
            )
        })
    }

    async fn links(&self) -> usize {
        self.node.status().await.map_or(0, |status| status.peers_linked)
    }

    async fn send(&self, payload: Vec<u8>) -> Result<()> {
        let accepted = self.node.submit("rivals".to_owned(), payload.into(), String::new()).await?;
        ensure!(!accepted.duplicate, "the transaction was known");
        Ok(())
    }
}

async fn follow(peer: NodeHandle, node: usize, log: Log) {
    let mut events = peer.events();
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Event::Received { id, .. } = &event.event {
                    let (id, store) = (*id, peer.store().clone());
                    match tokio::task::spawn_blocking(move || store.body(&id)).await {
                        Ok(Ok(Some(body))) => log.got(&body, node),
                        other => eprintln!("transaction {id} is not read at node {node}: {other:?}"),
                    }
                }
            }
            Err(RecvError::Lagged(missed)) => eprintln!("{missed} events of node {node} are missed"),
            Err(RecvError::Closed) => return,
        }
    }
}
