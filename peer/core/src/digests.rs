//! SHA-256 of certificates, remembered: the same few are named again and again.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::envelope::certificate_digest;
use crate::types::{Hash, PeerId};

/// Origins remembered; beyond it all are forgotten and hashed anew, some microseconds each. A certificate that is kept here may
/// keep the frame that it came in: 4 MiB of them at most. Guess.
const ORIGINS_MAX: usize = 64;

/// Certificates of the origins named last, with their digests.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    known: BTreeMap<PeerId, (Bytes, Hash)>,
}

impl Digests {
    /// The digest of this certificate, which is one of this peer's.
    pub(crate) fn of(&mut self, peer: &PeerId, certificate: &Bytes) -> Hash {
        if let Some((known, digest)) = self.known.get(peer)
            && known == certificate
        {
            return *digest;
        }
        if self.known.len() >= ORIGINS_MAX {
            self.known.clear();
        }
        let digest = certificate_digest(certificate);
        self.known.insert(*peer, (certificate.clone(), digest));
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_certificate_has_another_digest_and_few_are_kept() {
        let mut digests = Digests::default();
        let peer = PeerId::of_uri("a");
        let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
        for certificate in [&old, &old, &new, &old] {
            assert_eq!(digests.of(&peer, certificate), certificate_digest(certificate));
        }
        for number in 0..1000 {
            digests.of(&PeerId::of_uri(&number.to_string()), &old);
            assert!(digests.known.len() <= ORIGINS_MAX);
        }
    }
}
