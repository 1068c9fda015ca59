//! Floors and purity as facts of Cargo: who may depend on whom, and what must never be reached.
//!
//! The table below mirrors ARCHITECTURE.md, "Floors". A crate that is missing here is a violation.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Violation;
use crate::shell::{Workspace, output};

/// One crate of the workspace.
struct Rule {
    name: &'static str,
    /// Imports go to lower floors only; so the two programs of floor 3 never meet.
    floor: u8,
    /// What its normal dependencies must not reach, with everything that they pull in.
    never: &'static [&'static str],
}

/// No runtime, no network, no TLS, no Kubernetes client, no entropy, no database.
const PURE: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "tonic",
    "hyper",
    "hyper-util",
    "axum",
    "tower",
    "reqwest",
    "rustls",
    "ring",
    "kube-client",
    "kube-runtime",
    "getrandom",
    "fastrand",
    "redb",
    "rustix",
    "tempfile",
    "tracing",
    "prometheus",
    "web-time",
];

/// Types only: as pure, apart from what kube's derive and k8s-openapi need.
const TYPES: &[&str] = &["tokio", "hyper", "tonic", "axum", "rustls", "kube-client", "kube-runtime", "redb"];

/// No network, no runtime.
const OFFLINE: &[&str] = &["tokio", "hyper", "tonic", "axum", "kube-client", "redb"];

/// xtask builds in seconds and judges the workspace from outside.
const LIGHT: &[&str] = &["tokio", "hyper", "tonic", "kube", "rustls", "redb", "serde-saphyr"];

const ANY: &[&str] = &[];

const RULES: [Rule; 12] = [
    Rule { name: "sorcha-proto", floor: 0, never: TYPES },
    Rule { name: "sorcha-peer-core", floor: 0, never: PURE },
    Rule { name: "sorcha-crds", floor: 0, never: TYPES },
    Rule { name: "sorcha-peer-config", floor: 1, never: OFFLINE },
    Rule { name: "sorcha-peer-wire", floor: 1, never: OFFLINE },
    Rule { name: "sorcha-peer-pki", floor: 1, never: OFFLINE },
    Rule { name: "sorcha-peer-sim", floor: 2, never: OFFLINE },
    Rule { name: "sorcha-operator-plan", floor: 2, never: PURE },
    Rule { name: "sorcha-peer", floor: 3, never: &["kube", "kube-client", "k8s-openapi"] },
    Rule { name: "sorcha-operator", floor: 3, never: &["redb"] },
    Rule { name: "sorcha-e2e", floor: 4, never: ANY },
    Rule { name: "xtask", floor: 4, never: LIGHT },
];

/// Of these the tree holds one version each: two would not understand each other's types.
const ONE_COPY: [&str; 6] = ["hyper", "http", "tower", "rustls", "tonic", "prost"];

/// All rules about the crates of the workspace.
pub(super) fn check(workspace: &Workspace, metadata: &Value) -> Result<Vec<Violation>> {
    let architecture = std::fs::read_to_string(workspace.root().join("ARCHITECTURE.md"));
    let architecture = architecture.context("ARCHITECTURE.md cannot be read")?;
    let members = members(metadata, &workspace.root().to_string_lossy())?;
    let mut found = floors(&members);
    found.extend(one_copy(metadata));
    for member in &members {
        let text = std::fs::read_to_string(workspace.root().join(&member.manifest))?;
        found.extend(manifest(member, &text));
        if !architecture.contains(&format!("`{}`", member.name)) {
            let says = format!("does not name the crate `{}`: give it a floor and a line", member.name);
            found.push(Violation::new("ARCHITECTURE.md", 0, says));
        }
        let Some(rule) = RULES.iter().find(|rule| rule.name == member.name) else { continue };
        if !rule.never.is_empty() {
            found.extend(reached(member, rule, &closure(workspace, member)?));
        }
    }
    Ok(found)
}

/// A crate of the workspace as cargo sees it.
#[derive(Debug, Clone, Default)]
struct Member {
    name: String,
    /// Path of its Cargo.toml from the root.
    manifest: String,
    description: String,
    /// Names of its direct dependencies of every kind.
    depends: Vec<String>,
}

fn members(metadata: &Value, root: &str) -> Result<Vec<Member>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let ids = metadata["workspace_members"].as_array().context("cargo metadata lists no members")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ours = packages.iter().filter(|package| ids.contains(&package["id"]));
    Ok(ours
        .map(|package| {
            let manifest = text(&package["manifest_path"]);
            let depends = package["dependencies"].as_array().into_iter().flatten();
            Member {
                name: text(&package["name"]),
                manifest: manifest.strip_prefix(root).unwrap_or(&manifest).trim_start_matches('/').to_owned(),
                description: text(&package["description"]),
                depends: depends.map(|dependency| text(&dependency["name"])).collect(),
            }
        })
        .collect())
}

fn floors(members: &[Member]) -> Vec<Violation> {
    let floors: BTreeMap<&str, u8> = RULES.iter().map(|rule| (rule.name, rule.floor)).collect();
    let mut found = Vec::new();
    for member in members {
        let Some(floor) = floors.get(member.name.as_str()) else {
            let says = format!(
                "the crate `{}` has no floor: add it to ARCHITECTURE.md and to RULES in e2e/xtask/src/tidy/crates.rs",
                member.name
            );
            found.push(Violation::new(&member.manifest, 0, says));
            continue;
        };
        for name in &member.depends {
            let Some(below) = floors.get(name.as_str()).filter(|below| *below >= floor) else { continue };
            let says = format!(
                "`{}` (floor {floor}) depends on `{name}` (floor {below}): imports go downwards only; move what both \
                 need to a lower floor",
                member.name
            );
            found.push(Violation::new(&member.manifest, 0, says));
        }
    }
    found
}

