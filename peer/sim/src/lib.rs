//! Thousands of shipping cores under a virtual clock, network and disk.
//!
//! The simulator knows the core's contract (inputs in, outputs and deadlines out) and the length of an
//! encoded frame. It must not know the protocol: nothing of it is written here a second time. One seed
//! gives one run, told apart from others by the hash over its trace.
//!
//! - [`world`] takes events from the [`queue`] and hands them to [`peers`]; `effects` does what they want; `warm` links them at the start, where
//!   linking is not what is looked at.
//! - [`network`], [`disk`] and [`adversary`] are what fails; [`ledger`] counts, [`check`] judges, [`plant`] tests the judge.
//! - [`scenario`] drives a world; [`report`] and [`cli`] talk to people.

pub mod adversary;
pub mod cell_report;
pub mod check;
pub mod cli;
mod contract;
pub mod disk;
mod effects;
mod faults;
pub mod ledger;
pub mod network;
pub mod peers;
pub mod picture;
pub mod plant;
pub mod queue;
pub mod random;
pub mod report;
pub mod scenario;
pub mod seal;
pub mod trace;
mod warm;
pub mod world;
