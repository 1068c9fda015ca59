//! The command line of `sorcha-peer`: what each verb is called, and the way to its code.
//!
//! Verbs speak to a running peer through its local API like any other client; `run` is the peer itself.

mod cert;
pub mod client;
pub mod config;
pub mod console;
mod cursors;
mod drain;
pub mod endpoint;
pub mod escape;
mod outbox;
mod show;
mod store;
mod submit;
mod tail;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::cli::console::{Console, Failure, Format};
use crate::cli::endpoint::Target;

/// A question to a peer is given up after this, where the command line does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Heading of the options that only the verbs use that ask a running peer.
const ASKING: &str = "Asking a running peer (submit, tail, holders, status, peers, outbox, quarantine, cursors, drain, resume)";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "sorcha-peer",
    version,
    about = "A peer of a Sorcha network, and the commands to use one",
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 unreachable, 4 refused, 5 timed out."
)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Peer of a local network, by full name or its end (peers-2, 2)
    #[arg(long, global = true, value_name = "NAME", help_heading = ASKING)]
    pub peer: Option<String>,
    /// endpoints.json in which --peer is looked up [default: those of local networks under ./target/sorcha and the state directory] [env: SORCHA_ENDPOINTS]
    #[arg(long, global = true, value_name = "FILE", help_heading = ASKING)]
    pub endpoints: Option<PathBuf>,
    /// Local API: HOST:PORT or unix:/path; --peer goes before it [default: 127.0.0.1:7451] [env: SORCHA_API]
    #[arg(long, global = true, value_name = "ADDR", help_heading = ASKING)]
    pub api: Option<String>,
    /// How long to wait for an answer, such as 10s or 500ms; tail: for all of it [default: 10s; tail: no end]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, help_heading = ASKING)]
    pub timeout: Option<Duration>,
    /// Output for people or programs
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

impl Global {
    /// What the command line leaves open, from the environment. Not clap's `env`: that would show these options
    /// in the usage line of every mistake, and refuse a variable that is set to nothing.
    fn or_environment(mut self) -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        self.endpoints = self.endpoints.or_else(|| set("SORCHA_ENDPOINTS").map(PathBuf::from));
        self.api = self.api.or_else(|| set("SORCHA_API").map(|api| api.to_string_lossy().into_owned()));
        self
    }

    /// Which peer is meant.
    pub fn target(&self) -> Target<'_> {
        Target { peer: self.peer.as_deref(), endpoints: self.endpoints.as_deref(), api: self.api.as_deref() }
    }

    /// For one question.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT_DEFAULT)
    }
}