fn manifest(member: &Member, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let squeezed: Vec<String> = text.lines().map(|line| line.replace(' ', "")).collect();
    if !squeezed.windows(2).any(|pair| pair[0] == "[lints]" && pair[1] == "workspace=true") {
        let says = "does not inherit the workspace's lints: add `[lints]` with `workspace = true`";
        found.push(Violation::new(&member.manifest, 0, says));
    }
    if member.description.trim().is_empty() {
        found.push(Violation::new(
            &member.manifest,
            0,
            "the crate has no description: say what it is in a sentence",
        ));
    }
    found
}

/// Names of everything that a crate's normal dependencies pull in when it is built alone, features resolved for it.
fn closure(workspace: &Workspace, member: &Member) -> Result<Vec<String>> {
    let args = ["tree", "--package", &member.name, "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let text = output(workspace.cargo(args).args(["--format", "{p}"]))?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn reached(member: &Member, rule: &Rule, closure: &[String]) -> Vec<Violation> {
    let bad = rule.never.iter().filter(|never| closure.iter().any(|name| name == *never));
    bad.map(|never| {
        let says = format!(
            "`{0}` reaches `{never}`, which it must never: `cargo tree -p {0} -e normal -i {never}` shows the way; \
             drop the dependency or its feature",
            member.name
        );
        Violation::new(&member.manifest, 0, says)
    })
    .collect()
}

fn one_copy(metadata: &Value) -> Vec<Violation> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        // `registry+https://…#name@1.2.3`
        let id = package["id"].as_str().unwrap_or_default();
        if let Some((name, version)) = id.rsplit_once('#').and_then(|(_, spec)| spec.split_once('@')) {
            versions.entry(name).or_default().push(version);
        }
    }
    let twice = ONE_COPY.iter().filter_map(|name| versions.get(name).map(|found| (name, found)));
    twice
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| {
            let says =
                format!("`{name}` is in the tree as {}: keep one (`cargo tree -d`)", versions.join(" and "));
            Violation::new("Cargo.lock", 0, says)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, depends: &[&str]) -> Member {
        let depends = depends.iter().map(|name| (*name).to_owned()).collect();
        Member {
            name: name.to_owned(),
            manifest: "x/Cargo.toml".to_owned(),
            description: "X.".to_owned(),
            depends,
        }
    }

    fn check_floors(name: &str, depends: &[&str], part: Option<&str>) {
        let found = floors(&[member(name, depends)]);
        match part {
            None => assert_eq!(found, []),
            Some(part) => assert!(found.len() == 1 && found[0].says.contains(part), "{found:?}"),
        }
    }

    #[test]
    fn imports_go_downwards_only() {
        check_floors("sorcha-peer-core", &["sorcha-proto"], Some("imports go downwards only"));
        check_floors("sorcha-peer-core", &["bytes"], None);
        check_floors("sorcha-peer-sim", &["sorcha-peer-wire", "sorcha-peer-core"], None);
        check_floors("sorcha-operator", &["sorcha-peer"], Some("`sorcha-peer` (floor 3)"));
        check_floors("sorcha-peer", &["sorcha-operator"], Some("imports go downwards only"));
        check_floors("sorcha-new", &[], Some("has no floor"));
    }

    #[test]
    fn a_pure_crate_reaches_no_runtime() {
        let rule = RULES.iter().find(|rule| rule.name == "sorcha-peer-core").unwrap();
        let closure = ["bytes", "rand", "getrandom", "tokio"].map(str::to_owned);
        let found = reached(&member("sorcha-peer-core", &[]), rule, &closure);
        assert_eq!(found.len(), 2);
        assert!(found[0].says.contains("reaches `tokio`") && found[1].says.contains("reaches `getrandom`"));
        assert_eq!(reached(&member("sorcha-peer-core", &[]), rule, &closure[..2]), []);
    }

    #[test]
    fn a_crate_inherits_the_lints_and_says_what_it_is() {
        let mut bare = member("sorcha-peer", &[]);
        assert_eq!(manifest(&bare, "[lints]\nworkspace = true\n"), []);
        assert!(manifest(&bare, "[package]\n")[0].says.contains("does not inherit"));
        bare.description.clear();
        assert!(manifest(&bare, "[lints]\nworkspace = true\n")[0].says.contains("no description"));
    }

    #[test]
    fn two_versions_of_hyper_are_one_too_many() {
        let node = |spec: &str| serde_json::json!({ "id": format!("registry+https://example.org#{spec}") });
        let tree = |specs: &[&str]| {
            let nodes: Vec<Value> = specs.iter().map(|spec| node(spec)).collect();
            serde_json::json!({ "resolve": { "nodes": nodes } })
        };
        assert_eq!(one_copy(&tree(&["hyper@1.0.0", "syn@1.0.0", "syn@2.0.0"])), []);
        assert!(one_copy(&tree(&["hyper@1.0.0", "hyper@0.14.0"]))[0].says.contains("1.0.0 and 0.14.0"));
    }
}
