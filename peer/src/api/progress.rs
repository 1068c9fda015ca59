//! How far a subscription is: what was delivered, in which order, and what of it is acknowledged.
//!
//! Knows positions only. An acknowledgement of one delivery is one of all that were delivered before it; what was
//! passed over by a filter goes with them.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::store::{CursorState, Run};

/// Runs of unacknowledged deliveries, 256 KiB; in order of arrival all deliveries are one run.
const RUNS_MAX: usize = 16_384;

/// Of one subscription.
#[derive(Debug)]
pub(super) struct Progress {
    acknowledged: CursorState,
    /// Delivered and not acknowledged, in the order of delivery.
    sent: VecDeque<Run>,
    /// Of the last delivery.
    last: u64,
    /// Nobody acknowledges: what is delivered is done.
    at_once: bool,
}

/// Too much is delivered and not acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Progress {
    /// Begins after what is acknowledged already.
    pub(super) fn new(acknowledged: CursorState, at_once: bool) -> Self {
        Self { last: acknowledged.position, acknowledged, sent: VecDeque::new(), at_once }
    }

    /// Of the last delivery.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// These need not be delivered, or are gone.
    pub(super) fn passed(&mut self, run: Run) -> Result<(), TooMany> {
        if run.0 > run.1 {
            return Ok(());
        }
        if self.at_once {
            self.acknowledged.add(run);
            return Ok(());
        }
        let full = self.sent.len() >= RUNS_MAX;
        match self.sent.back_mut() {
            Some(last) if last.1 + 1 == run.0 => last.1 = run.1,
            _ if full => return Err(TooMany),
            _ => self.sent.push_back(run),
        }
        Ok(())
    }

    /// This is delivered now.
    pub(super) fn delivered(&mut self, position: u64) -> Result<(), TooMany> {
        self.passed((position, position))?;
        self.last = position;
        Ok(())
    }

    /// The delivery of this position and all before it are processed. `None`: it was not delivered yet.
    pub(super) fn acknowledge(&mut self, position: u64) -> Option<&CursorState> {
        let found = self.sent.iter().position(|(from, to)| (*from..=*to).contains(&position));
        let Some(found) = found else {
            // Told once more, or the cursor stood there from the beginning.
            return self.acknowledged.has(position).then_some(&self.acknowledged);
        };
        for run in self.sent.drain(..found) {
            self.acknowledged.add(run);
        }
        if let Some((from, to)) = self.sent.pop_front() {
            self.acknowledged.add((from, position));
            if position < to {
                self.sent.push_front((position + 1, to));
            }
        }
        Some(&self.acknowledged)
    }

    /// What a client without a cursor gives back to go on after its last delivery: `12`, or `12+15-20,22-22`.
    pub(super) fn token(&self) -> String {
        let mut state = self.acknowledged.clone();
        for run in &self.sent {
            state.add(*run);
        }
        let mut token = state.position.to_string();
        for (at, (from, to)) in state.ahead.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = write!(token, "{}{from}-{to}", if at == 0 { '+' } else { ',' });
        }
        token
    }
}

/// Reads what [`Progress::token`] wrote.
pub(super) fn read_token(text: &str) -> Option<CursorState> {
    let (position, rest) =
        text.split_once('+').map_or((text, None), |(position, rest)| (position, Some(rest)));
    let mut state = CursorState { position: position.parse().ok()?, ahead: Vec::new() };
    for run in rest.into_iter().flat_map(|rest| rest.split(',')) {
        let (from, to) = run.split_once('-')?;
        let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
        if from > to || state.ahead.len() >= RUNS_MAX {
            return None;
        }
        state.add((from, to));
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_covers_what_was_delivered_before_it() {
        let mut progress = Progress::new(CursorState::default(), false);
        for position in [1, 3, 4] {
            progress.delivered(position).expect("few");
        }
        progress.passed((5, 9)).expect("few");
        progress.delivered(2).expect("few");
        assert_eq!((progress.last(), progress.token().as_str()), (2, "9"));
        assert_eq!(progress.acknowledge(4), Some(&CursorState { position: 1, ahead: vec![(3, 4)] }));
        assert_eq!(progress.acknowledge(4).map(|state| state.position), Some(1), "once more");
        assert_eq!(progress.acknowledge(10), None);
        assert_eq!(progress.acknowledge(2), Some(&CursorState { position: 9, ahead: Vec::new() }));
        assert!(progress.sent.is_empty());
    }

    #[test]
    fn a_token_brings_back_where_it_was() {
        let mut progress = Progress::new(CursorState { position: 7, ahead: Vec::new() }, true);
        for position in [8, 10, 11, 14] {
            progress.delivered(position).expect("few");
        }
        let token = progress.token();
        assert_eq!(token, "8+10-11,14-14");
        assert_eq!(read_token(&token).as_ref(), Some(&progress.acknowledged));
        assert_eq!(read_token("8").map(|state| state.position), Some(8));
        for wrong in ["", "x", "8+", "8+9", "8+9-", "8+9-7", "-1", "8+1-2,"] {
            assert_eq!(read_token(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_so_many_runs_go_unacknowledged() {
        let mut progress = Progress::new(CursorState::default(), false);
        for number in 0..RUNS_MAX as u64 {
            progress.delivered(2 * number + 2).expect("few");
        }
        assert_eq!(progress.delivered(1), Err(TooMany));
    }
}
