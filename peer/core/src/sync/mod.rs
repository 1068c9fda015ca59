//! Set reconciliation: what makes "nothing lost" true. Not the fast path.

pub(crate) mod floor;
pub(crate) mod ranges;
pub(crate) mod schedule;
