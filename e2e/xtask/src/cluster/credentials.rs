//! Certificates and tokens of the test node, and the files that hold them. They live as long as the node.
//!
//! Knows who must present what to whom; knows nothing of how the programs are run.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::layout::{API_FROM_HERE, API_PORT, API_SERVICE, Layout, NODE, NODE_ADDRESS};

/// Name of the credentials, user as the API server knows it, and its group. The rules for most of these users are
/// part of every API server.
const USERS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node", "system:nodes"),
    ("proxy", "system:kube-proxy", ""),
];

/// Writes all of them.
pub(super) fn write(layout: &Layout) -> Result<()> {
    std::fs::create_dir_all(layout.path("pki"))?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Sorcha test cluster");
    let root = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    file(layout, "ca.crt", &root.pem())?;

    let names = [
        NODE_ADDRESS,
        API_SERVICE,
        API_FROM_HERE,
        "127.0.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut server = CertificateParams::new(names.map(str::to_owned).to_vec())?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (_, server_key) = issue(layout, "server", &server, &issuer)?;

    // The API server shows this one to the kubelet, for `kubectl exec` and `logs`.
    let mut client = CertificateParams::default();
    client.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    client.distinguished_name.push(DnType::OrganizationName, "system:masters");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issue(layout, "kubelet-client", &client, &issuer)?;

    let mut kubelet = CertificateParams::new(vec![NODE.to_owned(), NODE_ADDRESS.to_owned()])?;
    kubelet.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    issue(layout, "kubelet", &kubelet, &issuer)?;

    let mut tokens = String::new();
    for (name, user, group) in USERS {
        let mut seed = server_key.serialize_der();
        seed.extend_from_slice(user.as_bytes());
        let token = hex::encode(Sha256::digest(seed));
        tokens.extend([&token, ",", user, ",", user, ",", group, "\n"]);
        let text = kubeconfig(&root, NODE_ADDRESS, &token);
        file(layout, &format!("{name}.kubeconfig"), &text)?;
        if name == "admin" {
            private(&layout.kubeconfig(), &kubeconfig(&root, API_FROM_HERE, &token))?;
        }
    }
    file(layout, "tokens.csv", &tokens)
}

fn issue(
    layout: &Layout,
    name: &str,
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(Certificate, KeyPair)> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    file(layout, &format!("{name}.crt"), &certificate.pem())?;
    file(layout, &format!("{name}.key"), &key.serialize_pem())?;
    Ok((certificate, key))
}

fn kubeconfig(root: &Certificate, server: &str, token: &str) -> String {
    use base64::Engine as _;
    let root = base64::engine::general_purpose::STANDARD.encode(root.pem());
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "sorcha",
        "contexts": [{"name": "sorcha", "context": {"cluster": "sorcha", "user": "sorcha"}}],
        "clusters": [{"name": "sorcha", "cluster": {
            "server": format!("https://{server}:{API_PORT}"),
            "certificate-authority-data": root,
        }}],
        "users": [{"name": "sorcha", "user": {"token": token}}],
    })
    .to_string()
}

fn file(layout: &Layout, name: &str, text: &str) -> Result<()> {
    private(&layout.path("pki").join(name), text)
}

/// Readable by its owner alone.
fn private(path: &std::path::Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}
