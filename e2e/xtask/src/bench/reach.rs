//! `cargo xtask bench reach` and `reach-quick`: the cells of peer/sim/scenarios, run by the simulator.
//!
//! Knows where the files lie; conditions, bars and figures are the simulator's.

use std::process::Command;

use anyhow::Result;

use super::{Args, Output, SIMULATOR};
use crate::shell::{Workspace, run as run_command};

/// A directory of scenario files under peer/sim/scenarios.
pub(super) struct Bench {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    directory: &'static str,
}

pub(super) const BENCHES: [Bench; 2] = [
    Bench {
        name: "reach",
        about: "how fast and at what cost transactions reach everybody: the whole matrix (simulated; an hour)",
        directory: "reach",
    },
    Bench {
        name: "reach-quick",
        about: "a few small cells of it (simulated; under a minute)",
        directory: "quick",
    },
];

/// Large pages: a simulation is a walk through gigabytes of cold memory (measured with 10,000 peers: 99 instead of 131 s).
const LARGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// Builds the simulator and lets it run the files; it prints, and says with its exit code whether bars are met.
pub(super) fn run(workspace: &Workspace, bench: &Bench, args: &Args) -> Result<()> {
    let programs = super::release(workspace, &["--bin", SIMULATOR])?;
    let scenarios = workspace.root().join("peer/sim/scenarios").join(bench.directory);
    let mut command = Command::new(programs.join(SIMULATOR));
    command.envs([LARGE_PAGES]).arg("reach").arg("--scenario").arg(scenarios);
    command.args(["--output", if args.output == Output::Json { "json" } else { "table" }]);
    if args.check {
        command.arg("--check");
    }
    run_command(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_holds_scenarios() {
        let workspace = Workspace::find().expect("the test runs in the workspace");
        for bench in BENCHES {
            let path = workspace.root().join("peer/sim/scenarios").join(bench.directory);
            let files = path.read_dir().expect("it can be read").flatten();
            assert!(
                files.filter(|file| file.path().extension().is_some_and(|end| end == "yaml")).count() > 3
            );
        }
    }
}
