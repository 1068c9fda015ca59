//! The client of the API server: where its configuration comes from, its deadlines.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Longest wait for a connection (a guess: across regions a handshake takes 300 ms).
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig that was named cannot be used.
    #[error("kubeconfig {}: {why}. Name a readable kubeconfig and a context that it holds.", .file.display())]
    Kubeconfig {
        /// Which.
        file: PathBuf,
        /// The cause.
        why: String,
    },
    /// None was named, and none was found.
    #[error(
        "there is no cluster to talk to: {0}. Name a kubeconfig with --kubeconfig or KUBECONFIG, or run in a pod with \
         a ServiceAccount."
    )]
    Nowhere(String),
    /// It was read and makes no client.
    #[error("the client of the API server cannot be made: {0}")]
    Unusable(String),
}

/// The configuration: what was named, else what kubectl would take, else the pod's own.
pub async fn config(file: Option<&PathBuf>, context: Option<&str>) -> Result<Config, ClientError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match (file, context) {
        (Some(file), _) => {
            let failed = |error: &dyn std::error::Error| ClientError::Kubeconfig {
                file: file.clone(),
                why: crate::cli::chain(error),
            };
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| failed(&error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| failed(&error))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| ClientError::Nowhere(crate::cli::chain(&error)))?,
        (None, None) => {
            Config::infer().await.map_err(|error| ClientError::Nowhere(crate::cli::chain(&error)))?
        }
    };
    config.connect_timeout = Some(CONNECT);
    // failures are sorted and waited for here, in one place (`backoff`)
    config.default_retry = false;
    Ok(config)
}

/// The client.
pub fn client(config: Config) -> Result<Client, ClientError> {
    Client::try_from(config).map_err(|error| ClientError::Unusable(crate::cli::chain(&error)))
}
