//! Which peer a command speaks to: by name through a local network's `endpoints.json`, or by address.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::listen::ApiAddress;
use crate::cli::console::Failure;

/// Where the local API listens by default.
pub const API_DEFAULT: &str = "127.0.0.1:7451";

/// `endpoints.json`, written by local mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Name of the network's manifest.
    pub network: String,
    /// Its peers.
    pub peers: Vec<Endpoint>,
}

/// One peer of a local network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `<network>-<pool>-<ordinal>`.
    pub name: String,
    /// Local API.
    pub api: String,
}

/// What the command line says of the peer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target<'a> {
    /// `--peer`.
    pub peer: Option<&'a str>,
    /// `--endpoints`.
    pub endpoints: Option<&'a Path>,
    /// `--api`.
    pub api: Option<&'a str>,
}

impl Target<'_> {
    /// The address of its local API.
    pub fn resolve(&self) -> Result<ApiAddress, Failure> {
        match (self.peer, self.endpoints) {
            (Some(name), Some(file)) => find(name, &[vec![file.to_owned()]]),
            (Some(name), None) => find(name, &known_files()),
            (None, _) => parse(self.api.unwrap_or(API_DEFAULT)),
        }
    }
}

fn parse(address: &str) -> Result<ApiAddress, Failure> {
    address.parse().map_err(|wrong: crate::api::listen::NotAnAddress| Failure::Usage(wrong.to_string()))
}

/// Groups of files, the nearest first: of networks started from this directory, then of this user.
fn known_files() -> Vec<Vec<PathBuf>> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")));
    let mut roots = vec![PathBuf::from("target/sorcha")];
    roots.extend(state.map(|state| state.join("sorcha")));
    roots.iter().map(|root| files_under(root)).collect()
}

/// `ROOT/*/endpoints.json`, in order of name.
fn files_under(root: &Path) -> Vec<PathBuf> {
    let Ok(networks) = std::fs::read_dir(root) else { return Vec::new() };
    let mut files: Vec<PathBuf> = networks
        .filter_map(|network| Some(network.ok()?.path().join("endpoints.json")))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    files
}

/// The first group that knows the name decides.
fn find(name: &str, groups: &[Vec<PathBuf>]) -> Result<ApiAddress, Failure> {
    let mut known = Vec::new();
    for group in groups {
        let mut here = Vec::new();
        for file in group {
            here.extend(read(file)?.peers);
        }
        if let Some(endpoint) = pick(name, &here)? {
            return parse(&endpoint.api);
        }
        known.extend(here.into_iter().map(|endpoint| endpoint.name));
    }
    Err(Failure::Usage(if known.is_empty() {
        format!(
            "no peer '{name}' is known, for no local network was found: start one with `cargo xtask up`, or name an address with --api or a file with --endpoints"
        )
    } else {
        format!("no peer '{name}' is known; known: {}", known.join(", "))
    }))
}

fn read(file: &Path) -> Result<Endpoints, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}; it is there while its network runs: start that, or name another with --endpoints", file.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{} is no endpoints file: {error}", file.display())))
}

/// By full name, else by the end after a dash.
fn pick<'a>(name: &str, known: &'a [Endpoint]) -> Result<Option<&'a Endpoint>, Failure> {
    let exact = |endpoint: &&Endpoint| endpoint.name == name;
    let ends = |endpoint: &&Endpoint| {
        endpoint.name.strip_suffix(name).is_some_and(|rest| !name.is_empty() && rest.ends_with('-'))
    };
    for found in [known.iter().filter(exact).collect::<Vec<_>>(), known.iter().filter(ends).collect()] {
        match found.as_slice() {
            [] => {}
            [one] => return Ok(Some(one)),
            many => {
                let names: Vec<_> = many.iter().map(|endpoint| endpoint.name.as_str()).collect();
                let names = names.join(", ");
                return Err(Failure::Usage(format!(
                    "'{name}' means more than one peer: {names}; write more of the name"
                )));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(root: &Path, name: &str, peers: &[(&str, &str)]) -> PathBuf {
        let directory = root.join(name);
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let peers: Vec<_> = peers
            .iter()
            .map(|(name, api)| serde_json::json!({ "name": name, "pid": 1, "peer": "127.0.0.1:1", "api": api, "admin": "127.0.0.1:3", "directory": "/x" }))
            .collect();
        let file = directory.join("endpoints.json");
        let text = serde_json::json!({ "network": name, "peers": peers }).to_string();
        std::fs::write(&file, text).expect("a temporary directory");
        file
    }

    #[test]
    fn a_peer_is_found_by_its_name_or_the_end_of_it() {
        let root = tempfile::tempdir().expect("a temporary directory");
        network(
            root.path(),
            "quickstart",
            &[
                ("quickstart-peers-1", "127.0.0.1:1"),
                ("quickstart-peers-11", "127.0.0.1:11"),
                ("quickstart-edge-1", "127.0.0.1:21"),
            ],
        );
        network(root.path(), "other", &[("other-peers-7", "unix:/run/7")]);
        let groups = [files_under(root.path())];
        let check = |name: &str, expected: &str| {
            let found = find(name, &groups).map_or_else(|failure| failure.to_string(), |it| it.to_string());
            assert!(found.contains(expected), "{name}: {found}");
        };
        check("quickstart-peers-1", "127.0.0.1:1");
        check("peers-1", "127.0.0.1:1");
        check("peers-11", "127.0.0.1:11");
        check("11", "127.0.0.1:11");
        check("7", "unix:/run/7");
        check("1", "more than one peer: quickstart-peers-1, quickstart-edge-1");
        check(
            "9",
            "no peer '9' is known; known: other-peers-7, quickstart-peers-1, quickstart-peers-11, quickstart-edge-1",
        );
        check("", "no peer '' is known");
    }

    #[test]
    fn the_nearest_network_goes_before_the_users() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let near = network(root.path(), "a", &[("a-peers-0", "127.0.0.1:1")]);
        let far = network(root.path(), "b", &[("b-peers-0", "127.0.0.1:2"), ("b-peers-1", "127.0.0.1:3")]);
        let groups = [vec![near], vec![far]];
        assert_eq!(find("0", &groups).expect("near").to_string(), "127.0.0.1:1");
        assert_eq!(find("1", &groups).expect("far").to_string(), "127.0.0.1:3");
    }

    #[test]
    fn a_broken_file_and_a_missing_network_are_told() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let file = root.path().join("endpoints.json");
        std::fs::write(&file, "[]").expect("a temporary directory");
        let broken = find("0", &[vec![file]]).expect_err("no object");
        assert!(broken.to_string().contains("is no endpoints file"), "{broken}");
        let none = find("0", &[files_under(&root.path().join("missing"))]).expect_err("nothing there");
        assert!(none.to_string().contains("no local network was found") && none.code() == 2, "{none}");
    }
}
