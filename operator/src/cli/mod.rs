//! The command line: parses arguments, runs a verb, turns its failure into one sentence and an exit code.
//!
//! It knows verbs and exit codes; what a verb does is in its own module.

pub mod crd;
pub mod exit;
pub mod local;
pub mod render;
pub mod run;
pub mod smoke;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use exit::{Exit, Failure, chain};

/// Runs networks of Sorcha peers from SorchaPeerNetwork manifests.
#[derive(Debug, Parser)]
#[command(name = "sorcha-operator", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 unreachable, 4 refused, 5 timed out.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a network as processes on this machine, in the foreground.
    Local(local::LocalArgs),
    /// Look after the networks of a Kubernetes cluster.
    Run(Box<run::RunArgs>),
    /// Try the operator of a cluster: make a network, pass a transaction through it, remove it.
    Smoke(smoke::SmokeArgs),
    /// Print the Kubernetes objects of a network, without a cluster.
    Render(render::RenderArgs),
    /// Print the CustomResourceDefinition of SorchaPeerNetwork.
    Crd(crd::CrdArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Parses the process's arguments and runs the verb.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell a terminal that does not take its own usage text.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match cli.verb {
        Verb::Local(args) => local::run(args),
        Verb::Run(args) => run::run(&args),
        Verb::Smoke(args) => smoke::run(&args),
        Verb::Render(args) => render::run(&args),
        Verb::Crd(args) => crd::run(&args),
        Verb::Completions { shell } => completions(shell),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {failure}");
            failure.exit.into()
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sorcha-operator", &mut script);
    std::io::stdout().lock().write_all(&script).map_err(|e| {
        Failure::new(Exit::Failed, anyhow::Error::new(e).context("the script cannot be written"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
