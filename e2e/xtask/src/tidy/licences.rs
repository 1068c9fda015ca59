//! Licences and origins of all dependencies, by `deny.toml`, for machines without cargo-deny.
//!
//! cargo-deny reads the same file and adds known vulnerabilities; this reads what cargo itself knows.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Violation;
use crate::shell::Workspace;

/// Where dependencies may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Every dependency has an allowed licence and comes from crates.io.
pub(super) fn check(workspace: &Workspace, metadata: &Value) -> Result<Vec<Violation>> {
    let text =
        std::fs::read_to_string(workspace.root().join("deny.toml")).context("deny.toml cannot be read")?;
    let allowed = allowed(&text);
    let in_use: Vec<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let used = packages.iter().filter(|package| in_use.contains(&package["id"].as_str().unwrap_or_default()));
    Ok(used.flat_map(|package| judge(package, &allowed)).collect())
}

fn judge(package: &Value, allowed: &[String]) -> Vec<Violation> {
    let name =
        format!("{} {}", package["name"].as_str().unwrap_or("?"), package["version"].as_str().unwrap_or("?"));
    let mut found = Vec::new();
    if let Some(source) = package["source"].as_str().filter(|source| *source != REGISTRY) {
        let says = format!("`{name}` comes from {source}: depend on crates.io only");
        found.push(Violation::new("Cargo.lock", 0, says));
    }
    let licence = package["license"].as_str().unwrap_or("no licence that it names");
    if !satisfied(licence, allowed) {
        let says = format!(
            "`{name}` has {licence}, which deny.toml does not allow: replace the crate, or allow it there with a reason"
        );
        found.push(Violation::new("Cargo.lock", 0, says));
    }
    found
}

/// The strings of `allow = [ … ]` in `[licenses]`.
fn allowed(deny: &str) -> Vec<String> {
    let section = deny.split("[licenses]").nth(1).unwrap_or_default();
    let list = section.split("allow = [").nth(1).unwrap_or_default();
    let list = list.split(']').next().unwrap_or_default();
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .flat_map(|line| line.split(','))
        .map(|entry| entry.trim().trim_matches('"').to_owned())
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// Whether a licence expression (SPDX; older crates write `/` for `OR`) can be met with what is allowed.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let spaced = spaced.replace(" WITH ", "\u{a0}WITH\u{a0}");
    let words: Vec<String> =
        spaced.split(' ').filter(|w| !w.is_empty()).map(|w| w.replace('\u{a0}', " ")).collect();
    let mut at = 0;
    any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[String], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all(words, at, allowed);
    while words.get(*at).is_some_and(|word| word == "OR") {
        *at += 1;
        met |= all(words, at, allowed);
    }
    met
}

fn all(words: &[String], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at).is_some_and(|word| word == "AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[String], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if word != "(" {
        return allowed.contains(word);
    }
    let met = any(words, at, allowed);
    let closed = words.get(*at).is_some_and(|word| word == ")");
    *at += 1;
    met && closed
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str =
        "[graph]\n[licenses]\nallow = [\n  \"MIT\", # short\n  \"ISC\",\n  \"Apache-2.0\",\n]\n[bans]\n";

    fn check_expression(expression: &str, met: bool) {
        assert_eq!(satisfied(expression, &allowed(DENY)), met, "{expression}");
    }

    #[test]
    fn an_expression_is_met_by_one_of_its_alternatives() {
        check_expression("MIT", true);
        check_expression("GPL-3.0", false);
        check_expression("GPL-3.0 OR MIT", true);
        check_expression("MIT/GPL-3.0", true);
        check_expression("(GPL-3.0 OR MIT) AND ISC", true);
        check_expression("(MIT OR ISC) AND Unicode-3.0", false);
        check_expression("Apache-2.0 WITH LLVM-exception OR ISC", true);
        check_expression("Apache-2.0 WITH LLVM-exception", false);
        check_expression("no licence that it names", false);
    }

    #[test]
    fn a_dependency_from_elsewhere_is_found() {
        let package = |source: &str| serde_json::json!({ "name": "a", "version": "1.0.0", "license": "MIT", "source": source });
        assert_eq!(judge(&package(REGISTRY), &allowed(DENY)), []);
        assert!(
            judge(&package("git+https://example.org/a"), &allowed(DENY))[0].says.contains("crates.io only")
        );
    }
}
