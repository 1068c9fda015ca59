//! etcd, kube-apiserver and kubectl for the tests that need a real API server, built from their Go modules.
//!
//! Knows versions, and how programs are built whose modules are not made for it; what is done with the programs is
//! known to the tests (`e2e/src/apiserver.rs`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{human, output, run as run_command, say};

/// Build the API servers that the tests use, or say that they are built already.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds etcd, kube-apiserver and kubectl of the oldest and the newest Kubernetes that is supported, and keeps them:
a second call has nothing to do. Needs Go, about 20 minutes of one processor and 5 GB in Go's caches the first time.

Tests find them by themselves. KUBEBUILDER_ASSETS=<a directory with etcd, kube-apiserver and kubectl> comes first.")]
pub(crate) struct Args {
    /// Where they are kept, a directory for each version [default: sorcha/assets below XDG_CACHE_HOME or ~/.cache].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A release of Kubernetes. Its own module says which etcd and which other modules belong to it.
struct Release {
    version: &'static str,
    /// Oldest Go that compiles it, as its module says.
    go: (u32, u32),
}

/// Oldest and newest supported release: the ends of what k8s-openapi 0.29 knows. Newest patch of each.
const RELEASES: [Release; 2] =
    [Release { version: "1.33.13", go: (1, 24) }, Release { version: "1.37.2", go: (1, 26) }];

/// Go package and the name of its program.
const PROGRAMS: [(&str, &str); 3] = [
    ("go.etcd.io/etcd/server/v3", "etcd"),
    ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
    ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
];

/// Names the releases that the tests use, one on each line, oldest first; lies beside their directories.
const CURRENT: &str = "current";

/// Lies beside the programs of a release once all of them are whole.
const STAMP: &str = ".stamp";

/// Goes up whenever the same release is to be built in another way.
const RECIPE: &str = "1";

/// How much this gives way to whatever else the machine does: hours later is fine, so the most there is.
const NICENESS: i32 = 19;

/// Builds what is missing.
pub(crate) fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let directory = match &args.dir {
        Some(directory) => std::path::absolute(directory)?,
        None => cache()?.join("sorcha/assets"),
    };
    let missing: Vec<&Release> =
        RELEASES.iter().filter(|release| !is_built(&directory.join(release.version), release)).collect();
    if let Some(newest) = missing.iter().map(|release| release.go).max() {
        let found = go_version()?;
        ensure!(
            found >= newest,
            "Go {}.{} is too old: {} or newer builds them. Install one (https://go.dev/dl), or {OTHERWISE}",
            found.0,
            found.1,
            format_args!("{}.{}", newest.0, newest.1),
        );
        let _lowest_already = rustix::process::nice(NICENESS);
    }
    // The newest first: it is what most people have.
    for release in missing.into_iter().rev() {
        build(&directory.join(release.version), release)
            .with_context(|| format!("Kubernetes {} is not built", release.version))?;
    }
    let current: String = RELEASES.iter().flat_map(|release| [release.version, "\n"]).collect();
    let list = directory.join(CURRENT);
    if !std::fs::read_to_string(&list).is_ok_and(|found| found == current) {
        std::fs::write(&list, current).with_context(|| format!("{} cannot be written", list.display()))?;
    }
    for release in &RELEASES {
        say(&directory.join(release.version).display().to_string());
    }
    say(&format!(
        "assets: {} releases of Kubernetes are built, {}",
        RELEASES.len(),
        human(started.elapsed())
    ));
    if std::env::var_os("KUBEBUILDER_ASSETS").is_some() {
        say("note: KUBEBUILDER_ASSETS is set, so tests take the programs of that directory instead");
    }
    Ok(())
}

/// The way out where they cannot be built.
const OTHERWISE: &str = "set KUBEBUILDER_ASSETS to a directory that holds etcd, kube-apiserver and kubectl.";

fn cache() -> Result<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: say with --dir where the programs are kept")
}

/// What the stamp of a finished build says.
fn stamp(release: &Release) -> String {
    format!("Kubernetes {}, recipe {RECIPE}\n", release.version)
}

fn is_built(directory: &Path, release: &Release) -> bool {
    std::fs::read_to_string(directory.join(STAMP)).is_ok_and(|found| found == stamp(release))
        && PROGRAMS.iter().all(|(_, program)| directory.join(program).is_file())
}

