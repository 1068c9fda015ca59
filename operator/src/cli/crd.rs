//! `sorcha-operator crd`: the CustomResourceDefinition, as it is committed in `crds/generated`.

use std::io::Write;

use super::{Exit, Failure};

/// Arguments of `sorcha-operator crd`; there are none.
#[derive(Debug, clap::Args)]
pub struct CrdArgs {}

/// Prints the definition.
pub fn run(_: &CrdArgs) -> Result<(), Failure> {
    let yaml = sorcha_crds::crd_yaml();
    std::io::stdout().lock().write_all(yaml.as_bytes()).map_err(|error| {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context("the definition cannot be written"))
    })
}
