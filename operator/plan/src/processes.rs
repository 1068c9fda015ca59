//! A network as processes on one machine.

use std::path::PathBuf;

use sorcha_peer_config::raw::RawConfig;

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
