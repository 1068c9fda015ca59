//! Generated files that are committed, so that people can read them without building anything.
//!
//! Knows which program prints which file; the programs know what is in them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::chart;
use crate::shell::{Workspace, output, run as run_command, say, shown};

/// Write the generated files that are committed, or check that they are current.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail where a file is not what the programs print today.
    #[arg(long)]
    pub(crate) check: bool,
}

/// A file and who prints it.
struct Generated {
    path: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    /// Makes the file's text of what is printed.
    shape: fn(&str) -> Result<String>,
}

const FILES: [Generated; 3] = [
    Generated {
        path: "crds/generated/sorchapeernetworks.sorcha.org.yaml",
        program: "sorcha-operator",
        args: &["crd"],
        shape: as_printed,
    },
    Generated {
        path: "charts/sorcha-operator/templates/crds.yaml",
        program: "sorcha-operator",
        args: &["crd"],
        shape: chart::definition_template,
    },
    Generated {
        path: "docs/configuration.md",
        program: "sorcha-peer",
        args: &["config", "reference"],
        shape: as_printed,
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
        let mut command = Command::new(programs.join(file.program));
        let text = (file.shape)(&output(command.args(file.args))?)?;
        let path = workspace.root().join(file.path);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if args.check {
            stale.push(format!("{} is not what `{}` prints", file.path, shown(&command)));
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
