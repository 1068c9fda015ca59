//! Logs: text or JSON on standard error, made from the core's outputs, outside the pure crates.
//!
//! Levels: `error` the peer cannot do its work; `warn` somebody should look; `info` what an operator
//! follows in normal times (links, peers, start and stop); `debug` single transactions and dials with
//! addresses; `trace` frames.
//!
//! Lines are written by a thread of their own, and lost where it cannot keep up or write: a pipe that nobody reads
//! must not stop the peer, nor a full disk end it.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sorcha_peer_core::event::{Event, EvidenceKind};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for the output at most; further ones are counted and lost (guess: a second of a very busy peer).
const LINES_MAX: usize = 4_096;
/// How long the end of the process waits for the last lines.
const FLUSHES_WITHIN: Duration = Duration::from_secs(1);

/// What the writing thread takes.
enum Job {
    Line(Vec<u8>),
    /// Everything before it is written.
    Flush(SyncSender<()>),
}

/// Takes lines without ever waiting for the output.
struct Lines {
    jobs: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

static OUTPUT: OnceLock<SyncSender<Job>> = OnceLock::new();

impl Lines {
    fn start(output: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Self { jobs, lost: Arc::clone(&lost) };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&waiting, &lost, output))?;
        Ok(lines)
    }
}

fn write_lines(waiting: &Receiver<Job>, lost: &AtomicU64, mut output: impl Write) {
    while let Ok(job) = waiting.recv() {
        match job {
            Job::Line(line) => {
                // One line is written whole or, where the output takes nothing, is one more that is lost.
                if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
            Job::Flush(done) => drop(done.try_send(())),
        }
        let gone = lost.swap(0, Ordering::Relaxed);
        if gone > 0 {
            // As an event, it takes the form of all others; it is one line more in the queue.
            tracing::warn!(lines = gone, "lines of this log were lost: its output was full or too slow");
        }
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.jobs.try_send(Job::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits a moment until what was logged is written: for the end of the process.
pub fn flush() {
    if let Some(jobs) = OUTPUT.get() {
        flush_within(jobs, FLUSHES_WITHIN);
    }
}

fn flush_within(jobs: &SyncSender<Job>, within: Duration) {
    let (done, written) = sync_channel(1);
    // A queue that is full now belongs to an output that takes nothing.
    if jobs.try_send(Job::Flush(done)).is_ok() {
        let _late = written.recv_timeout(within);
    }
}

/// Starts logging; a filter that cannot be read is answered with a sentence.
pub fn init(filter: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!(
            "log.level: '{filter}' is not a log filter ({error}): write error, warn, info, debug or trace"
        )
    })?;
    let started = |error: &dyn std::fmt::Display| format!("logging could not be started: {error}");
    let lines = Lines::start(std::io::stderr()).map_err(|error| started(&error))?;
    let jobs = lines.jobs.clone();
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(Arc::new(lines));
    let result = if json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry.with(layer.with_ansi(false)).try_init()
    };
    result.map_err(|error| started(&error))?;
    // Set already: then this is a second start, which has failed above.
    let _first = OUTPUT.set(jobs);
    Ok(())
}

/// One line for one event.
pub fn event(event: &Event) {
    match event {
        Event::LinkReady { peer, dialled, .. } => {
            tracing::info!(peer = peer.uri, dialled, "linked");
        }
        Event::LinkEnded { peer, reason, .. } => tracing::info!(peer = peer.uri, reason, "link ended"),
        // Less and less often: who waits for the first link sees why there is none.
        Event::DialFailed { address, peer: None, failures, error } if failures.is_power_of_two() => {
            tracing::info!(%address, failures, "no link by a bootstrap address: {error}");
        }
        Event::DialFailed { address, failures, error, .. } => {
            tracing::debug!(%address, failures, "no link: {error}");
        }
        Event::PeerJoined { uri, .. } => tracing::info!(peer = uri, "peer known"),
        Event::PeerLeft { uri, reason, .. } => tracing::info!(peer = uri, reason, "peer forgotten"),
        Event::RowsChanged { from, to } => tracing::info!(from, to, "the grid has another number of rows"),
        Event::Accepted { id, body_bytes } => tracing::debug!(%id, body_bytes, "accepted"),
        Event::Received { id, hops, body_bytes, age_ms, .. } => {
            tracing::debug!(%id, hops, body_bytes, age_ms, "received");
        }
        Event::Duplicate { from } => tracing::trace!(%from, "duplicate"),
        Event::TooOld { from } => {
            tracing::debug!(%from, "brought a transaction older than what is kept here");
        }
        Event::Unresolved { from } => {
            tracing::debug!(%from, "a push refers to a certificate that is not known here: asked for whole");
        }
        Event::Expired { removed, floor } => {
            let before = crate::api::readiness::time_text(*floor);
            tracing::info!(removed, before, "retention removed the oldest transactions");
        }
        Event::StoreFault { fault: Some(fault) } => tracing::error!("{fault}"),
        Event::StoreFault { fault: None } => tracing::info!("the store accepts again"),
        Event::StateChanged { from, to } => {
            tracing::info!(from = from.as_str(), to = to.as_str(), "the peer's state has changed");
        }
        Event::Quarantined { id, origin, reason } => {
            tracing::warn!(%id, %origin, "kept aside, its signer is not trusted here: {reason}");
        }
        Event::QuarantineReleased { count } => {
            tracing::info!(count, "quarantined transactions are checked again");
        }
        Event::Equivocation { origin, incarnation, sequence, first, second } => {
            tracing::warn!(%origin, incarnation, sequence, %first, %second, "one number, two transactions");
        }
        Event::SyncEnded { peer, received, sent } if received + sent > 0 => {
            tracing::info!(%peer, received, sent, "reconciled");
        }
        Event::SyncEnded { peer, .. } => tracing::trace!(%peer, "reconciled: nothing was missing"),
        Event::Evidence { peer, kind: EvidenceKind::UntrustedSigner | EvidenceKind::Unanswered, detail } => {
            tracing::debug!(%peer, "{detail}");
        }
        Event::Evidence { peer, kind, detail } => tracing::warn!(%peer, kind = kind.as_str(), "{detail}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    /// Takes nothing until it is let go, and fails where it is told to.
    #[derive(Clone, Default)]
    struct Output {
        written: Arc<Mutex<Vec<u8>>>,
        blocked: Arc<Mutex<()>>,
        fails: bool,
    }

    impl Write for Output {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            drop(self.blocked.lock());
            if self.fails {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.written.lock().expect("no panic").extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_takes_nothing_stops_nobody() {
        let output = Output::default();
        let blocked = output.blocked.lock().expect("free");
        let lines = Lines::start(output.clone()).expect("a thread");
        let started = Instant::now();
        for _ in 0..LINES_MAX + 100 {
            (&lines).write_all(b"line\n").expect("taken or lost");
        }
        flush_within(&lines.jobs, Duration::from_millis(10));
        assert!(started.elapsed() < Duration::from_secs(5));
        // One may be with the thread.
        assert!((99..=100).contains(&lines.lost.load(Ordering::Relaxed)));
        drop(blocked);
        while output.written.lock().expect("no panic").len() < LINES_MAX * 5 {
            assert!(started.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let lines = Lines::start(Output { fails: true, ..Output::default() }).expect("a thread");
        (&lines).write_all(b"one\n").expect("taken");
        flush_within(&lines.jobs, Duration::from_secs(20));
        (&lines).write_all(b"two\n").expect("taken");
    }

    #[test]
    fn what_was_logged_is_written_before_the_end() {
        let output = Output::default();
        let lines = Lines::start(output.clone()).expect("a thread");
        for _ in 0..100 {
            (&lines).write_all(b"line\n").expect("taken");
        }
        flush_within(&lines.jobs, Duration::from_secs(20));
        assert_eq!(output.written.lock().expect("no panic").len(), 500);
    }
}
