//! Calls to the peers themselves (`proto/sorcha/peer/v1/operate.proto`), with the operator's own identity.
//!
//! Knows addresses, TLS and answers; what follows from them is decided in `sorcha-operator-plan`.

mod call;
mod connection;
mod identity;

#[cfg(test)]
mod tests;

pub use call::{DrainAsked, PeerError, Peers};
pub use identity::{Identity, IdentityError};
