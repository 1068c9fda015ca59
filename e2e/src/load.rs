//! Load on peers, for tests that submit thousands: a connection for each request, no process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::plain::{self, Answer};

/// A peer that is busy or stopped does not answer; whoever submits goes on after this time.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Submits a body.
pub fn submit(api: &str, key: Option<&str>, body: &[u8]) -> anyhow::Result<Answer> {
    plain::request(api, "POST", "/v1/transactions?register=load", key, body, ANSWER_MAX)
}

/// Submits one body after another to a peer until told to stop; what was acknowledged is added to `acknowledged`.
/// Every second submission has a key and is tried again under it, as an application would, until it is acknowledged.
pub fn keep_submitting(api: &str, name: &str, stop: &AtomicBool, acknowledged: &Mutex<Vec<String>>) {
    for number in 0_u64.. {
        let key = (number % 2 == 0).then(|| format!("{name}-{number}"));
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let body = format!("{name}/{number}/{}", "x".repeat((number % 700) as usize));
            match submit(api, key.as_deref(), body.as_bytes()) {
                Ok(answer) if answer.code < 300 => {
                    if let Some(id) = answer.json()["id"].as_str() {
                        acknowledged.lock().expect("no holder panics").push(id.to_owned());
                    }
                    break;
                }
                // A refusal or a cut connection is no acknowledgement.
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
            if key.is_none() {
                break;
            }
        }
    }
}
