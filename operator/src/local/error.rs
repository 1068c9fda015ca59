//! What can go wrong before a network runs, each with its exit code.

use std::io;
use std::path::PathBuf;

use crate::cli::Exit;

/// Why `local` ended. Nothing that ran before is touched unless the message says so.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The manifest's file.
    #[error("the manifest {} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the manifest says.
    #[error("the manifest {} is not valid: {message}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which field, which value, and the way out.
        message: String,
    },
    /// The plan breaks a rule that all plans keep: a fault of this program.
    #[error("the plan made from the manifest is not sound, which is a fault of sorcha-operator: {0}")]
    Unsound(String),
    /// No place for the state.
    #[error("neither XDG_STATE_HOME nor HOME is set; say where the network's state goes with --state-dir")]
    NoHome,
    /// The state directory or a file in it.
    #[error("{action} {} failed", .path.display())]
    State {
        /// What was tried, such as "writing".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CA or a certificate.
    #[error("{action} {} failed: {message}", .path.display())]
    Certificate {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// No peer to run.
    #[error("{0}")]
    NoPeer(String),
    /// The flag names something that is no program.
    #[error("--peer-binary {} is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    /// Another supervisor has it.
    #[error(
        "the network {network} is already run by process {pid} from {manifest}; edit that manifest to change \
         the network, or stop that process first"
    )]
    AlreadyRuns {
        /// The network.
        network: String,
        /// The other supervisor; 0 where its file does not say.
        pid: u32,
        /// The manifest that it watches.
        manifest: String,
    },
    /// A peer of a supervisor that was killed does not end.
    #[error(
        "process {pid}, a peer left over from an earlier run, does not end even on SIGKILL; its state is in use"
    )]
    Leftover {
        /// The process.
        pid: u32,
    },
    /// Not linked in time, and the user asked to end then.
    #[error("{0}")]
    NotLinked(String),
    /// A second Ctrl-C.
    #[error("interrupted a second time: all peers were killed at once")]
    Killed,
    /// This process's own surroundings.
    #[error("{action} failed")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl LocalError {
    /// The exit code that says which kind this is.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreadable { .. } | Self::Invalid { .. } | Self::NotExecutable(_) | Self::NoHome => {
                Exit::Usage
            }
            Self::AlreadyRuns { .. } => Exit::Refused,
            Self::NotLinked(_) => Exit::TimedOut,
            Self::Killed => Exit::Interrupted,
            Self::Unsound(_)
            | Self::State { .. }
            | Self::Certificate { .. }
            | Self::NoPeer(_)
            | Self::Leftover { .. }
            | Self::Process { .. } => Exit::Failed,
        }
    }

    /// For `map_err`: an action on a file of the state directory.
    pub(crate) fn state(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::State { action, path, source }
    }
}
