//! iroh-gossip over iroh (QUIC), with the defaults of the library: HyParView's active view of 5, Plumtree.
//!
//! Different from the defaults: no relays and no address lookup on the Internet, which the namespace does not have (all
//! addresses are known), and messages of up to 128 KiB instead of 4 KiB. Messages are not signed by iroh-gossip.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::iroh::address_lookup::memory::MemoryLookup;
use ::iroh::endpoint::presets;
use ::iroh::protocol::Router;
use ::iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};
use anyhow::{Context as _, Result, anyhow};
use iroh_gossip::ALPN;
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::{HyparviewConfig, PlumtreeConfig, TopicId};
use libp2p::futures::StreamExt as _;

use crate::node::{Log, Rival};
use crate::plan::Plan;

/// Nodes that are asked to be let in.
const BOOTSTRAP: usize = 3;
/// Bytes of a message at most.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Who is alone asks again: the others are started at the same time.
const JOIN_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// One endpoint.
#[derive(Debug)]
pub struct Iroh {
    sender: GossipSender,
    neighbours: Arc<AtomicUsize>,
    _router: Router,
}

/// What it runs with.
pub fn config() -> String {
    format!(
        "iroh {}, iroh-gossip {}; QUIC with the library's transport parameters, RelayMode::Disabled, {BOOTSTRAP} bootstrap nodes, \
         max_message_size {MESSAGE_BYTES_MAX}; membership {:?}; broadcast {:?}",
        crate::report::version("iroh"),
        crate::report::version("iroh-gossip"),
        HyparviewConfig::default(),
        PlumtreeConfig::default()
    )
}

impl Rival for Iroh {
    async fn start(plan: &Plan, node: usize, log: Log) -> Result<Self> {
        let lookup = MemoryLookup::new();
        let id = |node: usize| SecretKey::from_bytes(&plan.key(node)).public();
        for other in 0..plan.nodes {
            lookup.add_endpoint_info(EndpointAddr::new(id(other)).with_ip_addr(plan.address(other)));
        }
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(SecretKey::from_bytes(&plan.key(node)))
            .relay_mode(RelayMode::Disabled)
            .address_lookup(lookup)
            .clear_ip_transports()
            .bind_addr(plan.address(node))
            .map_err(|error| anyhow!("{error}"))?
            .bind()
            .await
            .map_err(|error| anyhow!("{error}"))?;
        let gossip = Gossip::builder().max_message_size(MESSAGE_BYTES_MAX).spawn(endpoint.clone());
        let router = Router::builder(endpoint).accept(ALPN, gossip.clone()).spawn();
        // With full use of the plan's others where the last nodes of it have few to dial.
        let others = plan.dials[node].iter().copied().chain((0..plan.nodes).filter(|other| *other != node));
        let bootstrap: Vec<EndpointId> = others.take(BOOTSTRAP).map(id).collect();
        let topic = gossip
            .subscribe(TopicId::from_bytes([1; 32]), bootstrap.clone())
            .await
            .map_err(|error| anyhow!("{error}"))?;
        let (sender, receiver) = topic.split();
        let neighbours = Arc::new(AtomicUsize::new(0));
        tokio::spawn(follow(receiver, node, log, Arc::clone(&neighbours)));
        tokio::spawn(stay(sender.clone(), bootstrap, Arc::clone(&neighbours)));
        Ok(Self { sender, neighbours, _router: router })
    }

    async fn lacks(&self) -> Option<String> {
        let neighbours = self.links().await;
        (neighbours < 2).then(|| format!("it has {neighbours} neighbours"))
    }

    async fn links(&self) -> usize {
        self.neighbours.load(Ordering::Relaxed)
    }

    async fn send(&self, payload: Vec<u8>) -> Result<()> {
        self.sender.broadcast(payload.into()).await.context("iroh-gossip has ended")
    }
}

async fn follow(mut receiver: GossipReceiver, node: usize, log: Log, neighbours: Arc<AtomicUsize>) {
    while let Some(event) = receiver.next().await {
        match event {
            Ok(Event::Received(message)) => log.got(&message.content, node),
            Ok(Event::NeighborUp(_) | Event::NeighborDown(_)) => {
                neighbours.store(receiver.neighbors().count(), Ordering::Relaxed);
            }
            Ok(Event::Lagged) => eprintln!("iroh-gossip: node {node} lags behind"),
            Err(error) => return eprintln!("iroh-gossip: node {node} has ended: {error}"),
        }
    }
}

async fn stay(sender: GossipSender, bootstrap: Vec<EndpointId>, neighbours: Arc<AtomicUsize>) {
    loop {
        tokio::time::sleep(JOIN_AGAIN_AFTER).await;
        if neighbours.load(Ordering::Relaxed) == 0 && sender.join_peers(bootstrap.clone()).await.is_err() {
            return;
        }
    }
}
