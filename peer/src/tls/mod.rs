//! The peer's certificate, key and roots, loaded from a directory into whole TLS configurations.
//!
//! Knows files and rustls; does not know sockets. A reload makes everything anew and swaps it at once, so that
//! no handshake sees the key of one load with the roots of another. Resumption is off everywhere: a resumed
//! TLS 1.3 session skips the certificate check, and a peer whose CA was removed would get in.

mod follow;
mod verifier;

pub use follow::follow;
pub use verifier::Refusal;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use sorcha_peer_pki::files::{FileError, IdentityContent, read_identity};
use sorcha_peer_pki::{
    CheckError, KeyError, PemError, SigningKey, SpiffeId, TrustBundle, TrustError, certificates_from_pem,
    describe,
};

/// Protocols that are offered and taken, best first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Digest of everything that a load of the directory reads.
pub type Content = [u8; 32];

/// Everything that one load of the directory gave. Immutable.
#[derive(Debug)]
pub struct Material {
    /// Of the files it was made from.
    pub content: Content,
    /// Whose certificate it is; equal to the configured identity.
    pub uri: SpiffeId,
    /// The roots to check others by.
    pub bundle: Arc<TrustBundle>,
    /// SHA-256 of the file that holds them.
    pub bundle_sha256: [u8; 32],
    /// SHA-256 of the root (DER) that the own certificate chains to.
    pub issuer_sha256: [u8; 32],
    /// Signs transactions and records.
    pub key: SigningKey,
    /// The leaf, DER: it travels with what is signed.
    pub certificate: Vec<u8>,
    /// Begin of the leaf's validity.
    pub not_before: Timestamp,
    /// End of the leaf's validity.
    pub not_after: Timestamp,
    /// SHA-256 of the leaf (DER).
    pub certificate_sha256: [u8; 32],
    /// For the listener.
    pub server: Arc<ServerConfig>,
    /// For dialling.
    pub client: Arc<ClientConfig>,
    /// For connections that only carry another one, within which `client` is used: whoever answers may, with any
    /// certificate, and learns nothing.
    pub bearer: Arc<ClientConfig>,
}

/// The current material, swapped as a whole by a reload.
#[derive(Debug)]
pub struct TlsState {
    directory: PathBuf,
    identity: SpiffeId,
    current: ArcSwap<Material>,
    /// Why what is in the directory now was not taken.
    fault: Mutex<Option<String>>,
}

/// Why the directory was not taken. What was in use before stays in use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable or too long.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate file holds no certificates.
    #[error("{} is not usable: {source}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// The key file holds no usable key.
    #[error("{} is not usable: {source}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The roots.
    #[error("{} is not usable: {source}", path.display())]
    Trust {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: TrustError,
    },
    /// Key and certificate are of different pairs.
    #[error(
        "the key in {} does not belong to the certificate in {}: both must come from the same issue", key.display(), certificate.display()
    )]
    KeyOfAnother {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// A certificate for somebody else.
    #[error(
        "{} is the certificate of {found}, and this peer is configured as {wanted}: issue one for it, or change networkId, trustDomain or name", path.display()
    )]
    OtherIdentity {
        /// The certificate file.
        path: PathBuf,
        /// What it says.
        found: SpiffeId,
        /// What the configuration says.
        wanted: SpiffeId,
    },
    /// Expired, not yet valid, of an unknown CA, or of a wrong form.
    #[error("{}: {source}", path.display())]
    Refused {
        /// The certificate file.
        path: PathBuf,
        /// Why.
        source: CheckError,
    },
    /// The TLS library refused what the checks let through.
    #[error("the certificate cannot be used for TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl TlsState {
    /// Loads `tls.crt` and `tls.key`, or where they are absent `<peer>.crt` and `<peer>.key`, with `ca.crt`, and checks
    /// that they make this peer at this time.
    pub fn load(directory: &Path, identity: SpiffeId, now: Timestamp) -> Result<Self, TlsError> {
        let material = read_material(directory, &identity, now)?;
        Ok(Self {
            directory: directory.to_owned(),
            identity,
            current: ArcSwap::from_pointee(material),
            fault: Mutex::default(),
        })
    }

    /// Reads the directory again. New handshakes use the result; links that stand keep their old identity.
    pub fn reload(&self, now: Timestamp) -> Result<(), TlsError> {
        let material = read_material(&self.directory, &self.identity, now);
        self.note(material.as_ref().err());
        self.current.store(Arc::new(material?));
        Ok(())
    }

    /// Why what is in the directory was not taken when it was last looked at; none where it was.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, fault: Option<&TlsError>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault.map(ToString::to_string);
    }

    /// Of what is in the directory now.
    pub fn content(&self) -> Result<Content, FileError> {
        Ok(digest_of(&read_identity(&self.directory, self.identity.peer())?))
    }

    /// What to use for the next handshake, signature or check.
    pub fn current(&self) -> Arc<Material> {
        self.current.load_full()
    }
}

