//! Who belongs to the network: records of peers, how they are found, exchanged, reached and forgotten.

pub(crate) mod bootstrap;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod roster;
pub(crate) mod window;
