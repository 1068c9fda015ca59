//! The configuration file of a peer: written by the operator (or by hand), read by `sorcha-peer`.
//!
//! [`raw::RawConfig`] is the file as it stands; [`Config`] is the validated form, in which every value is in range.

pub mod raw;
