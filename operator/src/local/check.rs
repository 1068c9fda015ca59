//! Checks a plan before anything acts on it, without using any of the code that made it.

use std::collections::BTreeSet;
use std::path::Path;

use sorcha_operator_plan::processes::{PeerProcess, Ports, ProcessPlan};

/// The first rule that the plan breaks, as a sentence.
pub(super) fn check(plan: &ProcessPlan, root: &Path, ports_taken: &[u16]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for process in &plan.peers {
        let name = &process.name;
        if !names.insert(name) {
            return Err(format!("two peers are named {name}"));
        }
        if process.directory != root.join(name) {
            return Err(format!("the folder of {name} is {}", process.directory.display()));
        }
        let uri = format!("spiffe://{}/{}/{name}", plan.trust_domain, plan.network_id);
        if process.uri != uri {
            return Err(format!("the identity of {name} is {} instead of {uri}", process.uri));
        }
        let Ports { peer, api, admin } = process.ports;
        for port in [peer, api, admin] {
            if port == 0 || ports_taken.contains(&port) || !ports.insert(port) {
                return Err(format!("port {port} of {name} is not free"));
            }
        }
        agrees(process).map_err(|what| format!("the configuration of {name} has {what}"))?;
    }
    Ok(())
}

/// The configuration says the same as the rest of the plan.
fn agrees(process: &PeerProcess) -> Result<(), String> {
    let config = &process.config;
    let Ports { peer, api, admin } = process.ports;
    for (address, port) in
        [(&config.listen.peer, peer), (&config.listen.api, api), (&config.listen.admin, admin)]
    {
        let address = address.as_deref().unwrap_or_default();
        if address != format!("127.0.0.1:{port}") {
            return Err(format!("the address '{address}' for port {port}"));
        }
    }
    for (directory, expected) in [(&config.tls.directory, "tls"), (&config.state.directory, "state")] {
        let expected = process.directory.join(expected);
        if directory.as_deref().map(Path::new) != Some(expected.as_path()) {
            return Err(format!("the directory {directory:?} instead of {}", expected.display()));
        }
    }
    if config.name.as_deref() != Some(&process.name) {
        return Err(format!("the name {:?}", config.name));
    }
    Ok(())
}
