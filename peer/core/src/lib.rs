//! The peer as a pure state machine: membership, links, gossip, sync and admission.
//!
//! This crate knows no socket, no disk, no clock and no entropy: time and a seeded random generator
//! come in, everything that shall happen in the world goes out as values. The same code runs in the
//! shipping peer (`sorcha-peer`) and, by the thousand, in the simulator (`sorcha-peer-sim`).
//!
//! The contract, after the sans-IO style of str0m and connlib:
//!
//! 1. `handle(now, Input)` changes the state once;
//! 2. `poll_output()` is drained until it returns `None`;
//! 3. `poll_deadline()` says when to come back with [`Input::Tick`], and why.
//!
//! Effects (`Persist`, `Load`, `Verify`, `Seal`, `Dial`, ...) carry an operation token and are answered
//! later by an input with that token, failures included. Input from the network never panics and
//! never fails the core: what is wrong with it becomes an [`event::Event::Evidence`].

mod admit;
mod backoff;
pub mod config;
mod digests;
pub mod envelope;
pub mod event;
mod gossip;
mod link;
mod membership;
pub mod message;
mod origins;
mod outbox;
pub mod payload;
pub mod peer;
mod quarantine;
mod sync;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod types;
pub mod view;

/// What all peers of a network must compute alike, beside ids and trees: proto/vectors holds each to its bytes.
pub mod rules {
    pub use crate::envelope::mark;
    pub use crate::gossip::announce::salt;
    pub use crate::gossip::grid::{rank, row};
}

pub use config::{Config, Identity, Start};
pub use event::{Input, Output};
pub use peer::Peer;
