//! SPIFFE ids as this project uses them: `spiffe://<trust domain>/<network id>/<peer>`.
//!
//! Stricter than the SPIFFE standard (SPIFFE-ID § 2), so that two ids are equal exactly where their texts are:
//! lower case only, exactly two path segments, no percent-encoding, no query, no port.

use std::fmt;
use std::str::FromStr;

/// Longest trust domain (SPIFFE-ID § 2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Longest network id: a DNS label (RFC 1035 § 2.3.4).
pub const NETWORK_BYTES_MAX: usize = 63;
/// Longest peer name: a DNS name (RFC 1035 § 2.3.4), which every Kubernetes pod name is.
pub const PEER_BYTES_MAX: usize = 253;

const SCHEME: &str = "spiffe://";

/// The identity of one peer (or of the operator, whose last part is `operator`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    uri: String,
    domain_end: usize,
    network_end: usize,
}

/// Why a text is no SPIFFE id of this project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Wrong scheme or wrong number of parts.
    #[error("'{uri}' is not a peer's URI: write spiffe://<trust domain>/<network id>/<peer>")]
    Shape {
        /// Given, cut to 300 characters.
        uri: String,
    },
    /// The part before the path.
    #[error(
        "trust domain '{given}' is not valid: use 1-{TRUST_DOMAIN_BYTES_MAX} characters of a-z 0-9 - . _, such as example.org"
    )]
    TrustDomain {
        /// Given, cut to 300 characters.
        given: String,
    },
    /// The first path segment.
    #[error(
        "network id '{given}' is not valid: use a DNS label, 1-{NETWORK_BYTES_MAX} characters of a-z 0-9 -, beginning and ending with a letter or digit"
    )]
    Network {
        /// Given, cut to 300 characters.
        given: String,
    },
    /// The second path segment.
    #[error(
        "peer name '{given}' is not valid: use 1-{PEER_BYTES_MAX} characters of a-z 0-9 - ., beginning and ending with a letter or digit"
    )]
    Peer {
        /// Given, cut to 300 characters.
        given: String,
    },
}

impl SpiffeId {
    /// From its three parts.
    pub fn new(trust_domain: &str, network: &str, peer: &str) -> Result<Self, SpiffeError> {
        check_trust_domain(trust_domain)?;
        check_network(network)?;
        check_peer(peer)?;
        let uri = format!("{SCHEME}{trust_domain}/{network}/{peer}");
        let domain_end = SCHEME.len() + trust_domain.len();
        Ok(Self { uri, domain_end, network_end: domain_end + 1 + network.len() })
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Which CA's roots its certificate is checked against.
    pub fn trust_domain(&self) -> &str {
        &self.uri[SCHEME.len()..self.domain_end]
    }

    /// The network it takes part in.
    pub fn network(&self) -> &str {
        &self.uri[self.domain_end + 1..self.network_end]
    }

    /// Its name within the network.
    pub fn peer(&self) -> &str {
        &self.uri[self.network_end + 1..]
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let shape = || SpiffeError::Shape { uri: cut(text) };
        let rest = text.strip_prefix(SCHEME).ok_or_else(shape)?;
        let mut parts = rest.split('/');
        let (Some(domain), Some(network), Some(peer), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(shape());
        };
        Self::new(domain, network, peer)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.uri)
    }
}

/// Whether this may be a trust domain (SPIFFE-ID § 2.1).
pub fn check_trust_domain(given: &str) -> Result<(), SpiffeError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if (1..=TRUST_DOMAIN_BYTES_MAX).contains(&given.len()) && given.bytes().all(allowed) {
        return Ok(());
    }
    Err(SpiffeError::TrustDomain { given: cut(given) })
}

/// Whether this may be a network id: a DNS label in lower case (RFC 1123 § 2.1).
pub fn check_network(given: &str) -> Result<(), SpiffeError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if given.len() <= NETWORK_BYTES_MAX && given.bytes().all(allowed) && has_firm_ends(given) {
        return Ok(());
    }
    Err(SpiffeError::Network { given: cut(given) })
}

/// Whether this may be a peer's name.
pub fn check_peer(given: &str) -> Result<(), SpiffeError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if given.len() <= PEER_BYTES_MAX && given.bytes().all(allowed) && has_firm_ends(given) {
        return Ok(());
    }
    Err(SpiffeError::Peer { given: cut(given) })
}

/// The URI of a root certificate: its trust domain alone.
pub(crate) fn root_uri(trust_domain: &str) -> String {
    format!("{SCHEME}{trust_domain}")
}

/// The trust domain that a root's URI names; `None` where it is not a bare trust domain.
pub(crate) fn trust_domain_of_root(uri: &str) -> Option<&str> {
    let domain = uri.strip_prefix(SCHEME)?;
    check_trust_domain(domain).ok().map(|()| domain)
}

fn has_firm_ends(text: &str) -> bool {
    let firm = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    firm(text.bytes().next()) && firm(text.bytes().last())
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_and_written_unchanged() {
        let text = "spiffe://example.org/quickstart/quickstart-peers-0";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(
            (id.trust_domain(), id.network(), id.peer()),
            ("example.org", "quickstart", "quickstart-peers-0")
        );
        assert_eq!(id.to_string(), text);
        assert_eq!(SpiffeId::new("example.org", "quickstart", "quickstart-peers-0").unwrap(), id);
    }

    #[test]
    fn a_wrong_id_is_told_which_part_is_wrong() {
        #[track_caller]
        fn check(uri: &str, part: &str) {
            let error = uri.parse::<SpiffeId>().unwrap_err().to_string();
            assert!(error.starts_with(part), "{uri}: {error}");
        }
        let shape = "'";
        check("", shape);
        check("https://example.org/net/peer", shape);
        check("spiffe://example.org", shape);
        check("spiffe://example.org/net", shape);
        check("spiffe://example.org/net/peer/more", shape);
        check("SPIFFE://example.org/net/peer", shape);
        check("spiffe:///net/peer", "trust domain ''");
        check("spiffe://Example.org/net/peer", "trust domain 'Example.org'");
        check("spiffe://example.org:80/net/peer", "trust domain 'example.org:80'");
        check(&format!("spiffe://{}/net/peer", "a".repeat(256)), "trust domain");
        check("spiffe://example.org//peer", "network id ''");
        check("spiffe://example.org/Net/peer", "network id 'Net'");
        check("spiffe://example.org/-net/peer", "network id '-net'");
        check("spiffe://example.org/n.t/peer", "network id 'n.t'");
        check(&format!("spiffe://example.org/{}/peer", "a".repeat(64)), "network id");
        check("spiffe://example.org/net/", "peer name ''");
        check("spiffe://example.org/net/peer?x", "peer name 'peer?x'");
        check("spiffe://example.org/net/peer%2e", "peer name");
        check("spiffe://example.org/net/..", "peer name '..'");
        check("spiffe://example.org/net/pëer", "peer name");
        check(&format!("spiffe://example.org/net/{}", "a".repeat(254)), "peer name");
    }
}
