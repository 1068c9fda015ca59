//! Certificates of a Sorcha network: naming, issuing, checking, signing.
//!
//! Every key is ECDSA P-256; every identity is one SPIFFE URI, `spiffe://<trust domain>/<network>/<peer>`;
//! every CA belongs to one trust domain, and a chain is checked against the roots of its own domain only, so
//! that no organisation can name another's peers. Used by the peer's CLI, by the operator's CA and by local mode.
//!
//! This crate reads no clock: whoever calls says what time it is. It touches the disk in [`files`] alone, and
//! knows nothing of sockets and TLS sessions.

pub mod authority;
pub mod describe;
pub mod files;
pub mod sign;
pub mod spiffe;
pub mod trust;

pub use authority::{Authority, AuthorityError, IssueRequest, Issued};
pub use describe::{Description, describe};
pub use sign::{KeyError, PublicKey, SigningKey};
pub use spiffe::{SpiffeError, SpiffeId};
pub use trust::{Chain, CheckError, TrustBundle, TrustError};

/// Certificates in a PEM file at most; a longer file is refused.
pub const CERTIFICATES_PER_FILE_MAX: usize = 64;

/// Reads all certificates of a PEM text, in order, as DER. Other sections (keys) are passed over.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let mut found = Vec::new();
    for section in CertificateDer::pem_slice_iter(pem) {
        let certificate = section.map_err(|error| PemError::Unreadable(error.to_string()))?;
        if found.len() == CERTIFICATES_PER_FILE_MAX {
            return Err(PemError::TooMany);
        }
        found.push(certificate.to_vec());
    }
    if found.is_empty() { Err(PemError::None) } else { Ok(found) }
}

/// Why a text holds no certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Not a PEM text at all, or one that breaks off.
    #[error("it is not a PEM text: {0}")]
    Unreadable(String),
    /// No section with the label CERTIFICATE.
    #[error("it holds no certificate: a PEM text with '-----BEGIN CERTIFICATE-----' is wanted")]
    None,
    /// More than [`CERTIFICATES_PER_FILE_MAX`].
    #[error("it holds more than {CERTIFICATES_PER_FILE_MAX} certificates")]
    TooMany,
}
