//! Go: which is installed, and modules of our own in which programs of other people's modules are built.
//!
//! Knows what a `go.mod` must say so that they can be; which programs are wanted is said by `sets.rs`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::shell::output;

/// Major and minor version.
pub(super) type Version = (u32, u32);

/// Version of the `go` in PATH.
pub(super) fn version(otherwise: &str) -> Result<Version> {
    let mut go = Command::new("go");
    // The Go that is installed, not one that it would fetch.
    go.arg("version").env("GOTOOLCHAIN", "local");
    let Ok(said) = output(&mut go) else {
        bail!(
            "there is no working `go` in PATH, and these programs are built by it: install Go \
             (https://go.dev/dl; that of a distribution may be too old), or {otherwise}"
        );
    };
    parse_version(&said).with_context(|| format!("`go version` says {:?}, no version", said.trim()))
}

/// `go version go1.26.8 linux/amd64`
fn parse_version(said: &str) -> Option<Version> {
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let minor: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((1, minor.parse().ok()?))
}

/// A `go` that makes static programs and gives way to whatever else the machine does: hours later is fine.
pub(super) fn command(work: &Path, args: &[&str]) -> Command {
    let mut go = Command::new("nice");
    go.args(["-n", "19", "go"]).current_dir(work).args(args).env("CGO_ENABLED", "0").env("GOWORK", "off");
    go
}

/// Writes the `go.mod` in which programs of Kubernetes are built.
pub(super) fn write_kubernetes_module(work: &Path, version: &str) -> Result<()> {
    let found =
        output(&mut command(work, &["mod", "download", "-json", &format!("k8s.io/kubernetes@v{version}")]))?;
    let found: Value = serde_json::from_str(&found)?;
    let module = found["GoMod"].as_str().context("`go mod download` names no go.mod")?;
    let module = std::fs::read_to_string(module).with_context(|| format!("{module} cannot be read"))?;
    std::fs::write(work.join("go.mod"), kubernetes_module(version, &module)?)?;
    Ok(())
}

/// Writes the `go.mod` in which programs of one ordinary module are built.
pub(super) fn write_module(work: &Path, module: &str, version: &str, go: Version) -> Result<()> {
    let text = format!("module sorcha.org/assets\n\ngo {}.{}.0\n\nrequire {module} v{version}\n", go.0, go.1);
    std::fs::write(work.join("go.mod"), text)?;
    Ok(())
}

/// `go.mod` of a module of our own in which Kubernetes can be built: the parts that lie in its own repository as
/// `./staging/src/...` are taken from the modules under which they are released, v0.X.Y for v1.X.Y.
fn kubernetes_module(version: &str, kubernetes: &str) -> Result<String> {
    let part = version.strip_prefix("1.").context("a version of Kubernetes begins with 1.")?;
    let mut text = String::from("module sorcha.org/assets\n\n");
    for line in kubernetes.lines().filter(|line| line.starts_with("go ") || line.starts_with("godebug ")) {
        text += line;
        text.push('\n');
    }
    text.extend(["\nrequire k8s.io/kubernetes v", version, "\n\n"]);
    let mut parts = 0;
    for line in kubernetes.lines() {
        let Some((name, path)) = line.split_once(" => ") else { continue };
        if path.starts_with("./staging/") {
            let name = name.trim().trim_start_matches("replace ");
            text.extend(["replace ", name, " => ", name, " v0.", part, "\n"]);
            parts += 1;
        }
    }
    ensure!(
        parts > 0,
        "the module of Kubernetes {version} names none of its parts: it is built in another way now"
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_is_read_from_its_own_words() {
        fn check(said: &str, wanted: Option<Version>) {
            assert_eq!(parse_version(said), wanted, "{said}");
        }
        check("go version go1.26.8 linux/amd64\n", Some((1, 26)));
        check("go version go1.27rc1 linux/arm64\n", Some((1, 27)));
        check("go version devel go1.28-abcdef linux/amd64\n", Some((1, 28)));
        check("gccgo (Debian) 12\n", None);
    }

    #[test]
    fn parts_of_kubernetes_are_taken_from_their_released_modules() {
        let kubernetes = "\
module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

require (
\tk8s.io/api v0.0.0
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\texample.org/other => example.org/fork v1.0.0
)
";
        let own = kubernetes_module("1.37.2", kubernetes).expect("it names a part");
        assert_eq!(
            own,
            "module sorcha.org/assets\n\ngo 1.26.0\ngodebug default=go1.26\n\n\
             require k8s.io/kubernetes v1.37.2\n\nreplace k8s.io/api => k8s.io/api v0.37.2\n"
        );
        assert!(
            kubernetes_module("1.37.2", "module k8s.io/kubernetes\n").is_err(),
            "without parts it cannot be built"
        );
    }
}
