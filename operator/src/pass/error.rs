//! Why a look ended before its end, and what to do about it.

use crate::api::{ApiError, Class};
use crate::apply::ApplyError;
use crate::ca::CaError;
use crate::peers::PeerError;

/// Why a look ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// Objects were not read or applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Certificates were not read or issued.
    #[error(transparent)]
    Certificates(#[from] CaError),
    /// A peer did not do what it was told.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The status was not written.
    #[error(transparent)]
    Report(ApiError),
    /// A mistake of this program.
    #[error("the plan contradicts itself, a mistake of this program: {0}")]
    Broken(String),
}

impl PassError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Apply(error) => error.class(),
            Self::Certificates(error) => of_authority(error),
            Self::Report(error) => error.class(),
            Self::Peer(_) => Class::Unavailable,
            Self::Broken(_) => Class::Refused,
        }
    }

    /// The stage, for metrics.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Certificates(_) => "certificates",
            Self::Peer(_) => "peer",
            Self::Report(_) => "report",
            Self::Broken(_) => "check",
        }
    }
}

/// What to do about a failure of `ca`.
pub(super) fn of_authority(error: &CaError) -> Class {
    match error {
        CaError::Api { source, .. } => Class::of(source),
        CaError::TimedOut { .. } => Class::Unavailable,
        CaError::Changed { .. } => Class::Conflict,
        CaError::Foreign { .. }
        | CaError::NoAuthority { .. }
        | CaError::TooLarge { .. }
        | CaError::Name(_)
        | CaError::Issue { .. }
        | CaError::Identity(_) => Class::Refused,
    }
}
