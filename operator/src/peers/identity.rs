//! The operator's own certificate, ready for TLS, and the check of the peers'.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sorcha_peer_pki::{Issued, SpiffeId, TrustBundle};

/// Why an identity does not serve.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the operator's own certificate cannot be used for TLS: {0}")]
pub struct IdentityError(String);

/// `spiffe://<trust domain>/<network id>/operator` with its key, held in memory only.
pub struct Identity {
    uri: SpiffeId,
    bundle_pem: String,
    renew_at: Timestamp,
    client: Arc<ClientConfig>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("uri", &self.uri)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// From what was issued; `bundle_pem`: the roots of the peers. To be made anew from `renew_at` on.
    pub fn new(
        uri: SpiffeId,
        issued: &Issued,
        bundle_pem: &str,
        renew_at: Timestamp,
    ) -> Result<Self, IdentityError> {
        let failed = |error: &dyn std::fmt::Display| IdentityError(error.to_string());
        let bundle = TrustBundle::from_pem(bundle_pem.as_bytes()).map_err(|error| failed(&error))?;
        let certificate =
            CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).map_err(|error| failed(&error))?;
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).map_err(|error| failed(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(PeersOnly { bundle, provider: Arc::clone(&provider) });
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![certificate], key)
            .map_err(|error| failed(&error))?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session skips the check of the peer's certificate.
        client.resumption = Resumption::disabled();
        Ok(Self { uri, bundle_pem: bundle_pem.to_owned(), renew_at, client: Arc::new(client) })
    }

    /// Its URI.
    pub fn uri(&self) -> &SpiffeId {
        &self.uri
    }

    /// The roots by which peers are checked, PEM.
    pub fn bundle_pem(&self) -> &str {
        &self.bundle_pem
    }

    /// When it is to be made anew.
    pub fn renew_at(&self) -> Timestamp {
        self.renew_at
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// Takes every certificate of the roots' own trust domains; whose it is, whoever connects compares afterwards.
#[derive(Debug)]
struct PeersOnly {
    bundle: TrustBundle,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PeersOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = i64::try_from(now.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let at = at.ok_or(Error::FailedToGetCurrentTime)?;
        match self.bundle.check_leaf(end_entity, intermediates, at) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error)))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
