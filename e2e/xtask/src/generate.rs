//! Generated files that are committed, so that people can read them without building anything.
//!
//! Knows which file is made of what; programs and other files know what is in them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::chart::{template, values};
use crate::shell::{Workspace, output, run as run_command, say, shown};

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

/// Builds the programs and takes what they print.
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
    say(&format!("generate: {} files are current", FILES.len()));
    Ok(())
}
