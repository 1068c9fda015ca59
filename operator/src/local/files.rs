//! Puts the plan on disk: a folder per peer with its configuration and its certificate.

use jiff::Timestamp;
use sorcha_operator_plan::processes::{PeerProcess, ProcessPlan};

use super::certificates;
use super::error::LocalError;
use super::state::{PeerFolder, StateDirectory, make_directory, write_changed};

/// First line of every `peer.yaml`.
const HEADING: &str = "# Written by `sorcha-operator local`; changes made here are written over.\n";

/// Writes what has changed. Returns the peers that got a certificate in place of an old one.
pub(super) fn write(
    state: &StateDirectory,
    plan: &ProcessPlan,
    now: Timestamp,
) -> Result<Vec<String>, LocalError> {
    for process in &plan.peers {
        let folder = PeerFolder(&process.directory);
        make_directory(&folder.state())?;
        write_changed(&folder.config(), config_text(process).as_bytes(), 0o644)?;
    }
    certify(state, &plan.trust_domain, &plan.peers, now)
}

/// Issues the certificates that are missing or no longer serve. Returns the peers whose old one was replaced.
pub(super) fn certify(
    state: &StateDirectory,
    trust_domain: &str,
    peers: &[PeerProcess],
    now: Timestamp,
) -> Result<Vec<String>, LocalError> {
    let authority = certificates::authority(&state.ca(), trust_domain, now)?;
    let mut renewed = Vec::new();
    for process in peers {
        let tls = PeerFolder(&process.directory).tls();
        let new = !tls.join(sorcha_peer_pki::files::CERTIFICATE_FILE).exists();
        if certificates::ensure(&tls, &authority, &process.uri, now)? && !new {
            renewed.push(process.name.clone());
        }
    }
    Ok(renewed)
}

fn config_text(process: &PeerProcess) -> String {
    let text = serde_saphyr::to_string(&process.config).expect("strings and numbers always have a YAML form");
    format!("{HEADING}{text}")
}
