//! `cargo xtask`: the one entry point for people who work on this repository.
//!
//! Knows the programs of the workspace by their command lines only. It depends on none of its crates, so
//! that it builds in seconds and can judge them from outside.

mod assets;
mod bench;
mod chart;
mod cluster;
mod generate;
mod image;
mod lint;
mod processes;
mod shell;
mod test;
mod tidy;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything a developer does with Sorcha Peer Network.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
#[command(after_help = "\
New here?  `cargo xtask up` starts five real peers on this machine; `cargo xtask test` runs all tests.

Exit codes: 0 ok, 1 failed, 2 usage.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the programs and run the network of a manifest on this machine, in the foreground.
    Up(up::Args),
    /// Run all tests of the workspace and say how many ran, and what was skipped and why.
    Test(test::Args),
    /// Hold the architecture by checks: floors, purity, rooms, sizes, texts, licences.
    Tidy,
    /// Write the generated files that are committed, or check that they are current.
    Generate(generate::Args),
    /// Formatting, clippy, documentation, tidy and generated files: all that is no test.
    Lint,
    /// Run a named measurement, or compare it with its bar.
    Bench(bench::Args),
    /// Build the API servers that the tests use, or say that they are built already.
    Assets(assets::Args),
    /// Check the Helm chart: lint, rendering with every value, strict schemas.
    Chart(chart::Args),
    /// Build container images, as archives for `docker load`, `ctr images import` and registries' tools.
    Image(image::Args),
    /// A whole Kubernetes of one node on this machine, to test on.
    Cluster(cluster::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The node's own processes run far from any clone.
    if let Verb::Cluster(args) = &cli.verb {
        return finish(cluster::run(shell::Workspace::find, args));
    }
    finish(shell::Workspace::find().and_then(|workspace| match cli.verb {
        Verb::Up(args) => up::run(&workspace, &args),
        Verb::Test(args) => test::run(&workspace, &args),
        Verb::Tidy => tidy::run(&workspace),
        Verb::Generate(args) => generate::run(&workspace, &args),
        Verb::Lint => lint::run(&workspace),
        Verb::Bench(args) => bench::run(&workspace, &args),
        Verb::Assets(args) => assets::run(&args),
        Verb::Chart(args) => chart::run(&workspace, &args),
        Verb::Image(args) => image::run(&workspace, &args),
        Verb::Cluster(args) => cluster::run(|| Ok(workspace), &args),
    }))
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<shell::Reported>() {
                shell::complain(&format!("error: {error:#}"));
            }
            ExitCode::from(if error.is::<shell::Usage>() { 2 } else { 1 })
        }
    }
}
