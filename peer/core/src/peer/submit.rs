//! A local transaction: admitted, numbered, signed, durable, answered, on its way.

use std::sync::Arc;

use super::{Peer, Phase, Purpose, Timer};
use crate::admit::{Admitted, Submission};
use crate::envelope::{Envelope, Header};
use crate::event::{Accepted, Event, Output, StoreFault, Submit, SubmitRefused};
use crate::gossip::push;
use crate::types::{Now, OpId, TxId};

impl Peer {
    pub(super) fn submit(&mut self, submit: Submit, now: Now) {
        let token = submit.token;
        let admitted = if self.phase == Phase::Running && self.drain.is_none() {
            self.admission.admit(submit)
        } else {
            Err(SubmitRefused::Draining)
        };
        match admitted {
            Err(refused) => self.reply(token, Err(refused)),
            Ok(Admitted::Follows) => {}
            Ok(Admitted::New(submission)) if submission.key.is_empty() => self.seal(submission, now),
            Ok(Admitted::New(submission)) => {
                let op = self.op(Purpose::Recall);
                self.outputs.push_back(Output::Recall { op, idempotency_key: submission.key.clone() });
                self.admission.wait(op, submission);
            }
        }
    }

    pub(super) fn recalled(&mut self, op: OpId, result: Result<Option<TxId>, StoreFault>, now: Now) {
        self.ops.remove(&op);
        let Some(submission) = self.admission.take(op) else { return };
        match result {
            Ok(Some(id)) => self.answer(&submission, &Ok((id, 0)), true),
            Ok(None) => self.seal(submission, now),
            // Going on could make a second transaction of one.
            Err(fault) => self.answer(&submission, &Err(SubmitRefused::Store(fault)), false),
        }
    }

    fn seal(&mut self, mut submission: Submission, now: Now) {
        let sequence = self.admission.number();
        submission.sequence = Some(sequence);
        let header = Header {
            network: self.config.network.clone(),
            origin: self.me,
            incarnation: self.incarnation,
            sequence,
            register: submission.register.clone(),
            // A clock that was set back must not make a transaction that is too old at once.
            published: now.wall.max(self.floors.own()),
            body_bytes: submission.body.bytes().len() as u64,
            body_root: submission.body.root(),
        };
        let op = self.op(Purpose::Seal);
        self.admission.wait(op, submission);
        self.outputs.push_back(Output::Seal { op, header });
    }

    pub(super) fn sealed(&mut self, op: OpId, result: Result<Arc<Envelope>, String>) {
        self.ops.remove(&op);
        let Some(mut submission) = self.admission.take(op) else { return };
        match result {
            Ok(envelope) => {
                self.seen.pending(envelope.id(), envelope.header().published);
                submission.envelope = Some(envelope.clone());
                let op = self.op(Purpose::PersistOwn);
                let body = submission.body.clone();
                let idempotency_key = submission.key.clone();
                self.admission.wait(op, submission);
                self.outputs.push_back(Output::Persist { op, envelope, body, idempotency_key });
            }
            Err(reason) => {
                self.admission.release(&submission);
                self.answer(&submission, &Err(SubmitRefused::Unsigned(reason)), false);
            }
        }
    }

    pub(super) fn own_persisted(&mut self, op: OpId, now: Now) {
        let Some(submission) = self.admission.take(op) else { return };
        let Some(envelope) = submission.envelope.clone() else { return };
        let (id, published) = (envelope.id(), envelope.header().published);
        self.seen.held(id, published);
        // Its own row gets it from here: no other head has to ask for that.
        self.seen.relay(&id);
        self.answer(&submission, &Ok((id, published.as_unix_ms())), false);
        self.outbox.accepted(id, published, now.time);
        self.holders.accepted(id, now.time);
        self.origins.used(envelope.header(), id);
        self.set_opt(Timer::Outbox, self.outbox.next());
        self.event(Event::Accepted { id, body_bytes: envelope.header().body_bytes });
        let heads = self.misses.heads();
        let origin = push::Origin {
            me: &self.me,
            reachable: !self.config.advertise.is_empty(),
            rows: self.pushing_rows,
            heads,
        };
        let targets = push::from_origin(&origin, &id, &self.neighbours(now));
        self.push_to(&targets, &envelope, Some(submission.body.payload()), 1, now);
    }

    pub(super) fn own_not_persisted(&mut self, op: OpId, fault: StoreFault) {
        let Some(submission) = self.admission.take(op) else { return };
        if let Some(envelope) = &submission.envelope {
            self.seen.release(&envelope.id());
        }
        self.admission.release(&submission);
        self.answer(&submission, &Err(SubmitRefused::Store(fault)), false);
    }

    /// Answers a submission and all that followed it under the same key.
    fn answer(
        &mut self,
        submission: &Submission,
        result: &Result<(TxId, u64), SubmitRefused>,
        duplicate: bool,
    ) {
        let reply = |duplicate| {
            result.clone().map(|(id, published)| Accepted {
                id,
                duplicate,
                published_unix_ms: if duplicate { 0 } else { published },
            })
        };
        self.reply(submission.token, reply(duplicate));
        for follower in &submission.followers {
            self.reply(*follower, reply(true));
        }
    }

    fn reply(&mut self, token: u64, result: Result<Accepted, SubmitRefused>) {
        self.outputs.push_back(Output::SubmitReply { token, result });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::config::{Config, Identity, Start};
    use crate::event::{Input, Submit};
    use crate::tree::Body;

    fn drain(peer: &mut Peer) -> Vec<Output> {
        std::iter::from_fn(|| peer.poll_output()).collect()
    }

    #[test]
    fn a_key_that_cannot_be_looked_up_is_refused_and_may_be_tried_again() {
        let now = Now::default();
        let identity = Identity { uri: "spiffe://one.test/net/me".to_owned() };
        let mut peer = Peer::new(Config::default(), identity, Start::default(), now);
        drain(&mut peer);
        for (token, works) in [(1, false), (2, true)] {
            peer.handle(
                now,
                Input::Submit(Submit {
                    token,
                    register: String::new(),
                    body: Arc::new(Body::new(Bytes::from_static(b"once"))),
                    idempotency_key: "key".to_owned(),
                }),
            );
            let outputs = drain(&mut peer);
            let Some(Output::Recall { op, .. }) = outputs.first() else { panic!("{outputs:?}") };
            let fault = || StoreFault::Failed("it cannot be read".to_owned());
            let result = works.then_some(None).ok_or_else(fault);
            peer.handle(now, Input::Recalled { op: *op, result });
            let outputs = drain(&mut peer);
            match outputs.first() {
                Some(Output::Seal { .. }) => assert!(works),
                Some(Output::SubmitReply { token: 1, result: Err(SubmitRefused::Store(_)) }) => {
                    assert!(!works);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
