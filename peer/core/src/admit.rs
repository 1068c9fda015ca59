//! Local submissions between their request and their durability: what is let in, under which number.
//!
//! Numbers: a submission takes the lowest free sequence when it is sealed. Where sealing or storing fails,
//! nothing has left this peer and nothing was stored, so the number is free again and the next submission
//! takes it; a gap remains only if no further submission comes in this incarnation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::envelope::Envelope;
use crate::event::{Submit, SubmitRefused};
use crate::tree::Body;
use crate::types::OpId;
use crate::types::bounds::{BODY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, REGISTER_BYTES_MAX};
use crate::view::Size;

/// Others that wait for the same idempotency key; one more is told that the peer is busy.
const FOLLOWERS_MAX: usize = 64;
/// When a submission that found the peer busy may come back: a few group commits. Guess.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// One submission under way.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) token: u64,
    pub(crate) register: String,
    pub(crate) body: Arc<Body>,
    pub(crate) key: String,
    /// Its number, from sealing on.
    pub(crate) sequence: Option<u64>,
    /// From its seal on.
    pub(crate) envelope: Option<Arc<Envelope>>,
    /// Tokens of further submissions with the same key.
    pub(crate) followers: Vec<u64>,
}

/// What to do with a submission.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// Go on with it.
    New(Submission),
    /// The same key is under way: it is answered with that one.
    Follows,
}

/// All submissions under way, by the effect that they wait for.
#[derive(Debug)]
pub(crate) struct Admission {
    waiting: BTreeMap<OpId, Submission>,
    keys: BTreeMap<String, OpId>,
    next: u64,
    free: BTreeSet<u64>,
    body_bytes_max: u64,
    submissions_max: usize,
}

impl Admission {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 1] {
        [Size { name: "submissions under way", len: self.waiting.len(), max: self.submissions_max }]
    }

    pub(crate) fn new(body_bytes_max: u64, submissions_max: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            keys: BTreeMap::new(),
            next: 1,
            free: BTreeSet::new(),
            body_bytes_max: body_bytes_max.min(BODY_BYTES_MAX),
            submissions_max,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Lets a submission in, or says why not.
    pub(crate) fn admit(&mut self, submit: Submit) -> Result<Admitted, SubmitRefused> {
        let bytes = submit.body.bytes().len() as u64;
        if bytes > self.body_bytes_max {
            return Err(SubmitRefused::BodyTooLarge { bytes, max: self.body_bytes_max });
        }
        if submit.register.len() > REGISTER_BYTES_MAX || submit.register.chars().any(char::is_control) {
            let register = submit.register.escape_debug().take(80).collect();
            return Err(SubmitRefused::BadRegister { register });
        }
        if submit.idempotency_key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(SubmitRefused::BadKey { bytes: submit.idempotency_key.len() });
        }
        if let Some(first) = self.keys.get(&submit.idempotency_key).and_then(|op| self.waiting.get_mut(op)) {
            if first.followers.len() >= FOLLOWERS_MAX {
                return Err(self.busy());
            }
            first.followers.push(submit.token);
            return Ok(Admitted::Follows);
        }
        if self.waiting.len() >= self.submissions_max {
            return Err(self.busy());
        }
        Ok(Admitted::New(Submission {
            token: submit.token,
            register: submit.register,
            body: submit.body,
            key: submit.idempotency_key,
            sequence: None,
            envelope: None,
            followers: Vec::new(),
        }))
    }

    fn busy(&self) -> SubmitRefused {
        SubmitRefused::Busy { pending: self.waiting.len(), retry_after: RETRY_AFTER }
    }

    /// The lowest free number.
    pub(crate) fn number(&mut self) -> u64 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// The submission waits for this effect.
    pub(crate) fn wait(&mut self, op: OpId, submission: Submission) {
        if !submission.key.is_empty() {
            self.keys.insert(submission.key.clone(), op);
        }
        self.waiting.insert(op, submission);
    }

    /// The effect was answered.
    pub(crate) fn take(&mut self, op: OpId) -> Option<Submission> {
        let submission = self.waiting.remove(&op)?;
        if self.keys.get(&submission.key) == Some(&op) {
            self.keys.remove(&submission.key);
        }
        Some(submission)
    }

    /// The submission came to nothing: its number is free.
    pub(crate) fn release(&mut self, submission: &Submission) {
        self.free.extend(submission.sequence);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn submit(token: u64, register: &str, bytes: usize, key: &str) -> Submit {
        let body = Arc::new(Body::new(Bytes::from(vec![0; bytes])));
        Submit { token, register: register.into(), body, idempotency_key: key.into() }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_its_figures() {
        let mut admission = Admission::new(10, 1);
        let refused = |admission: &mut Admission, submit| admission.admit(submit).expect_err("refused");
        let too_large = refused(&mut admission, submit(1, "", 11, ""));
        assert_eq!(too_large, SubmitRefused::BodyTooLarge { bytes: 11, max: 10 });
        let register = refused(&mut admission, submit(1, "a\nb", 1, ""));
        assert_eq!(register, SubmitRefused::BadRegister { register: "a\\nb".into() });
        let key = refused(&mut admission, submit(1, "", 1, &"k".repeat(65)));
        assert_eq!(key, SubmitRefused::BadKey { bytes: 65 });
        let Ok(Admitted::New(first)) = admission.admit(submit(1, "r", 10, "")) else { panic!("refused") };
        admission.wait(OpId(1), first);
        assert!(matches!(
            refused(&mut admission, submit(2, "", 1, "")),
            SubmitRefused::Busy { pending: 1, .. }
        ));
    }

    #[test]
    fn a_second_submission_with_the_key_follows_the_first() {
        let mut admission = Admission::new(10, 9);
        let Ok(Admitted::New(first)) = admission.admit(submit(1, "", 1, "key")) else { panic!("refused") };
        admission.wait(OpId(1), first);
        assert!(matches!(admission.admit(submit(2, "", 1, "key")), Ok(Admitted::Follows)));
        let first = admission.take(OpId(1)).expect("it waits");
        assert_eq!(first.followers, [2]);
        assert!(matches!(admission.admit(submit(3, "", 1, "key")), Ok(Admitted::New(_))));
    }

    #[test]
    fn a_number_that_was_not_used_is_given_again() {
        let mut admission = Admission::new(10, 9);
        let Ok(Admitted::New(mut first)) = admission.admit(submit(1, "", 1, "")) else { panic!("refused") };
        first.sequence = Some(admission.number());
        assert_eq!(admission.number(), 2);
        admission.release(&first);
        assert_eq!((admission.number(), admission.number()), (1, 3));
    }
}
