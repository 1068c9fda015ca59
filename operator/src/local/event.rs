//! What local mode tells its user, as values. How it is told is in `report`.

use std::path::PathBuf;

use serde::Serialize;

use super::endpoints::Endpoint;

/// One thing that happened. With `--output json` each is one line; fields are camelCase.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(super) enum Event {
    /// The manifest is understood; processes start now.
    Planned {
        /// The manifest's name.
        network: String,
        /// Peers in it.
        peers: usize,
        /// Where everything is kept.
        directory: PathBuf,
        /// The peer's program.
        binary: PathBuf,
    },
    /// A field of the manifest has no effect here.
    Notice {
        /// Path, such as `spec.resources`.
        field: String,
        /// As a sentence.
        message: String,
    },
    /// A peer of an earlier run was still there and was ended.
    LeftoverStopped {
        /// Name of the peer.
        peer: String,
        /// Its process.
        pid: u32,
    },
    /// A process runs.
    Started {
        /// Name of the peer.
        peer: String,
        /// Its process.
        pid: u32,
    },
    /// How far starting or a change has come; told when a number changes.
    Progress {
        /// Processes that answer.
        running: usize,
        /// Peers that have all the links they want.
        linked: usize,
        /// Peers in the network.
        of: usize,
    },
    /// All peers are linked for the first time.
    Ready {
        /// The manifest's name.
        network: String,
        /// From the first start to now.
        #[serde(serialize_with = "to_the_millisecond")]
        seconds: f64,
        /// The file that makes `sorcha-peer --peer NAME` work.
        endpoints: PathBuf,
        /// The peer's program.
        binary: PathBuf,
        /// The manifest that is watched.
        manifest: PathBuf,
        /// The peers.
        peers: Vec<Endpoint>,
    },
    /// A peer ended without being told to.
    Exited {
        /// Name of the peer.
        peer: String,
        /// As a sentence part: "was killed by signal 9".
        how: String,
        /// Until it starts again.
        restart_in_ms: u64,
    },
    /// A peer that had ended is linked again.
    Returned {
        /// Name of the peer.
        peer: String,
        /// Its new process.
        pid: u32,
        /// From its end to being linked again.
        ms: u64,
    },
    /// Another program has taken a port of a peer that does not run; the peer gets others.
    Moved {
        /// Name of the peer.
        peer: String,
        /// First of its new ports.
        port: u16,
    },
    /// A peer keeps ending.
    CrashLoop {
        /// Name of the peer.
        peer: String,
        /// Failures in a row.
        failures: u32,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        lines: Vec<String>,
    },
    /// The manifest changed and is wrong; the network stays as it is.
    ManifestRejected {
        /// Which field, which value, and the way out.
        message: String,
    },
    /// The manifest is right again after it was rejected, and says what already runs.
    ManifestAccepted {
        /// Peers in it.
        peers: usize,
    },
    /// The manifest changed; the network follows.
    Changing {
        /// Peers before.
        from: usize,
        /// Peers wanted.
        to: usize,
        /// Started.
        added: Vec<String>,
        /// Told to leave.
        removed: Vec<String>,
        /// Restarted one after another, because their configuration changed.
        restarted: Vec<String>,
    },
    /// A peer has left for good. Its folder stays.
    Removed {
        /// Name of the peer.
        peer: String,
        /// Its folder, with identity and data, for its return.
        directory: PathBuf,
        /// It did not end in time and was killed.
        killed: bool,
    },
    /// After a change, all peers are linked.
    Settled {
        /// Peers in the network.
        peers: usize,
        /// From the change to now.
        #[serde(serialize_with = "to_the_millisecond")]
        seconds: f64,
    },
    /// Some peers are not linked though the deadline has passed.
    NotLinked {
        /// From the start or change to now.
        #[serde(serialize_with = "to_the_millisecond")]
        seconds: f64,
        /// Those peers.
        peers: Vec<Unlinked>,
    },
    /// A peer's certificate was near its end and was renewed.
    Renewed {
        /// Name of the peer.
        peer: String,
    },
    /// Something beside the peers went wrong; the network goes on.
    Warning {
        /// As a sentence.
        message: String,
    },
    /// All peers are told to stop.
    Stopping {
        /// The signal or failure that asked for it.
        reason: String,
    },
    /// No process is left.
    Stopped {
        /// From the signal to now.
        #[serde(serialize_with = "to_the_millisecond")]
        seconds: f64,
        /// Peers that did not end in time and were killed.
        killed: usize,
    },
}

/// A peer that does not join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Unlinked {
    /// Name of the peer.
    pub(super) peer: String,
    /// As a sentence part: "is linked to 1 of 4".
    pub(super) how: String,
    /// Its log.
    pub(super) log: PathBuf,
    /// The log's last lines.
    pub(super) lines: Vec<String>,
}

/// Nothing here is measured more finely, and nobody reads nine digits.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn to_the_millisecond<S: serde::Serializer>(seconds: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((seconds * 1e3).round() / 1e3)
}
