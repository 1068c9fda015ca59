//! Set reconciliation: what makes "nothing lost" true. Not the fast path.

pub(crate) mod ranges;
pub(crate) mod schedule;
