//! A certificate authority of one trust domain: makes its root, issues leaf certificates.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::sign::{KeyError, pkcs8_from_pem};
use crate::spiffe::{SpiffeError, SpiffeId, check_trust_domain, root_uri};
use crate::trust::{CheckError, TrustBundle, TrustError};
use crate::{PemError, certificates_from_pem};

/// How long a leaf certificate lives (docs/design.md § 6).
pub const LEAF_VALIDITY: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long a root lives where nothing else is said: ten years (a guess; change is staged, see docs/design.md § 6).
pub const ROOT_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// A certificate begins this much in the past, for clocks that are behind.
pub const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// DNS names or IP addresses of one leaf at most.
pub const NAMES_MAX: usize = 64;

/// A root with its key.
pub struct Authority {
    trust_domain: String,
    certificate: Vec<u8>,
    certificate_pem: String,
    key_pem: Zeroizing<String>,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// What a leaf certificate shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueRequest {
    /// Its only URI.
    pub uri: SpiffeId,
    /// At most [`NAMES_MAX`]; for clients that check names, such as browsers. Peers look at the URI alone.
    pub dns_names: Vec<String>,
    /// At most [`NAMES_MAX`].
    pub ip_addresses: Vec<IpAddr>,
    /// Valid from (whole seconds).
    pub not_before: Timestamp,
    /// Valid until; cut to the root's end.
    pub not_after: Timestamp,
}

impl IssueRequest {
    /// With the usual times: from five minutes ago, for 30 days.
    pub fn new(uri: SpiffeId, now: Timestamp) -> Self {
        Self {
            uri,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            not_before: now - BACKDATED,
            not_after: now + LEAF_VALIDITY,
        }
    }
}

/// A leaf certificate with its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// One certificate.
    pub cert_pem: String,
    /// PKCS #8; wiped from memory when dropped.
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

