//! What a certificate says, for people and for `cert show`.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;

use crate::trust::{CheckError, parse, public_key, time, uris};

/// The fields that people ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Distinguished name.
    pub subject: String,
    /// Distinguished name of the signer.
    pub issuer: String,
    /// SPIFFE URIs; a good certificate has one.
    pub uris: Vec<String>,
    /// Further names.
    pub dns_names: Vec<String>,
    /// Further addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Serial number, hexadecimal with colons.
    pub serial: String,
    /// Begin.
    #[serde(serialize_with = "as_text")]
    pub not_before: Timestamp,
    /// End.
    #[serde(serialize_with = "as_text")]
    pub not_after: Timestamp,
    /// SHA-256 of the certificate, hexadecimal.
    pub sha256: String,
    /// SHA-256 of the public key (the point), hexadecimal; empty where it is not ECDSA P-256.
    pub key_sha256: String,
}

fn as_text<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// Reads a certificate (DER); nothing is checked.
pub fn describe(certificate: &[u8]) -> Result<Description, CheckError> {
    let parsed = parse(certificate)?;
    let names = parsed.subject_alternative_name().ok().flatten();
    let mut dns_names = Vec::new();
    let mut ip_addresses = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let sixteen = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                ip_addresses.extend(four.or(sixteen));
            }
            _ => {}
        }
    }
    Ok(Description {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        uris: uris(&parsed)?,
        dns_names,
        ip_addresses,
        is_ca: parsed.is_ca(),
        serial: parsed.raw_serial_as_string(),
        not_before: time(parsed.validity().not_before.timestamp())?,
        not_after: time(parsed.validity().not_after.timestamp())?,
        sha256: hex::encode(Sha256::digest(certificate)),
        key_sha256: public_key(&parsed).map(|key| hex::encode(Sha256::digest(key))).unwrap_or_default(),
    })
}
