//! What the end-to-end tests share: the real binaries, networks in temporary directories, deadlines.
//!
//! Tests use the programs as a person would: by their command lines and files. Nothing here links the
//! code under test.

use std::io::Write as _;

pub mod apiserver;
pub mod audit;
pub mod chart;
pub mod cluster;
pub mod helm;
pub mod image;
pub mod load;
pub mod network;
pub mod node;
pub mod operator;
pub mod peer;
pub mod plain;
pub mod ports;
pub mod programs;
pub mod proxy;
pub mod rest;
pub mod wait;

/// Says loudly that a test did not run, and why; `cargo xtask test` counts these lines.
#[macro_export]
macro_rules! skip {
    ($test:expr, $reason:expr) => {{
        use std::io::Write as _;
        // The process's own stderr, so that the harness does not capture it; in one piece, so that a line of another
        // thread does not cut it.
        drop(std::io::stderr().write_all(format!("SKIPPED: {}: {}\n", $test, $reason).as_bytes()));
        return Ok(());
    }};
}

/// Prints a figure of a test, past the harness.
pub fn figure(test: &str, text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "figure: {test}: {text}")?;
    Ok(())
}
