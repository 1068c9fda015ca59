//! Certificates by reference: what may travel so, what is made of it, what is asked for whole (docs/design.md § 3.8).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Peer, Timer};
use crate::digests::Digests;
use crate::envelope::{Carried, Envelope, Referring};
use crate::event::{Class, Event, EvidenceKind};
use crate::gossip::unresolved::Unresolved;
use crate::message::{Message, Push};
use crate::types::{LinkId, Now, PeerId, Time};

/// What there is to remember of them.
#[derive(Debug, Default)]
pub(super) struct References {
    pub(super) unresolved: Unresolved,
    digests: Digests,
}

impl Peer {
    /// The certificate of a peer's record as it is known here, and since when.
    fn certificate_of(&self, peer: &PeerId) -> Option<(Bytes, Time)> {
        if *peer == self.me {
            let own = self.exchange.own()?;
            return Some((own.certificate.clone(), self.exchange.certificate_since()));
        }
        let member = self.roster.get(peer)?;
        Some((member.record.certificate.clone(), member.certificate_since()))
    }

    /// The envelope with its certificate by reference, where its origin's record carries the same one and others had time to
    /// learn that record.
    pub(super) fn reference_to(&mut self, envelope: &Envelope, now: Now) -> Option<Referring> {
        let after = self.config.references_after?;
        let origin = envelope.header().origin;
        let (certificate, since) = self.certificate_of(&origin)?;
        if certificate.is_empty() || certificate != envelope.certificate() || now.time < since + after {
            return None;
        }
        Some(envelope.referring(self.references.digests.of(&origin, &certificate)))
    }

    /// As an envelope travels on this link; `reference` as [`Peer::reference_to`] gave it.
    pub(super) fn carried_on(
        &self,
        link: LinkId,
        envelope: &Arc<Envelope>,
        reference: Option<&Referring>,
        now: Now,
    ) -> Carried {
        let refers = self.links.get(link).and_then(|session| session.refers_from);
        match reference {
            Some(reference) if refers.is_some_and(|from| from <= now.time) => {
                Carried::Referring(reference.clone())
            }
            _ => Carried::Whole(envelope.clone()),
        }
    }

    /// Its references did not lead the other side to certificates: for a while it gets whole ones.
    pub(super) fn refer_later(&mut self, link: LinkId, now: Now) {
        if let (Some(after), Some(session)) = (self.config.references_after, self.links.get_mut(link)) {
            session.refers_from = session.refers_from.map(|_| now.time + after);
        }
    }

    /// A push with its certificate, which is shared with the origin's record; the push itself where that is not known here.
    pub(super) fn resolve(&mut self, push: Push<Carried>) -> Result<Push, Push<Referring>> {
        let referring = match &push.envelope {
            Carried::Whole(envelope) => {
                let envelope = envelope.clone();
                return Ok(push.with(envelope));
            }
            Carried::Referring(referring) => referring.clone(),
        };
        let origin = push.envelope.header().origin;
        match self.certificate_of(&origin) {
            Some((certificate, _))
                if self.references.digests.of(&origin, &certificate) == *referring.digest() =>
            {
                let envelope = Arc::new(referring.with(certificate));
                Ok(push.with(envelope))
            }
            _ => Err(push.with(referring)),
        }
    }

    /// A reference leads to nothing here: nobody's fault, but whoever sent it can give the whole. `ack` is its frame, which is
    /// acknowledged when that is held.
    pub(super) fn ask_for_whole(
        &mut self,
        link: LinkId,
        from: PeerId,
        push: &Push<Referring>,
        ack: Option<(LinkId, u64)>,
        now: Now,
    ) {
        let id = push.envelope.id();
        let announcers = self.announcers_of(&id);
        let due =
            self.references.unresolved.came(id, push, ack, announcers.into_iter().chain([link]), now.time);
        self.set_opt(Timer::Fetch, due);
        self.sync.touch(&id, now.time);
        // Others have known that record for a while.
        self.ask_for_records(link, true, now);
        self.event(Event::Unresolved { from });
    }

    /// Asks for what is due; `wait` is how long a link's answer may take.
    pub(super) fn fetch_whole(&mut self, wait: impl Fn(&Self, LinkId) -> Option<Duration>, now: Now) {
        let mut unresolved = std::mem::take(&mut self.references.unresolved);
        let asks = unresolved.due(now.time, |link| wait(self, link));
        self.references.unresolved = unresolved;
        self.set_opt(Timer::Fetch, asks.next);
        for (link, ids) in asks.requests {
            let fetch = Message::Fetch { ids, salt: 0, short_ids: Vec::new(), whole: true };
            self.send(link, Class::Control, fetch);
        }
        for link in asks.in_vain {
            if let Some(peer) = self.links.get(link).map(|session| session.peer.id) {
                let detail =
                    "a certificate that it referred to did not come when it was asked for".to_owned();
                self.evidence(peer, EvidenceKind::Unanswered, detail);
            }
        }
        for id in asks.given_up {
            if self.intake.get(&id).is_none() {
                self.sync.arrived(&id, false, now.time);
            }
        }
    }
}
