//! The façade: takes inputs, sequences the rooms, queues outputs. It decides nothing itself.

use std::collections::VecDeque;

use crate::config::{Config, Identity, Start};
use crate::event::{Input, Output, Wake};
use crate::types::{Now, Time};
use crate::view::{PeerView, State, StatusView};

/// One peer as a state machine; see the crate's documentation for the contract.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    identity: Identity,
    start: Start,
    outputs: VecDeque<Output>,
}

impl Peer {
    /// A peer that has just started; its first outputs wait in `poll_output`.
    pub fn new(config: Config, identity: Identity, start: Start, now: Now) -> Self {
        let _ = now;
        Self { config, identity, start, outputs: VecDeque::new() }
    }

    /// Changes the state once; drain `poll_output` afterwards.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input);
    }

    /// What shall happen in the world, in order; `None` when all is drained.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `handle` wants to be called with [`Input::Tick`] at the latest, and why.
    pub fn poll_deadline(&self) -> Option<(Time, Wake)> {
        None
    }

    /// The peer at a glance.
    pub fn status(&self) -> StatusView {
        StatusView {
            state: State::Online,
            peers_known: self.start.known.len(),
            peers_linked: 0,
            rows: 1,
            row: 0,
            addresses: self.config.advertise.clone(),
            submissions_pending: 0,
            fetches_pending: 0,
            store_fault: None,
        }
    }

    /// All other peers that are known, by id.
    pub fn peers(&self) -> Vec<PeerView> {
        let _ = &self.identity;
        Vec::new()
    }
}
