//! rust-libp2p's gossipsub over TCP, Noise and Yamux, with the defaults of the library: signed messages, a mesh of 6 of 5 to 12,
//! flood publishing (an own message goes to every connection, not to the mesh alone). A second run leaves flood publishing out,
//! for fewer bytes.
//!
//! Different from the defaults: messages of up to 128 KiB instead of 64 KiB, and connections are kept while they are idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use libp2p::futures::StreamExt as _;
use libp2p::gossipsub::{self, Behaviour, IdentTopic, MessageAuthenticity};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identity, noise, tcp, yamux};
use tokio::sync::mpsc;

use crate::node::{Log, Rival};
use crate::plan::Plan;

/// Bytes of a message at most.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// How often who is not connected is dialled again, and counts are taken.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One swarm.
#[derive(Debug)]
pub struct Gossipsub<const FLOOD: bool> {
    messages: mpsc::Sender<Vec<u8>>,
    mesh: Arc<AtomicUsize>,
    mesh_min: usize,
    connected: Arc<AtomicUsize>,
    connected_min: usize,
}

fn settings(flood: bool) -> Result<gossipsub::Config> {
    let mut builder = gossipsub::ConfigBuilder::default();
    builder.max_transmit_size(MESSAGE_BYTES_MAX).flood_publish(flood);
    builder.build().context("gossipsub's configuration")
}

/// What it runs with.
pub fn config(flood: bool) -> Result<String> {
    Ok(format!(
        "libp2p {}, libp2p-gossipsub {}; TCP with nodelay, Noise, Yamux; MessageAuthenticity::Signed; {:?}",
        crate::report::version("libp2p"),
        crate::report::version("libp2p-gossipsub"),
        settings(flood)?
    ))
}

impl<const FLOOD: bool> Rival for Gossipsub<FLOOD> {
    async fn start(plan: &Plan, node: usize, log: Log) -> Result<Self> {
        let config = settings(FLOOD)?;
        let mesh_low = config.mesh_n_low();
        let behaviour = |key: &identity::Keypair| {
            Behaviour::new(MessageAuthenticity::Signed(key.clone()), config)
                .map_err(|error| Box::<dyn std::error::Error + Send + Sync>::from(error))
        };
        let mut swarm = SwarmBuilder::with_existing_identity(key(plan, node)?)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
            .build();
        let topic = IdentTopic::new("transactions");
        swarm.behaviour_mut().subscribe(&topic)?;
        swarm.listen_on(multiaddr(plan, node)?)?;
        let targets: Vec<(PeerId, Multiaddr)> = plan.dials[node]
            .iter()
            .map(|other| Ok((key(plan, *other)?.public().to_peer_id(), multiaddr(plan, *other)?)))
            .collect::<Result<_>>()?;
        let (messages, queue) = mpsc::channel(64);
        let (mesh, connected) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let connected_min = targets.len();
        let one = One { swarm, topic, targets, node, log };
        tokio::spawn(one.run(queue, Arc::clone(&mesh), Arc::clone(&connected)));
        // In a small network, or with few connections, the mesh has all of them.
        let mesh_min = mesh_low.min(plan.nodes - 1).min(connected_min.max(1));
        Ok(Self { messages, mesh, mesh_min, connected, connected_min })
    }

    async fn lacks(&self) -> Option<String> {
        let (mesh, connected) = (self.mesh.load(Ordering::Relaxed), self.links().await);
        let ready = mesh >= self.mesh_min && connected >= self.connected_min;
        (!ready).then(|| format!("{connected} are connected, {mesh} of them in its mesh"))
    }

    async fn links(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    async fn send(&self, payload: Vec<u8>) -> Result<()> {
        self.messages.send(payload).await.context("the swarm has ended")
    }
}

struct One {
    swarm: Swarm<Behaviour>,
    topic: IdentTopic,
    targets: Vec<(PeerId, Multiaddr)>,
    node: usize,
    log: Log,
}

impl One {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Vec<u8>>,
        mesh: Arc<AtomicUsize>,
        connected: Arc<AtomicUsize>,
    ) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                Some(message) = queue.recv() => {
                    if let Err(error) = self.swarm.behaviour_mut().publish(self.topic.clone(), message) {
                        eprintln!("gossipsub does not publish: {error}");
                    }
                }
                _ = look.tick() => {
                    mesh.store(self.swarm.behaviour().mesh_peers(&self.topic.hash()).count(), Ordering::Relaxed);
                    connected.store(self.swarm.connected_peers().count(), Ordering::Relaxed);
                    self.dial();
                }
                event = self.swarm.select_next_some() => {
                    if let SwarmEvent::Behaviour(gossipsub::Event::Message { message, .. }) = event {
                        self.log.got(&message.data, self.node);
                    }
                }
            }
        }
    }

    /// The others are started at the same time: who is not there yet is dialled again.
    fn dial(&mut self) {
        for (peer, address) in &self.targets {
            let options = DialOpts::peer_id(*peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(vec![address.clone()]);
            match self.swarm.dial(options.build()) {
                Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(error) => eprintln!("gossipsub does not dial: {error}"),
            }
        }
    }
}

fn key(plan: &Plan, node: usize) -> Result<identity::Keypair> {
    Ok(identity::Keypair::ed25519_from_bytes(plan.key(node))?)
}

fn multiaddr(plan: &Plan, node: usize) -> Result<Multiaddr> {
    let address = plan.address(node);
    Ok(format!("/ip4/{}/tcp/{}", address.ip(), address.port()).parse()?)
}
