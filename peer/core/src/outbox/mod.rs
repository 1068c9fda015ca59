//! Who else holds what was accepted here, and what only this peer is known to hold: accepted here and not yet confirmed by another, and, while it drains, what no
//! staying peer has confirmed.

pub(crate) mod drain;
pub(crate) mod holders;
pub(crate) mod pending;
