//! A second opinion on plans: whether a plan hangs together, judged from the plan itself.
//!
//! Shares no code with what makes plans, so that one mistake is not made twice. What it finds is a mistake of ours,
//! never of the user: the programs refuse to go on.

mod file;
mod network;
mod pods;
mod processes;

use std::fmt;

pub use network::check_network;
pub use processes::check_processes;

/// Something in a plan that contradicts the manifest or the rest of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Object, peer or field.
    pub what: String,
    /// As a sentence.
    pub message: String,
}

impl Broken {
    fn new(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self { what: what.into(), message: message.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.message)
    }
}

/// A DNS label: 1 to 63 lower-case letters, digits and inner hyphens (RFC 1123, 2.1).
fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}
