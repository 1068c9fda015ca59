//! `endpoints.json`: how other programs on this machine find the peers of a network by name.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sorcha_operator_plan::processes::{PeerProcess, Ports};

use super::error::LocalError;
use super::state;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Endpoints {
    /// The manifest's name.
    pub(super) network: String,
    /// In order of pool, then ordinal.
    pub(super) peers: Vec<Endpoint>,
}

/// One peer of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Endpoint {
    /// Name of the peer.
    pub(super) name: String,
    /// Its process; absent while it waits for its restart.
    pub(super) pid: Option<u32>,
    /// TLS address for peers.
    pub(super) peer: String,
    /// Address of the local API.
    pub(super) api: String,
    /// Address of metrics and health.
    pub(super) admin: String,
    /// Its folder.
    pub(super) directory: PathBuf,
}

impl Endpoint {
    /// Of a process in the plan.
    pub(super) fn of(process: &PeerProcess, pid: Option<u32>) -> Self {
        let Ports { peer, api, admin } = process.ports;
        let address = |port: u16| format!("127.0.0.1:{port}");
        Self {
            name: process.name.clone(),
            pid,
            peer: address(peer),
            api: address(api),
            admin: address(admin),
            directory: process.directory.clone(),
        }
    }
}

/// Writes the file whole, where something changed.
pub(super) fn write(path: &Path, endpoints: &Endpoints) -> Result<(), LocalError> {
    let mut text = serde_json::to_vec_pretty(endpoints).expect("strings and numbers always have a JSON form");
    text.push(b'\n');
    state::write_changed(path, &text, 0o644).map(drop)
}
