//! The plan of a network in a cluster: every object, decided.

use crate::kubernetes::Objects;
use crate::validate::Validated;

/// Image of the peers where nothing else says: the one that belongs to this version.
pub const IMAGE_DEFAULT: &str = concat!("sorcha-peer:", env!("CARGO_PKG_VERSION"));
/// Namespace where neither manifest nor command line says, as kubectl does it.
pub const NAMESPACE_DEFAULT: &str = "default";

/// What is known of the cluster before planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedCluster {
    /// Where the objects go.
    pub namespace: String,
    /// Image that the network was deployed with, kept until the manifest names another: a new version of the operator
    /// alone replaces no pod.
    pub image_deployed: Option<String>,
    /// Image of networks that are new and name none.
    pub image_default: String,
}

impl ObservedCluster {
    /// A cluster without the network, in which it is to be made.
    pub fn empty(network: &Validated) -> Self {
        Self {
            namespace: network.namespace.clone().unwrap_or_else(|| NAMESPACE_DEFAULT.to_owned()),
            image_deployed: None,
            image_default: IMAGE_DEFAULT.to_owned(),
        }
    }

    /// The image that the peers run: the manifest's, else the one deployed, else the default.
    pub(crate) fn image<'a>(&'a self, network: &'a Validated) -> &'a str {
        let named = network.spec.image.as_deref().or(self.image_deployed.as_deref());
        named.unwrap_or(&self.image_default)
    }
}

/// Everything that a cluster is given for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPlan {
    /// `metadata.name`.
    pub network: String,
    /// Where the objects go.
    pub namespace: String,
    /// The objects.
    pub objects: Objects,
}

/// Decides every object of a network. The same input gives the same plan.
pub fn plan(network: &Validated, cluster: &ObservedCluster) -> NetworkPlan {
    NetworkPlan {
        network: network.name.clone(),
        namespace: cluster.namespace.clone(),
        objects: Objects::build(network, cluster),
    }
}
