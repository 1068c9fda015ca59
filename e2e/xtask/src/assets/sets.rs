//! Sets of programs that are built from source and kept: which, of which version, in which directory.
//!
//! A set counts as built once its stamp says so and every program is there. Who uses the programs is not known here.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::go;
use crate::shell::{human, run as run_command, say};

/// Goes up whenever the same version is to be built in another way.
const RECIPE: &str = "1";

/// Where the sources of a set come from.
pub(super) enum Source {
    /// The module of Kubernetes itself, which wants special care.
    Kubernetes,
    /// An ordinary module.
    Module(&'static str),
    /// A file of our own that puts a module's packages together.
    Main { module: &'static str, text: &'static str },
    /// A file of our own for the Rust compiler.
    Rust(&'static str),
}

/// Programs of one version, built together.
pub(super) struct Set {
    /// For people.
    pub(super) what: &'static str,
    pub(super) version: &'static str,
    /// Below the directory of all assets.
    pub(super) directory: &'static str,
    /// Lies beside the programs once all of them are whole.
    pub(super) stamp: &'static str,
    /// Oldest Go that compiles it, as its module says; none where Go is not needed.
    pub(super) go: Option<go::Version>,
    pub(super) source: Source,
    /// Variables that are set to the version, `v` before it.
    pub(super) version_in: &'static [&'static str],
    /// Package and the name of its program.
    pub(super) programs: &'static [(&'static str, &'static str)],
}

const KUBERNETES_VERSION: &[&str] =
    &["k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"];

const API_PROGRAMS: &[(&str, &str)] = &[
    ("go.etcd.io/etcd/server/v3", "etcd"),
    ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
    ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
    ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
];

const NODE_PROGRAMS: &[(&str, &str)] = &[
    ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
    ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
    ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
];

/// API servers, with their controllers, of the oldest and newest supported release: the ends of what k8s-openapi 0.29 knows, the newest patch of
/// each. The release's own module says which etcd belongs to it.
pub(super) const RELEASES: [Set; 2] = [
    Set {
        what: "Kubernetes",
        version: "1.33.13",
        directory: "1.33.13",
        stamp: ".stamp",
        go: Some((1, 24)),
        source: Source::Kubernetes,
        version_in: KUBERNETES_VERSION,
        programs: API_PROGRAMS,
    },
    Set {
        what: "Kubernetes",
        version: "1.37.2",
        directory: "1.37.2",
        stamp: ".stamp",
        go: Some((1, 26)),
        source: Source::Kubernetes,
        version_in: KUBERNETES_VERSION,
        programs: API_PROGRAMS,
    },
];

/// Both majors of Helm that people use, the newest of each.
pub(super) const HELM: [Set; 2] = [
    Set {
        what: "Helm",
        version: "3.22.0",
        directory: "helm3",
        stamp: ".stamp",
        go: Some((1, 26)),
        source: Source::Module("helm.sh/helm/v3"),
        version_in: &["helm.sh/helm/v3/internal/version.version"],
        programs: &[("helm.sh/helm/v3/cmd/helm", "helm")],
    },
    Set {
        what: "Helm",
        version: "4.3.1",
        directory: "helm4",
        stamp: ".stamp",
        go: Some((1, 26)),
        source: Source::Module("helm.sh/helm/v4"),
        version_in: &["helm.sh/helm/v4/internal/version.version"],
        programs: &[("helm.sh/helm/v4/cmd/helm", "helm")],
    },
];

/// What a node of the newest release needs beside its API server.
pub(super) const NODE: [Set; 3] = [
    Set {
        what: "a node of Kubernetes",
        version: "1.37.2",
        directory: "1.37.2",
        stamp: ".stamp-node",
        go: Some((1, 26)),
        source: Source::Kubernetes,
        version_in: KUBERNETES_VERSION,
        programs: NODE_PROGRAMS,
    },
    Set {
        what: "CoreDNS",
        version: "1.15.0",
        directory: "coredns",
        stamp: ".stamp",
        go: Some((1, 26)),
        source: Source::Main { module: "github.com/coredns/coredns", text: include_str!("coredns.go") },
        version_in: &[],
        programs: &[(".", "coredns")],
    },
    Set {
        what: "pause",
        version: "1",
        directory: "pause",
        stamp: ".stamp",
        go: None,
        source: Source::Rust(include_str!("pause.rs")),
        version_in: &[],
        programs: &[("pause.rs", "pause")],
    },
];

impl Set {
    /// What the stamp of a finished build says.
    fn stamp_text(&self) -> String {
        format!("{} {}, recipe {RECIPE}\n", self.what, self.version)
    }

