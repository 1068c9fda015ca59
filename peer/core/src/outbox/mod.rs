//! What only this peer is known to hold: accepted here and not yet confirmed by another, and, while it drains, what no
//! staying peer has confirmed.

pub(crate) mod drain;
pub(crate) mod pending;
