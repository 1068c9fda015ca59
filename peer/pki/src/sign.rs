//! Signatures over messages: ECDSA P-256 with SHA-256, ASN.1 DER (RFC 3279 § 2.2.3).

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use zeroize::Zeroizing;

use crate::trust::{CheckError, parse, public_key};

/// A private key that signs messages. Its bytes are never shown.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

/// Why a key is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM section with a private key.
    #[error("it holds no private key: a PEM text with '-----BEGIN PRIVATE KEY-----' is wanted")]
    None,
    /// RSA, P-384, Ed25519, an encrypted or a damaged key.
    #[error("its key is not usable: an unencrypted ECDSA key on the curve P-256 is wanted")]
    Unusable,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

impl SigningKey {
    /// From PEM, in either of the two usual forms (`PRIVATE KEY`, `EC PRIVATE KEY`).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let der = pkcs8_from_pem(pem)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random)
            .map_err(|_| KeyError::Unusable)?;
        Ok(Self { pair, random })
    }

    /// Signs the message; fails only where the system has no entropy.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&self.random, message).map_err(|_| KeyError::Unusable)?;
        Ok(signature.as_ref().to_vec())
    }

    /// The public key as an uncompressed point (SEC 1 § 2.3.3), 65 bytes.
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Whether this is the key of that certificate.
    pub fn is_of(&self, certificate: &[u8]) -> Result<bool, CheckError> {
        Ok(public_key(&parse(certificate)?)? == self.public_key())
    }
}

/// The key of a certificate. Whether to trust the certificate is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Uncompressed (SEC 1 § 2.3.3).
    point: Vec<u8>,
}

impl PublicKey {
    /// Of a certificate in DER.
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, CheckError> {
        Self::of(&parse(certificate)?)
    }

    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Result<Self, CheckError> {
        Ok(Self { point: public_key(certificate)?.to_vec() })
    }

    /// Checks a signature over the message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CheckError> {
        ring::signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point)
            .verify(message, signature)
            .map_err(|_| CheckError::BadSignature)
    }
}

/// The key in PKCS #8 form, whichever form it came in.
pub(crate) fn pkcs8_from_pem(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(PrivateKeyDer::Pkcs8(key)) => Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
        Ok(PrivateKeyDer::Sec1(key)) => pkcs8_from_sec1(key.secret_sec1_der()),
        Ok(_) => Err(KeyError::Unusable),
        Err(_) => Err(KeyError::None),
    }
}

/// Wraps an `ECPrivateKey` (RFC 5915 § 3) as PKCS #8 (RFC 5958 § 2) for the curve P-256.
fn pkcs8_from_sec1(sec1: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // INTEGER 0, then SEQUENCE { OID ecPublicKey, OID prime256v1 }.
    const HEAD: [u8; 24] = [
        0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
        0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    let mut content = Zeroizing::new(HEAD.to_vec());
    push_der(&mut content, 0x04, sec1)?;
    let mut whole = Zeroizing::new(Vec::new());
    push_der(&mut whole, 0x30, &content)?;
    Ok(whole)
}

/// Tag, length (X.690 § 8.1.3, at most 255 bytes: a P-256 key has about 120), content.
fn push_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) -> Result<(), KeyError> {
    let length = u8::try_from(content.len()).map_err(|_| KeyError::Unusable)?;
    out.push(tag);
    if length >= 0x80 {
        out.push(0x81);
    }
    out.push(length);
    out.extend_from_slice(content);
    Ok(())
}
