//! `sorcha-operator smoke`: its arguments.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, Failure};
use crate::client;
use crate::smoke::{self, Wanted};

/// Try the operator of a cluster: make a network, pass a transaction through it, remove it.
#[derive(Debug, Args)]
#[command(after_long_help = NOTES)]
pub struct SmokeArgs {
    /// Namespace of the network; the operator must look after it.
    #[arg(short, long, value_name = "NS", default_value = "default")]
    namespace: String,

    /// Name of the network; one of that name from an earlier try is removed first.
    #[arg(long, value_name = "NAME", default_value = "smoke-test")]
    name: String,

    /// Peers of the network.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=9))]
    peers: u32,

    /// Image of the peers [default: the operator's choice].
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// Volume of each peer, as a Quantity.
    #[arg(long, value_name = "SIZE", default_value = "64Mi")]
    storage_size: String,

    /// StorageClass of the volumes [default: the cluster's default class].
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,

    /// How long all of it may take, in seconds; after that what was made is removed and the exit code is 5.
    #[arg(long, value_name = "SECONDS", default_value_t = 240, value_parser = clap::value_parser!(u32).range(10..=3600))]
    deadline: u32,

    /// Leave a network that failed as it is, to be looked at.
    #[arg(long)]
    keep_failed: bool,

    /// The kubeconfig to use [default: $KUBECONFIG, then ~/.kube/config, then the pod's own ServiceAccount].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

const NOTES: &str = "\
Needs the rights to create, get and delete SorchaPeerNetworks, to list pods and to forward ports to them (create and
get pods/portforward), all in the one namespace. `helm test` runs this in a pod with just these.";

/// Runs the verb.
pub fn run(args: &SmokeArgs) -> Result<(), Failure> {
    let wanted = Wanted {
        namespace: args.namespace.clone(),
        name: args.name.clone(),
        peers: args.peers,
        image: args.image.clone(),
        storage_size: args.storage_size.clone(),
        storage_class: args.storage_class.clone(),
        deadline: Duration::from_secs(args.deadline.into()),
        keep_failed: args.keep_failed,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    runtime.block_on(async {
        // Only the first call of a process does anything; an earlier one chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = client::config(args.kubeconfig.as_ref(), args.context.as_deref()).await;
        let config = config.map_err(Failure::usage)?;
        let client = kube::Client::try_from(config).map_err(|error| Failure::new(Exit::Failed, error))?;
        let began = tokio::time::Instant::now();
        smoke::run(client, &wanted, &|line| {
            let seconds = began.elapsed().as_secs_f64();
            // A closed pipe is no failure of the network.
            let _ = writeln!(std::io::stdout().lock(), "{seconds:>6.1} s  {line}");
        })
        .await
        .map_err(|error| Failure::new(error.exit(), error))
    })
}
