//! What this machine looks like before a plan is made: ports given earlier, ports that somebody else holds.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use sorcha_operator_plan::processes::{ObservedMachine, Ports};
use sorcha_peer_config::raw::RawConfig;

use super::state::{PeerFolder, StateDirectory};

/// First port of the first peer (docs/local-mode.md).
const FIRST_PORT: u16 = 7450;
/// Ports from one peer to the next (docs/local-mode.md).
const PORTS_PER_PEER: u16 = 20;
/// Places beyond the peers wanted that are looked at, so that other networks on this machine leave room. A guess.
const SPARE_PLACES: u16 = 64;
/// A peer's configuration is a few KiB; what is longer is not one.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Looks at the state directory and tries every port that a network of this many peers may get. Ports in `own`
/// are held by the network's running peers and not taken.
pub(super) fn observe(state: &StateDirectory, peers: usize, own: &BTreeSet<u16>) -> ObservedMachine {
    let ports_assigned = assigned(state);
    let places = u16::try_from(peers).unwrap_or(u16::MAX).saturating_add(SPARE_PLACES);
    let last = FIRST_PORT.saturating_add(places.saturating_mul(PORTS_PER_PEER));
    let earlier = ports_assigned.iter().flat_map(|(_, Ports { peer, api, admin })| [*peer, *api, *admin]);
    let candidates: BTreeSet<u16> = (FIRST_PORT..=last).chain(earlier).collect();
    let ports_taken = candidates.into_iter().filter(|port| !own.contains(port) && is_taken(*port)).collect();
    ObservedMachine { state_directory: state.root().to_owned(), ports_assigned, ports_taken }
}

/// True when nobody can listen on this port of the loopback address now.
pub(super) fn is_taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// From the `peer.yaml` of every folder: also of peers scaled away, which get the same ports when they return.
fn assigned(state: &StateDirectory) -> Vec<(String, Ports)> {
    let mut found: Vec<(String, Ports)> = fs::read_dir(state.root())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let path = PeerFolder(&entry.path()).config();
            if fs::metadata(&path).ok()?.len() > CONFIG_BYTES_MAX {
                return None;
            }
            let config: RawConfig = serde_saphyr::from_str(&fs::read_to_string(path).ok()?).ok()?;
            Some((name, ports_of(&config)?))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn ports_of(config: &RawConfig) -> Option<Ports> {
    let port = |address: &Option<String>| address.as_deref()?.rsplit_once(':')?.1.parse().ok();
    let listen = &config.listen;
    Some(Ports { peer: port(&listen.peer)?, api: port(&listen.api)?, admin: port(&listen.admin)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_given_earlier_are_read_back_and_held_ones_are_taken() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let state = StateDirectory::open(base.path(), "quickstart").expect("opened");
        let held = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address").port();
        let listener = TcpListener::bind(("127.0.0.1", held)).expect("bound again");
        let folder = state.root().join("quickstart-peers-3");
        state::make(&folder, held);
        fs::create_dir(state.root().join("ca")).expect("made");

        let observed = observe(&state, 1, &BTreeSet::new());
        let ports = Ports { peer: held, api: 7451, admin: 7452 };
        assert_eq!(observed.ports_assigned, [("quickstart-peers-3".to_owned(), ports)]);
        assert!(observed.ports_taken.contains(&held));
        assert!(!observe(&state, 1, &BTreeSet::from([held])).ports_taken.contains(&held));
        drop(listener);
        assert!(!observe(&state, 1, &BTreeSet::new()).ports_taken.contains(&held));
    }

    mod state {
        use std::fs;
        use std::path::Path;

        pub(super) fn make(folder: &Path, peer: u16) {
            fs::create_dir(folder).expect("made");
            let listen = format!(
                "listen:\n  peer: 127.0.0.1:{peer}\n  api: 127.0.0.1:7451\n  admin: 127.0.0.1:7452\n"
            );
            fs::write(folder.join("peer.yaml"), listen).expect("written");
        }
    }
}
