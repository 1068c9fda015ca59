//! Where everything of the test node lies, and its names and addresses. Does nothing.

use std::path::{Path, PathBuf};

/// Name of the node.
pub(super) const NODE: &str = "node";
/// Bridge of the pods; its address is the node's, the API server's and the DNS server's.
pub(super) const BRIDGE: &str = "cni0";
/// Pods, and the address that the node has among them.
pub(super) const PODS: &str = "10.244.0.0/24";
pub(super) const NODE_ADDRESS: &str = "10.244.0.1";
/// Services, the API server's and the DNS server's.
pub(super) const SERVICES: &str = "10.96.0.0/16";
pub(super) const API_SERVICE: &str = "10.96.0.1";
pub(super) const DNS_SERVICE: &str = "10.96.0.10";
/// The only way between this machine and the node: a pair of interfaces, of which one is in the node's network.
/// Addresses for measurements between two machines (RFC 2544, C.2.2), so that they are nobody else's.
pub(super) const LINK_HERE: &str = "sorcha-node";
pub(super) const LINK_THERE: &str = "outside";
pub(super) const LINK_HERE_ADDRESS: &str = "198.18.53.1/30";
pub(super) const LINK_THERE_ADDRESS: &str = "198.18.53.2/30";
pub(super) const API_FROM_HERE: &str = "198.18.53.2";
/// Port of the API server.
pub(super) const API_PORT: u16 = 6443;
/// Where cgroups of pods are, below every hierarchy.
pub(super) const CGROUP: &str = "sorcha-cluster";
/// Image that holds a pod's namespaces.
pub(super) const PAUSE_IMAGE: &str = "sorcha.invalid/pause:1";
/// The class of volumes, which is the default one.
pub(super) const STORAGE_CLASS: &str = "standard";

/// Everything of one node, below one directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Not looked at yet.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// As text, for command lines and files.
    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// For whoever uses the cluster from this machine.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// Id of the process with which everything ends.
    pub(super) fn pid(&self) -> PathBuf {
        self.path("pid")
    }

    /// Programs of Kubernetes, copies or links.
    pub(super) fn program(&self, name: &str) -> String {
        self.text(&format!("bin/{name}"))
    }

    /// containerd's socket.
    pub(super) fn containerd(&self) -> String {
        self.text("run/containerd.sock")
    }

    /// The credentials of one of the node's programs.
    pub(super) fn credentials(&self, user: &str) -> String {
        self.text(&format!("pki/{user}.kubeconfig"))
    }
}
