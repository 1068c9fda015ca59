//! Dissemination: the grid, what was seen, what is on its way in, and repair of what was missed.

pub(crate) mod announce;
pub(crate) mod bodies;
pub(crate) mod fetch;
pub(crate) mod grid;
pub(crate) mod intake;
pub(crate) mod misses;
pub(crate) mod push;
pub(crate) mod seen;
pub(crate) mod transfer;
pub(crate) mod unresolved;
