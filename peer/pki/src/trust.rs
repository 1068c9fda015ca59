//! Whom to trust: roots bound to trust domains, and the check of a leaf against the roots of its own domain.
//!
//! A small, strict subset of path validation (RFC 5280 § 6): ECDSA P-256 with SHA-256 only, at most three
//! intermediates, no name constraints and no policies (a certificate that carries them is refused rather than
//! half understood), no revocation lists (revocation is pushed, docs/design.md § 6).

use jiff::Timestamp;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256 as ECDSA_WITH_SHA256,
};
use x509_parser::prelude::FromDer;

use crate::sign::PublicKey;
use crate::spiffe::{SpiffeError, SpiffeId, trust_domain_of_root};
use crate::{PemError, certificates_from_pem};

/// Certificates between leaf and root at most.
pub const INTERMEDIATES_MAX: usize = 3;
/// Roots in a bundle at most.
pub const ROOTS_MAX: usize = 64;
/// Longest certificate that is looked at, in bytes; ours have about 700.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// The roots that a peer trusts, each for one trust domain.
#[derive(Debug, Clone, Default)]
pub struct TrustBundle {
    roots: Vec<Root>,
}

/// One trusted root.
#[derive(Debug, Clone)]
pub struct Root {
    trust_domain: String,
    subject: String,
    not_after: Timestamp,
    der: Vec<u8>,
}

impl Root {
    /// The domain whose peers it may name.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Its subject, for people.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Its end.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// A chain that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Whose the leaf is.
    pub uri: SpiffeId,
    /// Its key.
    pub key: PublicKey,
    /// From when all its certificates are valid.
    pub not_before: Timestamp,
    /// Until when all of them are.
    pub not_after: Timestamp,
    /// SHA-256 of the root (DER) that it ends at.
    pub root_sha256: [u8; 32],
}

impl Chain {
    fn of(
        (uri, key): (SpiffeId, PublicKey),
        (not_before, not_after): Validity,
        root: &X509Certificate<'_>,
    ) -> Self {
        Self { uri, key, not_before, not_after, root_sha256: Sha256::digest(root.as_raw()).into() }
    }
}

/// Why a bundle was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The PEM text.
    #[error("the trust bundle is not readable: {0}")]
    Unreadable(#[from] PemError),
    /// One of its certificates; counted from 1.
    #[error("certificate {number} of the trust bundle is not a root: {why}")]
    NotARoot {
        /// Its place.
        number: usize,
        /// As a sentence.
        why: CheckError,
    },
    /// More than [`ROOTS_MAX`].
    #[error("the trust bundle holds {0} roots; at most {ROOTS_MAX} are taken")]
    TooMany(usize),
}

