//! `sorcha-operator local`: its arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, Failure};
use crate::local::{self, Format, Options};

/// Run a network as processes on this machine, in the foreground.
#[derive(Debug, Args)]
#[command(after_long_help = EVENTS)]
pub struct LocalArgs {
    /// The SorchaPeerNetwork manifest. Saved changes are followed while the network runs.
    #[arg(short, long = "file", value_name = "FILE")]
    file: PathBuf,

    /// Where networks keep their state, each in a directory of its name; default: $XDG_STATE_HOME/sorcha, else
    /// ~/.local/state/sorcha.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// The peer's program; default: sorcha-peer beside this program, then on PATH.
    #[arg(long, value_name = "PATH")]
    peer_binary: Option<PathBuf>,

    /// How long peers may take to link with one another before they are named, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86400))]
    join_deadline: u32,

    /// End with exit code 5 when the first start passes the join deadline; without it the network stays.
    #[arg(long)]
    exit_unless_linked: bool,

    /// Tell events for people (table), as a line of JSON each, or as a YAML document each.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

const EVENTS: &str = "\
Events of --output json, one object per line on stdout; `event` names the kind:
  planned            network, peers, directory, binary
  notice             field, message: a field of the manifest without effect here
  leftover-stopped   peer, pid: of an earlier run that was killed
  started            peer, pid
  progress           running, linked, of
  ready              network, seconds, endpoints, binary, manifest, peers[name, pid, peer, api, admin, directory]
  exited             peer, how, restartInMs
  crash-loop         peer, failures, log, lines[]
  moved              peer, port: another program has taken its ports; the first of its new ones
  returned           peer, pid, ms: linked again after it had ended
  manifest-rejected  message: the network stays as it is
  manifest-accepted  peers: it is right again, and the network is as it says
  changing           from, to, added[], removed[], restarted[]
  removed            peer, directory, killed
  settled            peers, seconds: all linked after a change
  not-linked         seconds, peers[peer, how, log, lines[]]: the join deadline has passed
  renewed            peer: it has a new certificate
  warning            message
  stopping           reason
  stopped            seconds, killed

Signals: SIGINT (Ctrl-C), SIGTERM and SIGHUP stop all peers and end with exit code 0; a second one kills the
peers at once and ends with 130.";

/// Runs the verb.
pub fn run(args: LocalArgs) -> Result<(), Failure> {
    if args.file.as_os_str() == "-" {
        let message = "-f -: the manifest is followed while the network runs, so it must be a file: save it, and name it with -f";
        return Err(Failure::usage(anyhow::Error::msg(message)));
    }
    let options = Options {
        manifest: args.file,
        state_directory: args.state_dir,
        peer_binary: args.peer_binary,
        join_deadline: Duration::from_secs(args.join_deadline.into()),
        exit_unless_linked: args.exit_unless_linked,
        format: args.output,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    runtime.block_on(local::run(options)).map_err(|error| Failure::new(error.exit(), error))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn standard_input_is_no_manifest_to_follow() {
        let command = LocalArgs::augment_args(clap::Command::new("local"));
        let matches = command.try_get_matches_from(["local", "-f", "-"]).expect("parsed");
        let failure = run(LocalArgs::from_arg_matches(&matches).expect("parsed")).expect_err("no file");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("it must be a file"), "{failure}");
    }
}
