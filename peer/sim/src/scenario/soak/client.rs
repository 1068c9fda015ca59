//! The application: submits, and tries again under the same key where it got no answer.

use bytes::Bytes;
use rand::RngCore;

use super::plan::Draft;
use crate::random;
use crate::world::World;

/// Of a body that repeats itself.
const PATTERN_BYTES: usize = 100;

/// Submissions with a key, and their latest tokens.
#[derive(Debug, Default)]
pub(super) struct Client {
    keyed: Vec<(Draft, u64)>,
}

impl Client {
    pub(super) fn submit(&mut self, world: &mut World, draft: Draft) {
        let key = if draft.keyed { format!("key-{}", draft.number) } else { String::new() };
        let mut body = vec![0; draft.bytes];
        // Every other one packs well, so that both forms travel.
        let pattern =
            if draft.number.is_multiple_of(2) { draft.bytes } else { draft.bytes.min(PATTERN_BYTES) };
        random::child(draft.number, "soak body", draft.peer as u64).fill_bytes(&mut body[..pattern]);
        for at in pattern..draft.bytes {
            body[at] = body[at - pattern];
        }
        let token = world.submit(draft.peer, Bytes::from(body), &key);
        if let (true, Some(token)) = (draft.keyed, token) {
            self.keyed.push((draft, token));
        }
    }

    /// The peer is back: what it did not answer is submitted again, and now and then what it did.
    pub(super) fn retry(&mut self, world: &mut World, peer: usize) {
        let (again, keep) = std::mem::take(&mut self.keyed).into_iter().partition(|(draft, token)| {
            let answered = matches!(world.ledger().submissions()[*token as usize].reply, Some(Ok(_)));
            draft.peer == peer && (!answered || draft.number % 4 == 0)
        });
        self.keyed = keep;
        let again: Vec<(Draft, u64)> = again;
        for (draft, _) in again {
            self.submit(world, draft);
        }
    }
}