/// What is wrong with a certificate or a signature. Each is a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Not a certificate at all.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// RFC 5280 § 4.1.2.7.
    #[error("the certificate of {0} has another key than ECDSA P-256; only that is accepted")]
    KeyType(String),
    /// RFC 5280 § 4.1.1.2.
    #[error(
        "the certificate of {0} is signed by another algorithm than ECDSA P-256 with SHA-256; only that is accepted"
    )]
    SignatureType(String),
    /// RFC 5280 § 4.2: a critical extension that is not understood must lead to refusal.
    #[error("the certificate of {subject} carries the extension {extension}, which is not supported here")]
    Extension {
        /// Of which certificate.
        subject: String,
        /// OID or name.
        extension: String,
    },
    /// SPIFFE X509-SVID § 2.
    #[error(
        "the certificate of {0} has no SPIFFE URI: a peer's certificate names it as spiffe://<trust domain>/<network id>/<peer>"
    )]
    NoUri(String),
    /// SPIFFE X509-SVID § 2: exactly one.
    #[error("the certificate of {subject} has {count} URIs; exactly one is allowed")]
    SeveralUris {
        /// Of which certificate.
        subject: String,
        /// How many.
        count: usize,
    },
    /// The URI is none of ours.
    #[error("the certificate names no peer: {0}")]
    Uri(#[from] SpiffeError),
    /// A root whose URI is not a bare trust domain.
    #[error(
        "the root {subject} is bound to no trust domain: its URI must be spiffe://<trust domain>, and is '{found}'"
    )]
    RootUri {
        /// Its subject.
        subject: String,
        /// Its URI, or empty.
        found: String,
    },
    /// A CA where a leaf is wanted.
    #[error("the certificate of {0} is a CA's; a peer must not present that")]
    LeafIsCa(String),
    /// A leaf where a CA is wanted (RFC 5280 § 4.2.1.9).
    #[error("the certificate of {0} is not a CA's and may not sign others")]
    NotACa(String),
    /// RFC 5280 § 4.2.1.3.
    #[error("the key usage of the certificate of {subject} does not allow {wanted}")]
    KeyUsage {
        /// Of which certificate.
        subject: String,
        /// Such as digitalSignature.
        wanted: &'static str,
    },
    /// RFC 5280 § 4.2.1.12.
    #[error("the certificate of {subject} is not for {wanted} (extended key usage)")]
    ExtendedKeyUsage {
        /// Of which certificate.
        subject: String,
        /// Such as TLS client authentication.
        wanted: &'static str,
    },
    /// RFC 5280 § 4.1.2.5.
    #[error(
        "the certificate of {subject} expired at {not_after:.0} (checked for {at:.0}): renew it, or set the clock right"
    )]
    Expired {
        /// Of which certificate.
        subject: String,
        /// Its end.
        not_after: Timestamp,
        /// The time it was checked for.
        at: Timestamp,
    },
    /// RFC 5280 § 4.1.2.5.
    #[error(
        "the certificate of {subject} is not valid before {not_before:.0} (checked for {at:.0}): wait, or set the clock right"
    )]
    NotYetValid {
        /// Of which certificate.
        subject: String,
        /// Its begin.
        not_before: Timestamp,
        /// The time it was checked for.
        at: Timestamp,
    },
    /// No root of that domain is known.
    #[error("{uri} is of a trust domain without a root here: add the root of '{}' to ca.crt to trust it", uri.trust_domain())]
    UnknownDomain {
        /// Whose.
        uri: SpiffeId,
    },
    /// The domain has roots here, none of which signed it.
    #[error("the certificate of {uri} is signed by an unknown CA: '{issuer}' is not among the roots of '{}' ({known})", uri.trust_domain())]
    UnknownCa {
        /// Whose.
        uri: SpiffeId,
        /// The last issuer that was looked for.
        issuer: String,
        /// Subjects of the domain's roots.
        known: String,
    },
    /// A chain of more than [`INTERMEDIATES_MAX`].
    #[error("the certificate comes with {0} intermediates; at most {INTERMEDIATES_MAX} are looked at")]
    ChainTooLong(usize),
    /// RFC 5280 § 4.2.1.9.
    #[error("the CA {0} allows fewer intermediates below it than the chain has")]
    PathLength(String),
    /// A root that its own key did not sign.
    #[error("the certificate of {0} is not signed by its own key, as a root is")]
    NotSelfSigned(String),
    /// A message's signature.
    #[error("the signature does not match")]
    BadSignature,
}

impl CheckError {
    /// Whether the certificate may be good in the eyes of a peer that knows other roots or another time. All
    /// other errors are the same for everybody, so that whoever hands such a certificate on is at fault.
    pub fn is_a_matter_of_trust(&self) -> bool {
        matches!(
            self,
            Self::UnknownCa { .. }
                | Self::UnknownDomain { .. }
                | Self::Expired { .. }
                | Self::NotYetValid { .. }
        )
    }
}