/// Major and minor version of the `go` in PATH.
fn go_version() -> Result<(u32, u32)> {
    let mut go = Command::new("go");
    // The Go that is installed, not one that it would fetch.
    go.arg("version").env("GOTOOLCHAIN", "local");
    let Ok(said) = output(&mut go) else {
        bail!(
            "there is no working `go` in PATH, and etcd and kube-apiserver are built by it: install Go \
             (https://go.dev/dl; that of a distribution may be too old), or {OTHERWISE}"
        );
    };
    parse_go_version(&said).with_context(|| format!("`go version` says {:?}, no version", said.trim()))
}

/// `go version go1.26.8 linux/amd64`
fn parse_go_version(said: &str) -> Option<(u32, u32)> {
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let minor: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((1, minor.parse().ok()?))
}

/// Builds all programs of a release.
fn build(directory: &Path, release: &Release) -> Result<()> {
    let work = directory.join("module");
    std::fs::create_dir_all(&work).with_context(|| format!("{} cannot be made", work.display()))?;
    let lock = File::create(directory.join(".lock"))?;
    if lock.try_lock().is_err() {
        say(&format!("Kubernetes {}: another call builds it; waiting for its end", release.version));
        lock.lock()?;
        if is_built(directory, release) {
            return Ok(());
        }
    }
    let version = release.version;
    say(&format!("Kubernetes {version}: fetching its module"));
    let found: Value = serde_json::from_str(&output(&mut go(
        &work,
        &["mod", "download", "-json", &format!("k8s.io/kubernetes@v{version}")],
    ))?)?;
    let module = found["GoMod"].as_str().context("`go mod download` names no go.mod")?;
    let module = std::fs::read_to_string(module).with_context(|| format!("{module} cannot be read"))?;
    std::fs::write(work.join("go.mod"), own_module(version, &module)?)?;

    let version_flags = format!(
        "-s -w -X k8s.io/component-base/version.gitVersion=v{version} \
         -X k8s.io/client-go/pkg/version.gitVersion=v{version}"
    );
    for (package, program) in PROGRAMS {
        say(&format!("Kubernetes {version}: building {program} (some minutes the first time)"));
        let started = Instant::now();
        // Built aside and moved, so that no half-written program is ever run.
        let aside = work.join(program);
        run_command(
            go(&work, &["build", "-mod=mod", "-trimpath", "-ldflags", &version_flags, "-o"])
                .arg(&aside)
                .arg(package),
        )?;
        std::fs::rename(&aside, directory.join(program))?;
        say(&format!("Kubernetes {version}: {program} took {}", human(started.elapsed())));
    }
    std::fs::write(directory.join(STAMP), stamp(release))?;
    Ok(())
}

/// A `go` that makes static programs.
fn go(work: &Path, args: &[&str]) -> Command {
    let mut go = Command::new("go");
    go.current_dir(work).args(args).env("CGO_ENABLED", "0").env("GOWORK", "off");
    go
}

/// `go.mod` of a module of our own in which Kubernetes can be built: the parts that lie in its own repository as
/// `./staging/src/...` are taken from the modules under which they are released, v0.X.Y for v1.X.Y.
fn own_module(version: &str, kubernetes: &str) -> Result<String> {
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
        fn check(said: &str, wanted: Option<(u32, u32)>) {
            assert_eq!(parse_go_version(said), wanted, "{said}");
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
        let own = own_module("1.37.2", kubernetes).expect("it names a part");
        assert_eq!(
            own,
            "module sorcha.org/assets\n\ngo 1.26.0\ngodebug default=go1.26\n\n\
             require k8s.io/kubernetes v1.37.2\n\nreplace k8s.io/api => k8s.io/api v0.37.2\n"
        );
        assert!(
            own_module("1.37.2", "module k8s.io/kubernetes\n").is_err(),
            "without parts it cannot be built"
        );
    }

    #[test]
    fn a_build_counts_only_when_it_is_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let release = &RELEASES[0];
        std::fs::write(directory.path().join(STAMP), stamp(release)).expect("it can be written");
        assert!(!is_built(directory.path(), release), "the programs are missing");
        for (_, program) in PROGRAMS {
            std::fs::write(directory.path().join(program), "").expect("it can be written");
        }
        assert!(is_built(directory.path(), release));
        assert!(!is_built(directory.path(), &RELEASES[1]), "it is another release");
    }
}
