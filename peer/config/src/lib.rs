//! The configuration file of a peer: written by the operator (or by hand), read by `sorcha-peer`.
//!
//! [`raw::RawConfig`] is the file as it stands; [`Config`] is the validated form, in which every value is in
//! range. What lies between is a table ([`fields`]): one line per key, with its kind, unit, default, range and
//! meaning; the checks, the overrides from the environment and the reference page all come from it.
//!
//! This crate reads neither file nor environment nor clock: texts come in, values or problems go out.

mod check;
pub mod config;
pub mod fields;
pub mod problem;
pub mod proxy;
pub mod raw;
pub mod reference;
mod suggest;
mod tree;
pub mod units;

use std::collections::BTreeMap;

pub use config::{ApiAddress, Compression, Config, LogFormat, Rung};
pub use problem::{Problem, Problems};
pub use raw::RawConfig;
pub use reference::reference_markdown;

/// The newest version of the file's format that this program reads.
pub const CONFIG_VERSION: i64 = 1;
/// Longest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Variables that are read beside those that begin with `SORCHA_`: the first that is set and not empty of each kind.
pub const VARIABLES: [[&str; 2]; 2] = [proxy::HTTPS_VARIABLES, proxy::EXCEPT_VARIABLES];

/// How strict the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A running peer takes an unknown key with a warning: operator and peer versions may differ by two.
    Run,
    /// `config check` refuses it, with a suggestion.
    Check,
}

/// What the file does not say and the process knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The environment: what begins with `SORCHA_`, and what names a proxy ([`VARIABLES`]).
    pub environment: BTreeMap<String, String>,
    /// The machine's name, which names the peer where nothing else does.
    pub host_name: Option<String>,
}

/// A configuration that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Every value typed and in range.
    pub config: Config,
    /// What was passed over, for the log.
    pub warnings: Vec<Problem>,
}

/// Reads the YAML text of a file. All problems are found at once.
pub fn load(yaml: &str, surroundings: &Surroundings, mode: Mode) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let mut warnings = Vec::new();
    let tree = tree::read(yaml).map_err(|problem| Problems::from(vec![problem]))?;
    let mut given = fields::sort(
        tree,
        &mut problems,
        match mode {
            Mode::Run => Some(&mut warnings),
            Mode::Check => None,
        },
    );
    fields::override_from(&surroundings.environment, &mut given, &mut warnings);
    let config = config::build(&given, surroundings, &mut problems);
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(problems.sorted()),
    }
}

/// Checks a configuration that was built in memory, as [`load`] would check its file.
pub fn check(raw: &RawConfig) -> Result<Config, Problems> {
    load(&to_yaml(raw), &Surroundings::default(), Mode::Check)
        .map(|loaded| loaded.config)
        .map_err(Problems::without_lines)
}

/// The file's text. The same value gives the same bytes.
pub fn to_yaml(raw: &RawConfig) -> String {
    serde_saphyr::to_string(raw).expect("texts, numbers and lists are always YAML")
}