impl TrustBundle {
    /// From a PEM text with one or more roots.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        Self::from_der(&certificates_from_pem(pem)?)
    }

    /// From roots in DER.
    pub fn from_der(certificates: &[Vec<u8>]) -> Result<Self, TrustError> {
        if certificates.len() > ROOTS_MAX {
            return Err(TrustError::TooMany(certificates.len()));
        }
        let mut roots: Vec<Root> = Vec::with_capacity(certificates.len());
        for (index, der) in certificates.iter().enumerate() {
            let root = root_from(der).map_err(|why| TrustError::NotARoot { number: index + 1, why })?;
            if roots.iter().all(|known| known.der != root.der) {
                roots.push(root);
            }
        }
        Ok(Self { roots })
    }

    /// All roots, in the order given, repetitions left out.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.roots.iter()
    }

    /// The trust domains of the roots, sorted, each once.
    pub fn trust_domains(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(Root::trust_domain).collect::<std::collections::BTreeSet<_>>().into_iter()
    }

    /// Checks a leaf (DER) for a point in time: its form, its validity, and its chain to a root of its own
    /// trust domain by way of the given intermediates. Says whose it is.
    pub fn check_leaf(
        &self,
        leaf: &[u8],
        intermediates: &[impl AsRef<[u8]>],
        at: Timestamp,
    ) -> Result<SpiffeId, CheckError> {
        Ok(self.check_chain(leaf, intermediates, at)?.uri)
    }

    /// As [`TrustBundle::check_leaf`]; says also from when until when the whole chain is valid.
    pub fn check_chain(
        &self,
        leaf: &[u8],
        intermediates: &[impl AsRef<[u8]>],
        at: Timestamp,
    ) -> Result<Chain, CheckError> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(CheckError::ChainTooLong(intermediates.len()));
        }
        let leaf = parse(leaf)?;
        let uri = leaf_identity(&leaf)?;
        let known: Vec<&Root> =
            self.roots.iter().filter(|root| root.trust_domain == uri.trust_domain()).collect();
        if known.is_empty() {
            return Err(CheckError::UnknownDomain { uri });
        }
        check_leaf_form(&leaf, &uri)?;
        let key = PublicKey::of(&leaf)?;
        let candidates =
            intermediates.iter().map(|der| parse(der.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut validity = check_time(&leaf, uri.as_str(), at)?;

        // From the leaf upwards: each step takes an unused intermediate that names and signs the last one.
        let mut current = &leaf;
        let mut used = vec![false; candidates.len()];
        for below in 0..=candidates.len() {
            // A root may be there twice, once renewed with the same key: one that fits is enough.
            let mut unfit = None;
            for root in &known {
                let root = parse(&root.der)?;
                if signs(&root, current) {
                    let fits = check_time(&root, &root.subject().to_string(), at)
                        .and_then(|of_root| check_path_length(&root, below).map(|()| of_root));
                    match fits {
                        Ok(of_root) => return Ok(Chain::of((uri, key), within(validity, of_root), &root)),
                        Err(error) => unfit = Some(error),
                    }
                }
            }
            if let Some(error) = unfit {
                return Err(error);
            }
            let next =
                (0..candidates.len()).find(|&index| !used[index] && signs(&candidates[index], current));
            let Some(index) = next else { break };
            used[index] = true;
            current = &candidates[index];
            check_ca_form(current)?;
            validity = within(validity, check_time(current, &current.subject().to_string(), at)?);
            check_path_length(current, below)?;
        }
        let known = known.iter().map(|root| format!("'{}'", root.subject)).collect::<Vec<_>>().join(", ");
        Err(CheckError::UnknownCa { uri, issuer: current.issuer().to_string(), known })
    }
}

/// The identity that a leaf claims, and its claims to be a peer's certificate; no trust is checked.
pub fn leaf_identity_of(certificate: &[u8]) -> Result<SpiffeId, CheckError> {
    leaf_identity(&parse(certificate)?)
}

/// One DER certificate and nothing behind it.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CheckError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CheckError::Unreadable(format!(
            "it has {} bytes; at most {CERTIFICATE_BYTES_MAX} are looked at",
            der.len()
        )));
    }
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| CheckError::Unreadable(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CheckError::Unreadable(format!("{} bytes follow it", rest.len())));
    }
    // Keys and signatures are whole bytes; other lengths would make several encodings of one certificate.
    let bits = [&certificate.signature_value, &certificate.tbs_certificate.subject_pki.subject_public_key];
    if bits.iter().any(|bits| bits.unused_bits != 0) {
        return Err(CheckError::Unreadable("a bit string is not of whole bytes".into()));
    }
    Ok(certificate)
}

