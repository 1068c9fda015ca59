//! The trace: a hash over everything that happened, in order, so that two runs are compared by one word; the last events
//! of each peer, to be printed beside a violation; and, where it is asked for, all of them as lines of a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use sha2::{Digest, Sha256};

/// Events of one peer that are remembered.
const LAST_EVENTS: usize = 24;

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

impl Mark {
    fn says(self, detail: u64) -> String {
        match self {
            Self::Start => format!("starts, life {detail}"),
            Self::Stop if detail == 1 => "ends without a word".to_owned(),
            Self::Stop => "ends".to_owned(),
            Self::Wake => format!("is woken, reason {detail}"),
            Self::Frame => format!("gets a frame, {detail:#x}"),
            Self::Link if detail & 1 == 1 => format!("link {} is up", detail >> 1),
            Self::Link => format!("link {} is down", detail >> 1),
            Self::DialFailed => format!("dial {detail} came to nothing"),
            Self::Answer => "an effect is answered".to_owned(),
            Self::Commit => format!("commits {detail} transactions"),
            Self::Submit => format!("submission {detail}"),
            Self::Weather => format!("the scenario acts, {detail:#x}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Event {
    at: u64,
    mark: Mark,
    detail: u64,
}

impl Event {
    fn line(&self, peer: usize) -> String {
        format!("{:>12.6} s  peer {peer:>3}  {}", self.at as f64 / 1e6, self.mark.says(self.detail))
    }
}

/// The hash so far.
#[derive(Debug, Default)]
pub struct Trace {
    hash: Sha256,
    events: u64,
    last: Vec<VecDeque<Event>>,
    /// Whether last events are remembered: not where peers are many.
    remembers: bool,
    file: Option<BufWriter<File>>,
}

impl Trace {
    /// One that remembers the last events of each peer, and writes all to a file where there is one.
    pub fn remembering(file: Option<File>) -> Self {
        Self { remembers: true, file: file.map(BufWriter::new), ..Self::default() }
    }

    /// Adds one event: when, what, at which peer, and one number that tells it from its like.
    pub fn add(&mut self, at: u64, mark: Mark, peer: usize, detail: u64) {
        let mut bytes = [0; 21];
        bytes[..8].copy_from_slice(&at.to_le_bytes());
        bytes[8] = mark as u8;
        bytes[9..13].copy_from_slice(&(peer as u32).to_le_bytes());
        bytes[13..].copy_from_slice(&detail.to_le_bytes());
        self.hash.update(bytes);
        self.events += 1;
        if self.remembers {
            self.remember(peer, Event { at, mark, detail });
        }
    }

    fn remember(&mut self, peer: usize, event: Event) {
        if self.last.len() <= peer {
            self.last.resize(peer + 1, VecDeque::new());
        }
        let last = &mut self.last[peer];
        if last.len() >= LAST_EVENTS {
            last.pop_front();
        }
        last.push_back(event);
        if let Some(file) = &mut self.file
            && writeln!(file, "{}", event.line(peer)).is_err()
        {
            self.file = None; // a full disk ends the file, not the run
        }
    }

    /// The last events of these peers, as lines in the order of time.
    pub fn last_events(&self, peers: &[usize]) -> Vec<String> {
        let mut events = Vec::new();
        for peer in peers {
            events.extend(self.last.get(*peer).into_iter().flatten().map(|event| (event.at, *peer, event)));
        }
        events.sort_by_key(|(at, peer, _)| (*at, *peer));
        events.into_iter().map(|(_, peer, event)| event.line(peer)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_of_the_peers_concerned_are_told_in_order() {
        let mut trace = Trace::remembering(None);
        for at in 0..100 {
            trace.add(at, Mark::Submit, (at % 3) as usize, at);
        }
        let lines = trace.last_events(&[0, 2]);
        assert_eq!(lines.len(), 2 * LAST_EVENTS);
        assert!(
            lines[0].contains("peer   2  submission 29") && lines[47].contains("submission 99"),
            "{lines:#?}"
        );
    }
}
