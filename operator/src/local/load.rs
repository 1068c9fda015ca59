//! From the manifest's text to its plan: reads and validates; planning itself is in `sorcha-operator-plan`.

use std::time::Duration;

use sorcha_operator_plan::check::check_processes;
use sorcha_operator_plan::processes::{ObservedMachine, ProcessPlan, plan_processes};
use sorcha_operator_plan::{Validated, validate};

/// A manifest in which every value is right.
#[derive(Debug)]
pub(super) struct Manifest {
    network: Validated,
}

impl Manifest {
    /// Reads and checks. The error names field, value and way out, each problem on a line of its own.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let manifest = sorcha_crds::load(text).map_err(|error| error.to_string())?;
        let network = validate(&manifest).map_err(|error| error.to_string())?;
        Ok(Self { network })
    }

    /// `metadata.name`.
    pub(super) fn name(&self) -> &str {
        &self.network.name
    }

    /// Peers wanted.
    pub(super) fn peers(&self) -> usize {
        self.network.peers() as usize
    }

    /// How long a peer may take to stop.
    pub(super) fn shutdown_deadline(&self) -> Duration {
        Duration::from_millis(self.network.shutdown_deadline_ms)
    }

    /// Every process of it on this machine.
    pub(super) fn plan(&self, machine: &ObservedMachine) -> Result<ProcessPlan, String> {
        plan_processes(&self.network, machine).map_err(|error| error.to_string())
    }

    /// The first thing in which a plan contradicts this manifest or itself.
    pub(super) fn check(&self, plan: &ProcessPlan, machine: &ObservedMachine) -> Result<(), String> {
        let broken = check_processes(plan, &self.network, machine).into_iter().next();
        broken.map_or(Ok(()), |broken| Err(broken.to_string()))
    }
}