/// The P-256 point of a certificate (RFC 5480 § 2.1.1, 2.2).
pub(crate) fn public_key<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a [u8], CheckError> {
    let info = certificate.public_key();
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256) {
        return Ok(&info.subject_public_key.data);
    }
    Err(CheckError::KeyType(certificate.subject().to_string()))
}

/// All URIs of the subject alternative names.
pub(crate) fn uris(certificate: &X509Certificate<'_>) -> Result<Vec<String>, CheckError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| CheckError::Unreadable(format!("its subject alternative names: {error}")))?;
    let mut found = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => found.push((*uri).to_owned()),
            GeneralName::Invalid(..) => {
                return Err(CheckError::Unreadable("a subject alternative name is damaged".into()));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn leaf_identity(leaf: &X509Certificate<'_>) -> Result<SpiffeId, CheckError> {
    let subject = || leaf.subject().to_string();
    let uris = uris(leaf)?;
    match uris.as_slice() {
        [] => Err(CheckError::NoUri(subject())),
        [uri] => Ok(uri.parse()?),
        several => Err(CheckError::SeveralUris { subject: subject(), count: several.len() }),
    }
}

fn root_from(der: &[u8]) -> Result<Root, CheckError> {
    let root = parse(der)?;
    let subject = root.subject().to_string();
    check_ca_form(&root)?;
    let uris = uris(&root)?;
    let bound = match uris.as_slice() {
        [uri] => trust_domain_of_root(uri),
        _ => None,
    };
    let Some(trust_domain) = bound else {
        return Err(CheckError::RootUri { subject, found: uris.join(", ") });
    };
    let trust_domain = trust_domain.to_owned();
    if !signs(&root, &root) {
        return Err(CheckError::NotSelfSigned(subject));
    }
    let not_after = time(root.validity().not_after.timestamp())?;
    Ok(Root { trust_domain, subject, not_after, der: der.to_vec() })
}

/// What holds for every certificate: key, algorithm, extensions.
fn check_form(certificate: &X509Certificate<'_>, subject: &str) -> Result<(), CheckError> {
    public_key(certificate).map_err(|_| CheckError::KeyType(subject.to_owned()))?;
    if !has_exact_algorithm(certificate)
        || certificate.tbs_certificate.signature.algorithm != ECDSA_WITH_SHA256
    {
        return Err(CheckError::SignatureType(subject.to_owned()));
    }
    let mut seen = Vec::new();
    for extension in certificate.extensions() {
        let refused = |name: String| CheckError::Extension { subject: subject.to_owned(), extension: name };
        // RFC 5280 § 4.2: no extension twice.
        if seen.contains(&&extension.oid) {
            return Err(refused(format!("{} twice", extension.oid)));
        }
        seen.push(&extension.oid);
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::AuthorityKeyIdentifier(_) => {}
            ParsedExtension::NameConstraints(_) => return Err(refused("name constraints".into())),
            ParsedExtension::ParseError { .. } => {
                return Err(refused(format!("{} (damaged)", extension.oid)));
            }
            _ if extension.critical => return Err(refused(extension.oid.to_string())),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the part that no signature covers is exactly ecdsa-with-SHA256 without parameters (RFC 5758 § 3.2)
/// and a bit string: the parser is lenient there, and a certificate shall have one encoding only.
fn has_exact_algorithm(certificate: &X509Certificate<'_>) -> bool {
    const ALGORITHM: [u8; 13] =
        [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, 0x03];
    let (whole, signed) = (certificate.as_raw(), certificate.tbs_certificate.as_ref());
    // SEQUENCE tag and length precede the signed part: at most 2 + 4 bytes within our bound.
    (2..=6).any(|head| {
        whole
            .get(head..)
            .and_then(|rest| rest.strip_prefix(signed))
            .is_some_and(|tail| tail.starts_with(&ALGORITHM))
    })
}

fn check_leaf_form(leaf: &X509Certificate<'_>, uri: &SpiffeId) -> Result<(), CheckError> {
    let subject = || uri.to_string();
    check_form(leaf, uri.as_str())?;
    if leaf.is_ca() {
        return Err(CheckError::LeafIsCa(subject()));
    }
    let unreadable = |error: x509_parser::error::X509Error| CheckError::Unreadable(error.to_string());
    let usage = leaf.key_usage().map_err(unreadable)?;
    if !usage.as_ref().is_some_and(|usage| usage.value.digital_signature()) {
        return Err(CheckError::KeyUsage { subject: subject(), wanted: "digitalSignature" });
    }
    // SPIFFE X509-SVID § 4.3: a leaf signs no certificates.
    if usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
        return Err(CheckError::LeafIsCa(subject()));
    }
    let extended = leaf.extended_key_usage().map_err(unreadable)?;
    let wanted = match extended {
        Some(usage) if !usage.value.client_auth => Some("TLS client authentication"),
        Some(usage) if !usage.value.server_auth => Some("TLS server authentication"),
        Some(_) => None,
        None => Some("TLS client and server authentication"),
    };
    match wanted {
        Some(wanted) => Err(CheckError::ExtendedKeyUsage { subject: subject(), wanted }),
        None => Ok(()),
    }
}

fn check_ca_form(ca: &X509Certificate<'_>) -> Result<(), CheckError> {
    let subject = ca.subject().to_string();
    check_form(ca, &subject)?;
    if !ca.is_ca() {
        return Err(CheckError::NotACa(subject));
    }
    let usage = ca.key_usage().map_err(|error| CheckError::Unreadable(error.to_string()))?;
    if usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Ok(());
    }
    Err(CheckError::KeyUsage { subject, wanted: "keyCertSign" })
}

/// RFC 5280 § 4.2.1.9: `below` non-self-issued intermediates stand between this CA and the leaf.
fn check_path_length(ca: &X509Certificate<'_>, below: usize) -> Result<(), CheckError> {
    let constraints = ca.basic_constraints().map_err(|error| CheckError::Unreadable(error.to_string()))?;
    match constraints.and_then(|found| found.value.path_len_constraint) {
        Some(most) if below > most as usize => Err(CheckError::PathLength(ca.subject().to_string())),
        _ => Ok(()),
    }
}

/// Whether `issuer` names and signed `certificate` (RFC 5280 § 6.1.3 a 1 and 4).
fn signs(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    if issuer.subject().as_raw() != certificate.issuer().as_raw() {
        return false;
    }
    let Ok(key) = public_key(issuer) else { return false };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .is_ok()
}

/// First and last second of a validity.
type Validity = (Timestamp, Timestamp);

fn within(one: Validity, other: Validity) -> Validity {
    (one.0.max(other.0), one.1.min(other.1))
}

fn check_time(
    certificate: &X509Certificate<'_>,
    subject: &str,
    at: Timestamp,
) -> Result<Validity, CheckError> {
    let not_before = time(certificate.validity().not_before.timestamp())?;
    let not_after = time(certificate.validity().not_after.timestamp())?;
    // Both ends belong to the validity (RFC 5280 § 4.1.2.5), in whole seconds.
    if at.as_second() > not_after.as_second() {
        return Err(CheckError::Expired { subject: subject.to_owned(), not_after, at });
    }
    if at < not_before {
        return Err(CheckError::NotYetValid { subject: subject.to_owned(), not_before, at });
    }
    Ok((not_before, not_after))
}

pub(crate) fn time(unix_seconds: i64) -> Result<Timestamp, CheckError> {
    Timestamp::from_second(unix_seconds)
        .map_err(|_| CheckError::Unreadable("its validity lies outside the calendar".into()))
}
