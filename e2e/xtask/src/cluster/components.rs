//! The programs of the test node: their command lines and their files.
//!
//! Knows what each wants to be told on a machine with cgroup v1 and without a way out; starting and watching them is
//! `node.rs`.

use anyhow::Result;
use serde_json::json;

use super::layout::{
    API_PORT, BRIDGE, CGROUP, DNS_SERVICE, Layout, NODE, NODE_ADDRESS, PAUSE_IMAGE, PODS, SERVICES,
};

/// One program, kept running.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) name: &'static str,
    pub(super) program: String,
    pub(super) args: Vec<String>,
}

/// All of them, in the order in which they are started. None waits for another: each tries again until what it needs
/// is there.
pub(super) fn all(layout: &Layout) -> Vec<Component> {
    let own = |name: &'static str, args: Vec<String>| Component { name, program: layout.program(name), args };
    let pki = |name: &str| layout.text(&format!("pki/{name}"));
    let as_user = |user: &str| format!("--kubeconfig={}", layout.credentials(user));
    let containerd = Component {
        name: "containerd",
        program: "containerd".to_owned(),
        args: vec!["--config".to_owned(), layout.text("containerd.toml")],
    };
    let volumes = Component {
        name: "volumes",
        program: layout.program("xtask"),
        args: vec!["cluster".to_owned(), "volumes".to_owned(), "--state".to_owned(), layout.text("")],
    };
    vec![
        own(
            "etcd",
            vec![
                format!("--data-dir={}", layout.text("etcd")),
                "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
                "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
                "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
                // A kill loses nothing that the kernel has; nothing here is to survive the machine.
                "--unsafe-no-fsync".to_owned(),
            ],
        ),
        containerd,
        own(
            "kube-apiserver",
            vec![
                "--etcd-servers=http://127.0.0.1:2379".to_owned(),
                "--bind-address=0.0.0.0".to_owned(),
                format!("--advertise-address={NODE_ADDRESS}"),
                format!("--secure-port={API_PORT}"),
                format!("--tls-cert-file={}", pki("server.crt")),
                format!("--tls-private-key-file={}", pki("server.key")),
                format!("--client-ca-file={}", pki("ca.crt")),
                format!("--token-auth-file={}", pki("tokens.csv")),
                format!("--kubelet-certificate-authority={}", pki("ca.crt")),
                format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
                format!("--kubelet-client-key={}", pki("kubelet-client.key")),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                "--allow-privileged=true".to_owned(),
                format!("--service-cluster-ip-range={SERVICES}"),
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
                format!("--service-account-key-file={}", pki("server.crt")),
                format!("--service-account-signing-key-file={}", pki("server.key")),
            ],
        ),
        own(
            "kube-controller-manager",
            vec![
                as_user("controllers"),
                "--leader-elect=false".to_owned(),
                "--use-service-account-credentials=true".to_owned(),
                format!("--service-account-private-key-file={}", pki("server.key")),
                format!("--root-ca-file={}", pki("ca.crt")),
            ],
        ),
        own("kube-scheduler", vec![as_user("scheduler"), "--leader-elect=false".to_owned()]),
        own(
            "kubelet",
            vec![
                as_user("kubelet"),
                format!("--config={}", layout.text("kubelet.json")),
                format!("--root-dir={}", layout.text("kubelet")),
                format!("--hostname-override={NODE}"),
                format!("--node-ip={NODE_ADDRESS}"),
            ],
        ),
        own("kube-proxy", vec![format!("--config={}", layout.text("kube-proxy.json"))]),
        own("coredns", vec!["-conf".to_owned(), layout.text("Corefile")]),
        volumes,
    ]
}

/// Writes the files that they read.
pub(super) fn write_files(layout: &Layout) -> Result<()> {
    std::fs::create_dir_all(layout.path("cni"))?;
    let files = [
        ("containerd.toml", containerd(layout)),
        ("cni/pods.conflist", network(layout)),
        ("kubelet.json", kubelet(layout)),
        ("kube-proxy.json", kube_proxy(layout)),
        ("Corefile", corefile(layout)),
    ];
    for (name, text) in files {
        std::fs::write(layout.path(name), text)?;
    }
    Ok(())
}

fn containerd(layout: &Layout) -> String {
    let (root, state) = (layout.text("containerd"), layout.text("run/containerd"));
    let (socket, cni) = (layout.containerd(), layout.text("cni"));
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE, which a container of CI may lack, no sandbox could lower its score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    )
}

fn network(layout: &Layout) -> String {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": layout.text("addresses"),
            },
        }],
    })
    .to_string()
}

fn kubelet(layout: &Layout) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "tlsCertFile": layout.text("pki/kubelet.crt"),
        "tlsPrivateKeyFile": layout.text("pki/kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.text("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP}"),
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        "resolvConf": "",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "podLogsDir": layout.text("logs/pods"),
        "serializeImagePulls": false,
        // The disk is not this node's to look after, and an image that is gone cannot be fetched again.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%",
                         "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        // Files of ConfigMaps and Secrets follow within this, as in every cluster.
        "syncFrequency": "60s",
    })
    .to_string()
}

fn kube_proxy(layout: &Layout) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": layout.credentials("proxy")},
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        "mode": "iptables",
        "iptables": {"minSyncPeriod": "0s"},
        // A network of its own has none to set.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
    .to_string()
}

/// Names of the cluster; every other name does not exist, since there is no way out.
fn corefile(layout: &Layout) -> String {
    format!(
        "cluster.local in-addr.arpa {{
    bind {NODE_ADDRESS}
    errors
    ready 127.0.0.1:8181
    cache 5 {{
        denial 1000 1
    }}
    kubernetes {{
        kubeconfig {}
        ttl 2
        pods disabled
    }}
}}
. {{
    bind {NODE_ADDRESS}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
        layout.credentials("admin")
    )
}
