//! `sorcha-operator run`: its arguments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::TypedValueParser as _;

use super::{Exit, Failure};

/// Look after the networks of a Kubernetes cluster.
#[derive(Debug, Args)]
#[command(after_long_help = NOTES)]
pub struct RunArgs {
    /// Namespace to look after, repeatable or divided by commas; without it all of them.
    #[arg(
        short,
        long = "namespace",
        value_name = "NS",
        env = "SORCHA_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,

    /// Image of the peers of networks that are new and name none.
    #[arg(long, value_name = "IMAGE", env = "SORCHA_PEER_IMAGE", default_value = sorcha_operator_plan::plan::IMAGE_DEFAULT)]
    pub peer_image: String,

    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, value_name = "ADDRESS", env = "SORCHA_METRICS_ADDRESS", default_value = "0.0.0.0:7461")]
    pub metrics_address: SocketAddr,

    /// Whether replicas choose one among them that acts; off, this process acts at once and must be the only one.
    #[arg(long, value_name = "on|off", env = "SORCHA_LEADER_ELECT", default_value = "on",
          value_parser = clap::builder::PossibleValuesParser::new(["on", "off"]).map(|word| word == "on"),
          action = clap::ArgAction::Set)]
    pub leader_elect: bool,

    /// Namespace of the Lease by which replicas choose [default: the namespace of the pod, else of the kubeconfig's
    /// context].
    #[arg(long, value_name = "NS", env = "SORCHA_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of the Lease by which replicas choose.
    #[arg(long, value_name = "NAME", env = "SORCHA_LEASE", default_value = "sorcha-operator")]
    pub lease_name: String,

    /// For how long the Lease holds without renewal, in seconds: so long nobody acts after a crash at most. The holder
    /// stops after two thirds of it and renews five times in that.
    #[arg(long, value_name = "SECONDS", env = "SORCHA_LEASE_SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u16).range(5..=300))]
    pub lease_seconds: u16,

    /// Name of this replica in the Lease and in Events, to which a random end is added [default: the host's name].
    #[arg(long, value_name = "NAME", env = "SORCHA_POD_NAME")]
    pub identity: Option<String>,

    /// The kubeconfig to use [default: $KUBECONFIG, then ~/.kube/config, then the pod's own ServiceAccount].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME", env = "SORCHA_KUBE_CONTEXT")]
    pub context: Option<String>,

    /// How many networks are looked at at the same time.
    #[arg(long, value_name = "N", env = "SORCHA_CONCURRENCY", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Requests to the API server a second at most; watches do not count.
    #[arg(long, value_name = "N", env = "SORCHA_REQUESTS_PER_SECOND", default_value_t = 500,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub requests_per_second: u16,

    /// How often each network is looked at though nothing was seen to change, in seconds.
    #[arg(long, value_name = "SECONDS", env = "SORCHA_RESYNC_SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub resync: u32,

    /// How much is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `info,sorcha_operator::apply=debug`.
    #[arg(long, value_name = "LEVEL", env = "SORCHA_LOG", default_value = "info")]
    pub log_level: String,

    /// Form of a log line, on standard error.
    #[arg(long, value_name = "FORMAT", env = "SORCHA_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object per line.
    Json,
}

const NOTES: &str = "\
Signals: SIGINT (Ctrl-C) and SIGTERM end what is under way, release the Lease and end with exit code 0 within 20 s; a
second one ends at once with 130.
While the API server cannot be reached, the definition is missing or a permission is, the process stays, says so in
its log and at /readyz, and tries again.";

/// Runs the verb.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    log(args)?;
    for namespace in namespaces(args) {
        if !is_label(namespace) {
            return Err(usage(format!(
                "--namespace {namespace:?} is no namespace: use lower-case letters, digits and hyphens."
            )));
        }
    }
    // one thread: the work is waiting, and every further thread keeps memory of its own
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    runtime.block_on(crate::operator::run(options(args)))
}

/// An empty variable names none.
fn namespaces(args: &RunArgs) -> impl Iterator<Item = &str> {
    args.namespaces.iter().map(|namespace| namespace.trim()).filter(|namespace| !namespace.is_empty())
}

fn options(args: &RunArgs) -> crate::operator::Options {
    crate::operator::Options {
        namespaces: namespaces(args).map(str::to_owned).collect(),
        peer_image: args.peer_image.clone(),
        metrics_address: args.metrics_address,
        leader_elect: args.leader_elect,
        lease_namespace: args.lease_namespace.clone(),
        lease_name: args.lease_name.clone(),
        lease_duration: Duration::from_secs(args.lease_seconds.into()),
        identity: args.identity.clone(),
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        concurrency: args.concurrency.into(),
        requests_per_second: args.requests_per_second,
        resync: Duration::from_secs(args.resync.into()),
    }
}

fn log(args: &RunArgs) -> Result<(), Failure> {
    // what kube has to say of failures is said here in sentences; whoever names its crates hears it nevertheless
    let directives = format!("kube_client=off,kube_runtime=off,{}", args.log_level);
    let filter = tracing_subscriber::EnvFilter::try_new(directives).map_err(|error| {
        usage(format!("--log-level {:?} cannot be read: {error}. Try info.", args.log_level))
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn usage(sentence: String) -> Failure {
    Failure::usage(anyhow::Error::msg(sentence))
}
