//! Waiting with a deadline.

use std::time::{Duration, Instant};

/// Asks `probe` every 20 ms until it answers, at most for `limit`; the error says what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        anyhow::ensure!(start.elapsed() < limit, "{what}: not within {} s", limit.as_secs_f32());
        std::thread::sleep(Duration::from_millis(20));
    }
}