/// What `sorcha-peer` does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a peer until SIGTERM or SIGINT
    Run(RunArgs),
    /// Submit a transaction and print its id
    Submit(SubmitArgs),
    /// Print transactions in the order of their arrival, and wait for more
    Tail(TailArgs),
    /// How many other peers hold a transaction durably
    Holders(HoldersArgs),
    /// What no other peer is known to hold yet
    #[command(subcommand)]
    Outbox(outbox::OutboxVerb),
    /// Transactions kept aside because their signer is not trusted here
    Quarantine {
        /// Look at all of them again first: trust may have changed
        #[arg(long)]
        retry: bool,
    },
    /// Named cursors of subscriptions
    #[command(subcommand)]
    Cursors(cursors::CursorsVerb),
    /// The peer at a glance
    Status,
    /// All other peers that it knows
    Peers,
    /// Let a peer accept nothing more and bring everything that it holds to the others
    Drain(DrainArgs),
    /// Take back a drain: the peer accepts again
    Resume,
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigVerb),
    /// The store of a peer that is not running
    #[command(subcommand)]
    Store(StoreVerb),
    /// Certificates for peers that no operator serves
    #[command(subcommand)]
    Cert(cert::CertVerb),
    /// Print a completion script for a shell
    Completions {
        /// Shell to print it for
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What `config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Name everything that is wrong with a file; where its certificates are here, check them too
    Check {
        /// Configuration file
        #[arg(default_value = config::FILE_DEFAULT)]
        file: PathBuf,
    },
    /// Print the reference of all keys, as Markdown
    Reference,
}

/// What `store` does.
#[derive(Debug, Subcommand)]
pub enum StoreVerb {
    /// Hold every row against what it stands for; changes nothing
    Check {
        /// State directory
        #[arg(default_value = "/var/lib/sorcha")]
        directory: PathBuf,
    },
    /// What is held, since when, and how much space it takes; changes nothing
    Stats {
        /// State directory
        #[arg(default_value = "/var/lib/sorcha")]
        directory: PathBuf,
    },
    /// Keep what proves itself, list what does not, give free space back; a damaged file is set aside
    Repair {
        /// State directory
        #[arg(default_value = "/var/lib/sorcha")]
        directory: PathBuf,
    },
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = config::FILE_DEFAULT)]
    pub config: PathBuf,
    /// The peer's name, in place of the file's
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// `submit`.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "sorcha-peer submit [OPTIONS] <FILE | - | --text TEXT>")]
pub struct SubmitArgs {
    /// Register that the transaction belongs to
    #[arg(long, value_name = "R", default_value = "")]
    pub register: String,
    /// A retry with the same key within 24 h makes no second transaction
    #[arg(long, value_name = "KEY", default_value = "")]
    pub idempotency_key: String,
    /// When to answer: local (durable at this peer), or a NUMBER of other peers that hold it durably [default: local]
    #[arg(long, value_name = "LEVEL")]
    pub ack: Option<submit::Ack>,
    /// How long to wait for holders, such as 30s; then exit code 5, though the transaction is accepted
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub wait: Duration,
    /// Body: a file, or - for standard input
    #[arg(required_unless_present = "text")]
    pub file: Option<PathBuf>,
    /// Body: this text
    #[arg(long, conflicts_with = "file")]
    pub text: Option<String>,
}

/// `tail`.
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    /// Durable cursor: goes on after what this name has printed before
    #[arg(long, value_name = "NAME", default_value = "")]
    pub cursor: String,
    /// Where to begin, with a new cursor or none: earliest, latest, after a POSITION, at a TIME (2026-01-31T12:00:00Z) or so long AGO (15m)
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    pub from: tail::From,
    /// Only these registers
    #[arg(long = "register", value_name = "R")]
    pub registers: Vec<String>,
    /// Only what these peers published: SPIFFE URI, name or id
    #[arg(long = "origin", value_name = "PEER")]
    pub origins: Vec<String>,
    /// End after this many transactions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Write the bodies as they are, and nothing else
    #[arg(long)]
    pub raw: bool,
}

/// `holders`.
#[derive(Debug, Clone, Args)]
pub struct HoldersArgs {
    /// The transaction's id: 64 hexadecimal digits
    pub id: String,
    /// Wait until so many hold it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub wanted: Option<u32>,
    /// How long to wait and to ask other peers, such as 10s; without it the answer is what is known
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// `drain`.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// How long to wait for its end, such as 60s or 10m
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub wait: Duration,
    /// Once it is done, tell the others to forget this peer; its process goes on
    #[arg(long)]
    pub leave: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    parsed
        .ok()
        .and_then(|it| Duration::try_from(it).ok())
        .filter(|it| !it.is_zero())
        .ok_or_else(|| "write a time above zero with its unit, such as 10s, 500ms or 2m".to_owned())
}

/// The program: standard streams in, exit code out.
pub fn main() -> ExitCode {
    // Not locked for good: the log of `run` is written by other threads.
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    ExitCode::from(run(std::env::args_os(), &mut Console::standard(&mut out, &mut err)))
}

/// Parses and runs one command line. The answer is the exit code: 0 ok, 1 failed, 2 usage, 3 unreachable,
/// 4 refused, 5 timed out.
pub fn run<I, T>(args: I, console: &mut Console<'_>) -> u8
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return console.clap(&error),
    };
    let result = dispatch(cli, console);
    console.end(result)
}

fn dispatch(cli: Cli, console: &mut Console<'_>) -> Result<(), Failure> {
    let Cli { global, verb } = cli;
    let global = global.or_environment();
    match verb {
        Verb::Run(args) => Ok(crate::run::run(&args)?),
        Verb::Submit(args) => block_on(submit::submit(&global, &args, console)),
        Verb::Tail(args) => block_on(tail::tail(&global, &args, console)),
        Verb::Holders(args) => block_on(outbox::holders(&global, &args, console)),
        Verb::Outbox(verb) => block_on(outbox::outbox(&global, &verb, console)),
        Verb::Quarantine { retry } => block_on(outbox::quarantine(&global, retry, console)),
        Verb::Cursors(verb) => block_on(cursors::cursors(&global, &verb, console)),
        Verb::Status => block_on(show::status(&global, console)),
        Verb::Peers => block_on(show::peers(&global, console)),
        Verb::Drain(args) => block_on(drain::drain(&global, &args, console)),
        Verb::Resume => block_on(drain::resume(&global, console)),
        Verb::Config(ConfigVerb::Check { file }) => config::check(&file, global.output, console),
        Verb::Config(ConfigVerb::Reference) => {
            Ok(console.out.write_all(sorcha_peer_config::reference_markdown().as_bytes())?)
        }
        Verb::Store(StoreVerb::Check { directory }) => store::check_store(&directory, global.output, console),
        Verb::Store(StoreVerb::Stats { directory }) => store::show_stats(&directory, global.output, console),
        Verb::Store(StoreVerb::Repair { directory }) => {
            store::repair_store(&directory, global.output, console)
        }
        Verb::Cert(verb) => cert::cert(&verb, global.output, console),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sorcha-peer", &mut *console.out);
            Ok(())
        }
    }
}

/// A client needs one thread.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A read of standard input that is still waiting must not keep the process.
    runtime.shutdown_background();
    result
}
