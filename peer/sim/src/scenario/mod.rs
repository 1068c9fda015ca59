//! Scenarios: what is done to a world, and what is made of what happened.

pub mod cells;
pub mod matrix;
pub mod reach;
pub mod soak;