/// Why nothing was issued. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// A part of a URI.
    #[error(transparent)]
    Name(#[from] SpiffeError),
    /// The CA's certificate file.
    #[error("the CA certificate is not readable: {0}")]
    Certificate(#[from] PemError),
    /// The CA's certificate is not a root of this project's kind.
    #[error(transparent)]
    Root(#[from] TrustError),
    /// The CA's key file.
    #[error("the CA key is not readable: {0}")]
    Key(#[from] KeyError),
    /// Certificate and key are of different CAs.
    #[error("the CA key does not belong to the CA certificate: both must come from the same create-ca")]
    KeyOfAnother,
    /// More than one certificate where the root is wanted.
    #[error("the CA certificate file holds {0} certificates; exactly one is wanted")]
    SeveralRoots(usize),
    /// A URI of another trust domain.
    #[error("{uri} is not of this CA's trust domain: it issues for spiffe://{trust_domain}/ only")]
    OtherDomain {
        /// Wanted.
        uri: SpiffeId,
        /// Of the CA.
        trust_domain: String,
    },
    /// No time would be left.
    #[error(
        "the certificate would end at {not_after:.0}, before it begins at {not_before:.0}: choose a longer validity, or renew the CA, which ends at {ca_not_after:.0}"
    )]
    NoTime {
        /// Begin.
        not_before: Timestamp,
        /// End.
        not_after: Timestamp,
        /// End of the root.
        ca_not_after: Timestamp,
    },
    /// A DNS name.
    #[error("'{0}' is not a DNS name that a certificate can carry")]
    DnsName(String),
    /// Too many names.
    #[error(
        "{0} names are too many for one certificate: at most {NAMES_MAX} DNS names and {NAMES_MAX} addresses"
    )]
    TooManyNames(usize),
    /// A signing request that cannot be read or whose own signature is wrong.
    #[error("the certificate signing request is not usable: {0}")]
    Request(String),
    /// The system gave no entropy, or the library failed.
    #[error("the certificate could not be made: {0}")]
    Failed(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new root for a trust domain, valid from five minutes before `now`.
    pub fn generate(
        trust_domain: &str,
        now: Timestamp,
        validity: SignedDuration,
    ) -> Result<Self, AuthorityError> {
        check_trust_domain(trust_domain)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        let (not_before, not_after) = (now - BACKDATED, now + validity);
        if not_after <= not_before {
            return Err(AuthorityError::NoTime { not_before, not_after, ca_not_after: not_after });
        }
        set_validity(&mut params, not_before, not_after);
        params.serial_number = Some(serial()?);
        // The tail tells roots of one domain apart, in messages and in chains (RFC 5280 § 4.1.2.4).
        let tail = hex::encode(&params.key_identifier(&key)[..4]);
        params.distinguished_name =
            name(&format!("{} {tail}", cut(&format!("Sorcha CA {trust_domain}"), 55)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri_name(&root_uri(trust_domain))?];
        let certificate = params.self_signed(&key)?;
        Self::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
    }

    /// From the PEM texts of root and key, checked to belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        let roots = certificates_from_pem(certificate)?;
        let [root] = roots.as_slice() else { return Err(AuthorityError::SeveralRoots(roots.len())) };
        let bundle = TrustBundle::from_der(std::slice::from_ref(root))?;
        let trust_domain =
            bundle.trust_domains().next().expect("a bundle of one root has one domain").to_owned();
        let not_after = bundle.roots().next().map_or(Timestamp::UNIX_EPOCH, crate::trust::Root::not_after);

        let der = pkcs8_from_pem(key)?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(der.as_slice()),
            &PKCS_ECDSA_P256_SHA256,
        )
        .map_err(|_| KeyError::Unusable)?;
        let parsed = crate::trust::parse(root).map_err(|error| AuthorityError::Failed(error.to_string()))?;
        let public = crate::trust::public_key(&parsed)
            .map_err(|error: CheckError| AuthorityError::Failed(error.to_string()))?;
        if public != key.public_key_raw() {
            return Err(AuthorityError::KeyOfAnother);
        }
        let key_pem = Zeroizing::new(key.serialize_pem());
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(root.as_slice()), key)?;
        let certificate_pem = pem_of(root);
        Ok(Self { trust_domain, certificate: root.clone(), certificate_pem, key_pem, not_after, issuer })
    }

    /// For which trust domain it issues.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The root, PEM: what peers put into `ca.crt`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The root, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The key, PKCS #8 PEM. Keep it with mode 0600.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// End of the root.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues a leaf with a new key.
    pub fn issue(&self, request: &IssueRequest) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let cert_pem = self.issue_for(request, &key)?;
        Ok(Issued { cert_pem, key_pem: Zeroizing::new(key.serialize_pem()) })
    }

    /// Issues a leaf for the key of a signing request (PKCS #10, PEM), whose own signature is checked.
    /// Nothing else is taken from it: what the certificate says comes from `request` alone.
    pub fn issue_for_request(
        &self,
        request: &IssueRequest,
        signing_request_pem: &str,
    ) -> Result<String, AuthorityError> {
        let asked = CertificateSigningRequestParams::from_pem(signing_request_pem)
            .map_err(|error| AuthorityError::Request(error.to_string()))?;
        if *asked.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
            return Err(AuthorityError::Request(KeyError::Unusable.to_string()));
        }
        self.issue_for(request, &asked.public_key)
    }

    fn issue_for(&self, request: &IssueRequest, key: &impl PublicKeyData) -> Result<String, AuthorityError> {
        if request.uri.trust_domain() != self.trust_domain {
            return Err(AuthorityError::OtherDomain {
                uri: request.uri.clone(),
                trust_domain: self.trust_domain.clone(),
            });
        }
        let most = request.dns_names.len().max(request.ip_addresses.len());
        if most > NAMES_MAX {
            return Err(AuthorityError::TooManyNames(most));
        }
        let not_before = request.not_before;
        let not_after = request.not_after.min(self.not_after);
        if not_after <= not_before {
            return Err(AuthorityError::NoTime { not_before, not_after, ca_not_after: self.not_after });
        }
        let mut params = CertificateParams::default();
        set_validity(&mut params, not_before, not_after);
        params.serial_number = Some(serial()?);
        params.distinguished_name = name(cut(request.uri.peer(), 64));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![uri_name(request.uri.as_str())?];
        for dns in &request.dns_names {
            let valid = !dns.is_empty()
                && dns.len() <= 253
                && dns.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte));
            let text = dns.as_str().try_into().ok().filter(|_| valid);
            params.subject_alt_names.push(SanType::DnsName(
                text.ok_or_else(|| AuthorityError::DnsName(cut(dns, 300).to_owned()))?,
            ));
        }
        params.subject_alt_names.extend(request.ip_addresses.iter().copied().map(SanType::IpAddress));
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

/// One certificate as PEM (RFC 7468 § 5).
pub fn pem_of(certificate: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn uri_name(uri: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(uri.try_into()?))
}

/// 16 random bytes, positive (RFC 5280 § 4.1.2.2).
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Failed("the system gave no random numbers".into()))?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn set_validity(params: &mut CertificateParams, not_before: Timestamp, not_after: Timestamp) {
    let calendar = |at: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
    };
    params.not_before = calendar(not_before);
    params.not_after = calendar(not_after);
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
