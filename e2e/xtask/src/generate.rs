//! Generated files that are committed, so that people can read them without building anything.
//!
//! Knows which file is made of what; programs and other files know what is in them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::chart::{template, values};
use crate::shell::{Workspace, complain, output, run as run_command, say, shown};

/// Write the generated files that are committed, or check that they are current.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail where a file is not what it would be written as today.
    #[arg(long)]
    pub(crate) check: bool,
}

/// A file and what it is made of.
struct Generated {
    path: &'static str,
    of: Of,
    /// Makes the file's text of it.
    shape: fn(&str) -> Result<String>,
}

/// What a file is made of.
enum Of {
    /// What a program prints: its name and arguments.
    Program(&'static str, &'static [&'static str]),
    /// Another file of the repository.
    File(&'static str),
}

const FILES: [Generated; 4] = [
    Generated {
        path: "crds/generated/sorchapeernetworks.sorcha.org.yaml",
        of: Of::Program("sorcha-operator", &["crd"]),
        shape: as_printed,
    },
    Generated {
        path: "charts/sorcha-operator/templates/crds.yaml",
        of: Of::Program("sorcha-operator", &["crd"]),
        shape: template::definition,
    },
    Generated {
        path: "docs/configuration.md",
        of: Of::Program("sorcha-peer", &["config", "reference"]),
        shape: as_printed,
    },
    Generated {
        path: "docs/kubernetes-values.md",
        of: Of::File("charts/sorcha-operator/values.yaml"),
        shape: values::reference,
    },
];

#[allow(clippy::unnecessary_wraps, reason = "one of several functions in a table")]
fn as_printed(text: &str) -> Result<String> {
    Ok(text.to_owned())
}

/// The variable that makes the tests write the vectors instead of comparing them (proto/vectors/support.rs).
const WRITE_VECTORS: &str = "SORCHA_WRITE_VECTORS";
/// Vectors are made of others: signatures of headers, frames of signatures. Twice is enough for what follows from what.
const VECTORS_PASSES: usize = 2;

/// The vectors are made by tests, since they are of several crates, and checked by the same.
fn vectors(workspace: &Workspace, check: bool) -> Result<()> {
    let tests = ["test", "--quiet", "--workspace", "--no-fail-fast", "--test", "vectors"];
    if !check {
        for _ in 0..VECTORS_PASSES {
            // Whoever reads a file before it is written anew may fail; what counts comes after.
            let _half_done = workspace.cargo(tests).env(WRITE_VECTORS, "1").output();
        }
    }
    let done = workspace.cargo(tests).env_remove(WRITE_VECTORS).output().context("cargo does not start")?;
    if !done.status.success() {
        for told in [done.stdout, done.stderr] {
            complain(&String::from_utf8_lossy(&told));
        }
        bail!("proto/vectors is not current: run `cargo xtask generate` if the protocol is to change");
    }
    Ok(())
}

/// Builds the programs and takes what they print; runs the tests that make vectors.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    run_command(&mut workspace.cargo(["build", "--quiet", "--workspace", "--bins"]))?;
    let programs = workspace.target_directory()?.join("debug");
    let mut stale = Vec::new();
    for file in FILES {
        let (origin, source) = match file.of {
            Of::Program(name, args) => {
                let mut command = Command::new(programs.join(name));
                let text = output(command.args(args))?;
                (shown(&command), text)
            }
            Of::File(path) => (path.to_owned(), std::fs::read_to_string(workspace.root().join(path))?),
        };
        let text = (file.shape)(&source).with_context(|| format!("{} is not made", file.path))?;
        let path = workspace.root().join(file.path);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if args.check {
            stale.push(format!("{} is not what `{origin}` makes of it", file.path));
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, text)?;
        say(&format!("wrote {}", file.path));
    }
    if !stale.is_empty() {
        bail!("{}: run `cargo xtask generate` and commit what it writes", stale.join("; "));
    }
    vectors(workspace, args.check)?;
    say(&format!("generate: {} files and the test vectors are current", FILES.len()));
    Ok(())
}
