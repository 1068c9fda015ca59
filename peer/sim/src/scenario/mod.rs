//! Scenarios: what is done to a world, and what is made of what happened.

pub mod reach;
pub mod soak;
