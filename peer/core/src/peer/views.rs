//! What the peer shows of itself.

use super::{Peer, Phase};
use crate::event::Event;
use crate::gossip::grid;
use crate::link::session::Session;
use crate::types::Now;
use crate::view::{LinkView, OutboxView, PeerView, QuarantineView, State, StatusView};

impl Peer {
    pub(super) fn status_view(&self) -> StatusView {
        StatusView {
            state: self.state(None),
            peers_known: self.roster.len(),
            peers_linked: self.links.linked(),
            rows: self.rows,
            row: grid::row(&self.me, self.rows),
            addresses: self.config.advertise.clone(),
            submissions_pending: self.admission.len(),
            fetches_pending: self.bodies.len(),
            store_fault: self.store_fault.as_ref().map(ToString::to_string),
            outbox: self.outbox.len(),
            caught_up: self.is_caught_up(),
            drain: self.drain_view(),
            quarantined: self.quarantine.len(),
            bootstrap: self.bootstrap.views(&self.me),
        }
    }

    /// `is_missing`: whether the grid wants a link that does not stand, where that is known already.
    fn state(&self, is_missing: Option<bool>) -> State {
        if self.phase != Phase::Running || self.drain.is_some() {
            return State::Draining;
        }
        let linked = self.links.linked();
        if linked == 0 {
            let alone = self.roster.len() == 0 && self.bootstrap.is_alone(&self.config.advertise);
            return if alone { State::Online } else { State::Offline };
        }
        // Links that the grid wants but that may not be dialled (members without address) do not count.
        let is_missing = is_missing.unwrap_or_else(|| self.misses_links());
        if is_missing { State::Degraded } else { State::Online }
    }

    /// Tells when the state has changed. `is_missing`: whether the grid wants a link that does not stand, where that is
    /// known already.
    pub(super) fn note_state(&mut self, is_missing: Option<bool>) {
        let state = self.state(is_missing);
        let from = std::mem::replace(&mut self.last_state, state);
        if from != state {
            self.event(Event::StateChanged { from, to: state });
        }
    }

    /// What no other peer is known to hold, the oldest first, at most `limit`.
    pub fn outbox(&self, now: Now, limit: usize) -> Vec<OutboxView> {
        self.outbox.views(limit, now.time)
    }

    /// What is kept aside because its signer is not trusted here, the oldest first.
    pub fn quarantine(&self) -> Vec<QuarantineView> {
        self.quarantine.views()
    }

    pub(super) fn peer_views(&self) -> Vec<PeerView> {
        self.roster
            .iter()
            .map(|(id, member)| {
                let record = &member.record.record;
                let contact = self.contacts.get(id);
                let session = self.links.of(id);
                PeerView {
                    id: *id,
                    uri: record.uri.clone(),
                    row: grid::row(id, self.rows),
                    incarnation: record.incarnation,
                    addresses: record.addresses.clone(),
                    site: record.site.clone(),
                    software: record.software.clone(),
                    link: session.map(link_view),
                    last_seen: session
                        .map(|session| session.heard_wall)
                        .or(contact.and_then(|contact| contact.last_seen)),
                    last_error: contact.and_then(|contact| contact.last_error.clone()),
                }
            })
            .collect()
    }
}

fn link_view(session: &Session) -> LinkView {
    LinkView {
        link: session.link,
        dialled: session.dialled,
        address: session.address.clone(),
        rung: session.rung,
        rtt: session.rtt.smoothed(),
        since: session.since,
        since_time: session.since_time,
    }
}