/// The provider of all cryptography; never the process default, which another library could change.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn digest_of(content: &IdentityContent) -> Content {
    let mut digest = Sha256::new();
    for file in [&content.certificate, &*content.key, &content.trust] {
        digest.update((file.len() as u64).to_be_bytes());
        digest.update(file);
    }
    digest.finalize().into()
}

fn read_material(directory: &Path, identity: &SpiffeId, now: Timestamp) -> Result<Material, TlsError> {
    let read = read_identity(directory, identity.peer())?;
    let files = &read.files;
    let chain = certificates_from_pem(&read.certificate)
        .map_err(|source| TlsError::Certificate { path: files.certificate.clone(), source })?;
    let key_error = |source| TlsError::Key { path: files.key.clone(), source };
    let key = SigningKey::from_pem(&read.key).map_err(key_error)?;
    let tls_key = PrivateKeyDer::from_pem_slice(&read.key).map_err(|_| key_error(KeyError::None))?;
    let bundle = TrustBundle::from_pem(&read.trust)
        .map_err(|source| TlsError::Trust { path: files.trust.clone(), source })?;

    let (leaf, intermediates) = chain.split_first().expect("a PEM text without certificates was refused");
    let refused = |source| TlsError::Refused { path: files.certificate.clone(), source };
    let found = sorcha_peer_pki::trust::leaf_identity_of(leaf).map_err(refused)?;
    if found != *identity {
        return Err(TlsError::OtherIdentity {
            path: files.certificate.clone(),
            found,
            wanted: identity.clone(),
        });
    }
    if !key.is_of(leaf).map_err(refused)? {
        return Err(TlsError::KeyOfAnother {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
        });
    }
    let issuer_sha256 = bundle.check_chain(leaf, intermediates, now).map_err(refused)?.root_sha256;
    let says = describe(leaf).map_err(refused)?;

    let bundle = Arc::new(bundle);
    let certificate = leaf.clone();
    let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(CertificateDer::from).collect();
    let verifier =
        Arc::new(verifier::PeerVerifier::new(Arc::clone(&bundle), identity.network().to_owned(), provider()));
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::clone(&verifier) as _)
        .with_single_cert(chain.clone(), tls_key.clone_key())?;
    server.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, tls_key)?;
    client.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    client.resumption = Resumption::disabled();
    let mut bearer = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier::AnyCertificate::new(provider())))
        .with_no_client_auth();
    bearer.alpn_protocols = vec![ALPN[1].to_vec()];
    bearer.resumption = Resumption::disabled();

    Ok(Material {
        content: digest_of(&read),
        uri: found,
        bundle_sha256: Sha256::digest(&read.trust).into(),
        issuer_sha256,
        bundle,
        key,
        certificate_sha256: Sha256::digest(&certificate).into(),
        certificate,
        not_before: says.not_before,
        not_after: says.not_after,
        server: Arc::new(server),
        client: Arc::new(client),
        bearer: Arc::new(bearer),
    })
}
