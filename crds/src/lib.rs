//! The `SorchaPeerNetwork` manifest: its types, its CustomResourceDefinition, and reading it for people.
//!
//! Knows the shape of a manifest and what its schema allows. Does not know what a network is made of (that is
//! `sorcha-operator-plan`), calls no API, and depends on kube's derive alone: no client, no runtime.
//!
//! - [`SorchaPeerNetwork`], [`SorchaPeerNetworkSpec`], [`SorchaPeerNetworkStatus`]: the types;
//! - [`crd_yaml`]: the CustomResourceDefinition, as committed in `generated/`;
//! - [`load`]: a manifest from YAML text, with errors that name line, path and the way out;
//! - [`bounds::violations`]: the schema's ranges, lengths and patterns, applied without an API server.

pub mod bounds;
mod crd;
mod default;
mod load;
mod pool;
mod quantity;
mod spec;
mod status;

pub use crd::{crd, crd_yaml, spec_schema};
pub use load::{ManifestError, Problem, load};
pub use pool::{
    Expose, Placement, PodTemplate, Pool, Quantities, Resources, Retain, ServiceType, Spread, SpreadRule,
    Storage, TaintEffect, Toleration, TolerationOperator,
};
pub use quantity::Size;
pub use spec::{
    Bootstrap, Compression, Delivery, Discovery, Limits, Links, Log, LogFormat, Monitoring,
    NAME_CHARACTERS_MAX, NetworkPolicyRules, PodChoice, Proxy, Rung, Shutdown, SorchaPeerNetwork,
    SorchaPeerNetworkSpec, Tls,
};
pub use status::{PoolStatus, SorchaPeerNetworkStatus};

/// API group of the manifest.
pub const GROUP: &str = "sorcha.org";
/// Version of the manifest.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of the manifest.
pub const API_VERSION: &str = "sorcha.org/v1alpha1";
/// `kind` of the manifest.
pub const KIND: &str = "SorchaPeerNetwork";
/// Five peers, commented for a newcomer; what `cargo xtask up` starts.
pub const QUICKSTART: &str = include_str!("../examples/quickstart.yaml");
/// Every field set to something else than its default.
pub const EVERYTHING: &str = include_str!("../examples/everything.yaml");
