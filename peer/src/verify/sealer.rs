//! The thread that signs headers: one signature for all that wait.
//!
//! Knows the key and the order of submission; does not know who asks. A header that comes after a pause is signed at
//! once. Where they come faster than the pace, those that gather in it are signed together, see `batch`: a submission
//! waits for the disk longer than that.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sorcha_peer_core::envelope::{Envelope, Header};
use sorcha_peer_core::types::{TX_DOMAIN, TxId};

use super::batch::{HEADERS_MAX, Tree};
use super::{QUEUE_MAX, busy, sign};
use crate::tls::{Material, TlsState};

/// Shortest pause between two signatures while headers wait. About what one sync of a fast disk takes (measured: 1 to 3 ms).
const PACE_MIN: Duration = Duration::from_millis(2);
/// Longest one. Guess: well below what a person or a WAN notices.
const PACE_MAX: Duration = Duration::from_millis(20);
/// So many signatures during one commit of the store. Guess: what is signed late in it waits as long as what was early.
const SIGNATURES_PER_COMMIT: u32 = 4;

/// How long two signatures are apart at least, while headers wait.
pub type Pace = Box<dyn Fn() -> Duration + Send>;

/// The pace where the store's last commit took this long: a header that is signed waits for the end of a commit, and those
/// that are signed together cost everyone who checks them one signature.
pub fn pace_of_commits(last: Duration) -> Duration {
    (last / SIGNATURES_PER_COMMIT).clamp(PACE_MIN, PACE_MAX)
}

/// Takes the answer, on the signing thread.
pub(super) type Sealed = Box<dyn FnOnce(Result<Arc<Envelope>, String>) + Send>;

/// Where headers wait to be signed; the thread ends with it.
#[derive(Debug)]
pub(super) struct Sealer {
    waiting: Arc<Waiting>,
}

struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    headers: VecDeque<(Header, Sealed)>,
    closed: bool,
}

impl Waiting {
    /// Nothing is left half done by a panic while this is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Headers to sign together, once some wait and `not_before` has come; none once it is closed and empty.
    fn take(&self, not_before: Option<Instant>) -> Vec<(Header, Sealed)> {
        let mut state = self.lock();
        loop {
            let pause = not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            let enough = state.headers.len() >= HEADERS_MAX || state.closed;
            if enough || !state.headers.is_empty() && pause.is_zero() {
                let count = state.headers.len().min(HEADERS_MAX);
                return state.headers.drain(..count).collect();
            }
            state = if state.headers.is_empty() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }
}

impl Sealer {
    pub(super) fn start(tls: Arc<TlsState>, pace: Pace) -> std::io::Result<Self> {
        let waiting = Arc::new(Waiting { state: Mutex::default(), changed: Condvar::new() });
        let theirs = Arc::clone(&waiting);
        std::thread::Builder::new().name("sealer".to_owned()).spawn(move || work(&theirs, &tls, &pace))?;
        Ok(Self { waiting })
    }

    /// Has a header signed; refused where too many wait.
    pub(super) fn seal(&self, header: Header, sealed: Sealed) {
        {
            let mut state = self.waiting.lock();
            if state.headers.len() < QUEUE_MAX {
                state.headers.push_back((header, sealed));
                self.waiting.changed.notify_one();
                return;
            }
        }
        sealed(busy());
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.waiting.lock().closed = true;
        self.waiting.changed.notify_one();
    }
}

fn work(waiting: &Waiting, tls: &TlsState, pace: &Pace) {
    let mut not_before = None;
    loop {
        let headers = waiting.take(not_before);
        if headers.is_empty() {
            return;
        }
        not_before = Some(Instant::now() + pace());
        let (headers, answers): (Vec<Header>, Vec<Sealed>) = headers.into_iter().unzip();
        for (answer, sealed) in answers.into_iter().zip(seal(&tls.current(), headers)) {
            answer(sealed);
        }
    }
}

/// One answer for each header, in order.
fn seal(material: &Material, headers: Vec<Header>) -> Vec<Result<Arc<Envelope>, String>> {
    let encoded: Vec<Bytes> = headers.iter().map(sorcha_peer_wire::encode_header).collect();
    let fields: Result<Vec<Bytes>, String> = if let [alone] = encoded.as_slice() {
        sign(material, &[TX_DOMAIN, alone].concat()).map(|signature| vec![signature])
    } else {
        let tree = Tree::over(encoded.iter().map(|signed| TxId::of_header(signed)));
        sign(material, &tree.message())
            .map(|der| (0..).zip(&encoded).map(|(index, _)| tree.field(index, &der)).collect())
    };
    let fields = match fields {
        Ok(fields) => fields,
        Err(error) => return headers.iter().map(|_| Err(error.clone())).collect(),
    };
    let certificate = Bytes::copy_from_slice(&material.certificate);
    let envelope = |((header, signed), signature)| {
        Ok(Arc::new(Envelope::new(header, signed, signature, certificate.clone())))
    };
    headers.into_iter().zip(encoded).zip(fields).map(envelope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_apart_by_a_part_of_a_commit_within_bounds() {
        for (commit_ms, pace_ms) in [(0, 2), (4, 2), (40, 10), (1_000, 20)] {
            assert_eq!(
                pace_of_commits(Duration::from_millis(commit_ms)),
                Duration::from_millis(pace_ms),
                "{commit_ms}"
            );
        }
    }
}