    /// Whether nothing is to be done, with all assets below `assets`.
    pub(super) fn is_built(&self, assets: &Path) -> bool {
        let directory = assets.join(self.directory);
        std::fs::read_to_string(directory.join(self.stamp)).is_ok_and(|found| found == self.stamp_text())
            && self.programs.iter().all(|(_, program)| directory.join(program).is_file())
    }

    /// Builds all programs, or waits for another call that does.
    pub(super) fn build(&self, assets: &Path) -> Result<()> {
        let (what, version) = (self.what, self.version);
        let directory = assets.join(self.directory);
        let work = directory.join("module");
        std::fs::create_dir_all(&work).with_context(|| format!("{} cannot be made", work.display()))?;
        let lock = File::create(directory.join(".lock"))?;
        if lock.try_lock().is_err() {
            say(&format!("{what} {version}: another call builds it; waiting for its end"));
            lock.lock()?;
            if self.is_built(assets) {
                return Ok(());
            }
        }
        self.write_sources(&work)?;
        for (package, program) in self.programs {
            say(&format!("{what} {version}: building {program} (some minutes the first time)"));
            let started = Instant::now();
            // Built aside and moved, so that no half-written program is ever run, nor one that runs is written over.
            let aside = work.join(program);
            run_command(self.compiler(&work, &aside).arg(package))?;
            std::fs::rename(&aside, directory.join(program))?;
            say(&format!("{what} {version}: {program} took {}", human(started.elapsed())));
        }
        std::fs::write(directory.join(self.stamp), self.stamp_text())?;
        Ok(())
    }

    fn write_sources(&self, work: &Path) -> Result<()> {
        let go = self.go.unwrap_or_default();
        match &self.source {
            Source::Kubernetes => {
                say(&format!("{} {}: fetching its module", self.what, self.version));
                go::write_kubernetes_module(work, self.version)
            }
            Source::Module(module) => go::write_module(work, module, self.version, go),
            Source::Main { module, text } => {
                std::fs::write(work.join("main.go"), text)?;
                go::write_module(work, module, self.version, go)
            }
            Source::Rust(text) => Ok(std::fs::write(work.join(self.programs[0].0), text)?),
        }
    }

    /// All but the last word of the command that builds a program.
    fn compiler(&self, work: &Path, to: &Path) -> Command {
        if let Source::Rust(_) = self.source {
            let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            rustc.current_dir(work).args([
                "--edition",
                "2024",
                "-O",
                "-C",
                "panic=abort",
                "-C",
                "strip=symbols",
            ]);
            // Without a target `crt-static` would be asked of procedural macros too; here it is the same word.
            rustc.args(["-C", "target-feature=+crt-static", "-o"]).arg(to);
            return rustc;
        }
        let mut flags = String::from("-s -w");
        for variable in self.version_in {
            flags.extend([" -X ", *variable, "=v", self.version]);
        }
        let mut go = go::command(work, &["build", "-mod=mod", "-trimpath", "-ldflags", &flags, "-o"]);
        go.arg(to);
        go
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_counts_only_when_it_is_whole() {
        let assets = tempfile::tempdir().expect("a temporary directory");
        let set = &RELEASES[0];
        let directory = assets.path().join(set.directory);
        std::fs::create_dir(&directory).expect("it can be made");
        std::fs::write(directory.join(set.stamp), set.stamp_text()).expect("it can be written");
        assert!(!set.is_built(assets.path()), "the programs are missing");
        for (_, program) in set.programs {
            std::fs::write(directory.join(program), "").expect("it can be written");
        }
        assert!(set.is_built(assets.path()));
        assert!(!RELEASES[1].is_built(assets.path()), "it is another release");
    }

    #[test]
    fn sets_that_share_a_directory_do_not_take_each_other_for_themselves() {
        let all: Vec<&Set> = RELEASES.iter().chain(&HELM).chain(&NODE).collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                let same = one.directory == other.directory && one.stamp == other.stamp;
                assert!(!same, "{} and {} have one stamp", one.what, other.what);
            }
        }
    }
}
