//! The trace: a hash over everything that happened, in order, so that two runs are compared by one word.

use sha2::{Digest, Sha256};

/// Kinds of events in the trace; their numbers are part of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A peer was started.
    Start = 1,
    /// A peer ended.
    Stop = 2,
    /// A peer was woken by its deadline.
    Wake = 3,
    /// A frame arrived.
    Frame = 4,
    /// A link came up or went down at one end.
    Link = 5,
    /// A dial came to nothing.
    DialFailed = 6,
    /// An effect was answered.
    Answer = 7,
    /// A group was committed.
    Commit = 8,
    /// A scenario submitted.
    Submit = 9,
    /// A scenario changed the weather.
    Weather = 10,
}

/// The hash so far.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: Sha256,
    events: u64,
}

impl Trace {
    /// Adds one event: when, what, at which peer, and one number that tells it from its like.
    pub fn add(&mut self, at: u64, mark: Mark, peer: usize, detail: u64) {
        let mut bytes = [0; 21];
        bytes[..8].copy_from_slice(&at.to_le_bytes());
        bytes[8] = mark as u8;
        bytes[9..13].copy_from_slice(&(peer as u32).to_le_bytes());
        bytes[13..].copy_from_slice(&detail.to_le_bytes());
        self.hash.update(bytes);
        self.events += 1;
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The first 16 hexadecimal digits of the hash over all events so far.
    pub fn digest(&self) -> String {
        hex::encode(&self.hash.clone().finalize()[..8])
    }
}
