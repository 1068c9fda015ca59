//! A network as processes on one machine.
//!
//! Knows ports, folders and configuration files; starts nothing and looks at nothing. A peer's file does not depend on
//! how many peers there are (beyond the first three of a pool), so that scaling leaves the others alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sorcha_peer_config::raw::{RawBootstrap, RawConfig, RawListen, RawState, RawTls};

use crate::coverage;
use crate::names;
use crate::peer_config;
use crate::validate::Validated;

/// From one peer's ports to the next one's by preference.
pub const PORTS_STRIDE: u16 = 20;

/// Why there is no plan. Nothing was started or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// All blocks of ports are taken.
    #[error(
        "spec.replicas: no ports are left for peer {peer}: three in a row are needed at 7450, 7470 and so on up to \
         65535. Lower spec.replicas, or stop what holds the ports."
    )]
    NoPorts {
        /// The peer that got none.
        peer: String,
    },
    /// A path that no configuration file can hold.
    #[error("the state directory {0:?} is not text (UTF-8): choose another one.")]
    DirectoryNotText(PathBuf),
}

/// What local mode observed before it planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedMachine {
    /// Directory of the network's state: one folder per peer, CA, `endpoints.json`.
    pub state_directory: PathBuf,
    /// Ports given to peers earlier, kept while the peer lives: (peer name, ports).
    pub ports_assigned: Vec<(String, Ports)>,
    /// Ports that somebody else holds.
    pub ports_taken: Vec<u16>,
}

/// Ports of one peer on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// TLS, for peers; 7450 + 20 * i by preference.
    pub peer: u16,
    /// Local API; 7451 + 20 * i.
    pub api: u16,
    /// Metrics and health; 7452 + 20 * i.
    pub admin: u16,
}

/// Everything that local mode does, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPlan {
    /// The manifest's name.
    pub network: String,
    /// `spec.networkId`.
    pub network_id: String,
    /// Trust domain of the local CA.
    pub trust_domain: String,
    /// In order of pool, then ordinal.
    pub peers: Vec<PeerProcess>,
    /// What the manifest says and local mode does not do.
    pub notices: Vec<Notice>,
}

/// One peer process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerProcess {
    /// `<network>-<pool>-<ordinal>`.
    pub name: String,
    /// Pool.
    pub pool: String,
    /// Within its pool, from 0.
    pub ordinal: u32,
    /// SPIFFE URI for its certificate.
    pub uri: String,
    /// Its folder: `peer.yaml`, `tls/`, `state/`, `peer.log`.
    pub directory: PathBuf,
    /// Its ports.
    pub ports: Ports,
    /// Its configuration file, complete.
    pub config: RawConfig,
}

/// A manifest field that local mode ignores, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Path, such as `spec.resources`.
    pub field: String,
    /// As a sentence.
    pub message: String,
}

impl Ports {
    /// The three ports from a first one on; none beyond 65535.
    fn block(first: u16) -> Option<Self> {
        Some(Self { peer: first, api: first.checked_add(1)?, admin: first.checked_add(2)? })
    }

    /// All three.
    pub fn all(self) -> [u16; 3] {
        [self.peer, self.api, self.admin]
    }
}

/// Decides every process of a network: names, ports, folders and complete configuration files.
pub fn plan_processes(network: &Validated, machine: &ObservedMachine) -> Result<ProcessPlan, PlanError> {
    let members: Vec<(&str, u32)> = network
        .pools
        .iter()
        .flat_map(|pool| (0..pool.replicas).map(|ordinal| (pool.name.as_str(), ordinal)))
        .collect();
    let ports = ports(network, &members, machine)?;
    let given: BTreeMap<(&str, u32), Ports> = members.iter().copied().zip(ports).collect();
    let shared = peer_config::shared(network);
    let peers = members.iter().map(|&(pool, ordinal)| {
        let name = names::peer(&network.name, pool, ordinal);
        let ports = given[&(pool, ordinal)];
        let seeds = peer_config::seeds(pool).into_iter();
        let seeds = seeds.filter_map(|seed| given.get(&seed)).map(|ports| address(ports.peer));
        let directory = machine.state_directory.join(&name);
        let config = RawConfig {
            name: Some(name.clone()),
            listen: RawListen {
                peer: Some(address(ports.peer)),
                api: Some(address(ports.api)),
                admin: Some(address(ports.admin)),
            },
            advertise: Some(vec![address(ports.peer)]),
            bootstrap: RawBootstrap { addresses: Some(peer_config::bootstrap(seeds, network)) },
            tls: RawTls { directory: Some(text(&directory.join("tls"))?) },
            state: RawState { directory: Some(text(&directory.join("state"))?), ..shared.state.clone() },
            ..shared.clone()
        };
        let uri = names::peer_uri(&network.spec.tls.trust_domain, &network.network_id, &name);
        Ok(PeerProcess { name, pool: pool.to_owned(), ordinal, uri, directory, ports, config })
    });
    Ok(ProcessPlan {
        network: network.name.clone(),
        network_id: network.network_id.clone(),
        trust_domain: network.spec.tls.trust_domain.clone(),
        peers: peers.collect::<Result<_, _>>()?,
        notices: coverage::notices(&network.spec),
    })
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn text(path: &Path) -> Result<String, PlanError> {
    path.to_str().map(str::to_owned).ok_or_else(|| PlanError::DirectoryNotText(path.to_owned()))
}

/// Ports in order of the members: those that a peer already has, else the first free block from the preferred one on.
fn ports(
    network: &Validated,
    members: &[(&str, u32)],
    machine: &ObservedMachine,
) -> Result<Vec<Ports>, PlanError> {
    let foreign: BTreeSet<u16> = machine.ports_taken.iter().copied().collect();
    let mut assigned: BTreeMap<&str, Ports> = BTreeMap::new();
    let mut used: BTreeSet<u16> = foreign.clone();
    for (name, ports) in &machine.ports_assigned {
        // a record that clashes with somebody else, or with an earlier record, is worth nothing
        if ports.all().iter().all(|port| !used.contains(port)) {
            used.extend(ports.all());
            assigned.insert(name, *ports);
        }
    }
    let mut planned = Vec::new();
    for (place, (pool, ordinal)) in (0..).zip(members) {
        let name = names::peer(&network.name, pool, *ordinal);
        let ports = match assigned.get(name.as_str()) {
            Some(ports) => *ports,
            None => free_block(place, &used).ok_or(PlanError::NoPorts { peer: name })?,
        };
        used.extend(ports.all());
        planned.push(ports);
    }
    Ok(planned)
}

fn free_block(place: u32, used: &BTreeSet<u16>) -> Option<Ports> {
    let preferred = u16::try_from(u32::from(names::PORT_PEER) + u32::from(PORTS_STRIDE) * place).ok()?;
    (preferred..=u16::MAX)
        .step_by(PORTS_STRIDE.into())
        .filter_map(Ports::block)
        .find(|ports| ports.all().iter().all(|port| !used.contains(port)))
}
