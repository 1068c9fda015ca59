//! The network's own CA and the certificates of its peers, kept on disk between runs.
//!
//! A CA is made once and never written over. A certificate is kept while it still serves: right name, right
//! CA, right key, a third of its life left.

use std::path::Path;

use jiff::Timestamp;
use sorcha_peer_pki::authority::ROOT_VALIDITY;
use sorcha_peer_pki::files::{
    AUTHORITY_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, TRUST_FILE, read, read_authority, write_authority,
    write_identity,
};
use sorcha_peer_pki::{Authority, IssueRequest, SigningKey, SpiffeId, certificates_from_pem, describe};

use super::error::LocalError;

/// The network's CA: read, or made where there is none yet.
pub(super) fn authority(
    directory: &Path,
    trust_domain: &str,
    now: Timestamp,
) -> Result<Authority, LocalError> {
    let failed =
        |action, message: String| LocalError::Certificate { action, path: directory.to_owned(), message };
    let (certificate, key) = (directory.join(TRUST_FILE), directory.join(AUTHORITY_KEY_FILE));
    if !certificate.exists() && !key.exists() {
        let made = Authority::generate(trust_domain, now, ROOT_VALIDITY)
            .map_err(|error| failed("making the CA in", error.to_string()))?;
        write_authority(directory, &made).map_err(|error| failed("writing the CA in", error.to_string()))?;
        return Ok(made);
    }
    let found = read_authority(directory).map_err(|error| failed("reading the CA in", error.to_string()))?;
    if found.trust_domain() == trust_domain {
        Ok(found)
    } else {
        Err(failed(
            "using the CA in",
            format!(
                "it is of the trust domain {}, the manifest asks for {trust_domain}; name the old one in the \
                 manifest, or begin anew with another --state-dir",
                found.trust_domain()
            ),
        ))
    }
}

/// Gives the peer a certificate in this folder unless it has one that serves. True when one was issued.
pub(super) fn ensure(
    directory: &Path,
    authority: &Authority,
    uri: &str,
    now: Timestamp,
) -> Result<bool, LocalError> {
    if serves(directory, authority, uri, now) {
        return Ok(false);
    }
    let failed = |message: String| LocalError::Certificate {
        action: "issuing the certificate in",
        path: directory.to_owned(),
        message,
    };
    let uri: SpiffeId = uri.parse().map_err(|error| failed(format!("{error}")))?;
    // The loopback address is for browsers and curl; peers look at the URI alone.
    let request = IssueRequest {
        dns_names: vec!["localhost".to_owned()],
        ip_addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
        ..IssueRequest::new(uri, now)
    };
    let issued = authority.issue(&request).map_err(|error| failed(error.to_string()))?;
    write_identity(directory, &issued, authority.certificate_pem())
        .map_err(|error| failed(error.to_string()))?;
    Ok(true)
}

/// Whatever cannot be read does not serve, and is replaced.
fn serves(directory: &Path, authority: &Authority, uri: &str, now: Timestamp) -> bool {
    let file = |name| read(&directory.join(name)).ok();
    let serves = || {
        let trust = file(TRUST_FILE)?;
        let chain = certificates_from_pem(&file(CERTIFICATE_FILE)?).ok()?;
        let (leaf, intermediates) = chain.split_first()?;
        let bundle = sorcha_peer_pki::TrustBundle::from_pem(&trust).ok()?;
        let own_root = bundle.roots().any(|root| root.der() == authority.certificate());
        let identity = bundle.check_leaf(leaf, intermediates, now).ok()?;
        let key = SigningKey::from_pem(&file(KEY_FILE)?).ok()?;
        let it = describe(leaf).ok()?;
        let life = it.not_after.duration_since(it.not_before);
        let left = it.not_after.duration_since(now);
        Some(own_root && identity.as_str() == uri && key.is_of(leaf).ok()? && left >= life / 3)
    };
    serves().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use jiff::ToSpan as _;

    use super::*;

    const URI: &str = "spiffe://sorcha.local/quickstart/quickstart-peers-0";

    fn days(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("in range") + (days * 24).hours()
    }

    #[test]
    fn a_ca_is_made_once_and_another_trust_domain_is_refused() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let directory = base.path().join("ca");
        let made = authority(&directory, "sorcha.local", days(0)).expect("made");
        let read = authority(&directory, "sorcha.local", days(1)).expect("read");
        assert_eq!(made.certificate_pem(), read.certificate_pem());
        let mode = fs::metadata(directory.join("ca.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let sentence = authority(&directory, "example.org", days(1)).expect_err("another").to_string();
        assert!(
            sentence.contains("the trust domain sorcha.local, the manifest asks for example.org"),
            "{sentence}"
        );

        fs::remove_file(directory.join("ca.crt")).expect("removed");
        let key = fs::read(directory.join("ca.key")).expect("read");
        authority(&directory, "sorcha.local", days(1)).expect_err("half a CA is not replaced");
        assert_eq!(fs::read(directory.join("ca.key")).expect("read"), key);
    }

    #[test]
    fn a_certificate_is_kept_while_it_serves_and_replaced_when_not() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let ca = authority(&base.path().join("ca"), "sorcha.local", days(0)).expect("made");
        let tls = base.path().join("tls");
        assert!(ensure(&tls, &ca, URI, days(0)).expect("issued"));
        let mode = fs::metadata(tls.join("tls.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!ensure(&tls, &ca, URI, days(19)).expect("kept"));
        assert!(ensure(&tls, &ca, URI, days(21)).expect("renewed near its end"));
        assert!(!ensure(&tls, &ca, URI, days(21)).expect("kept"));

        let other = "spiffe://sorcha.local/quickstart/quickstart-peers-1";
        assert!(ensure(&tls, &ca, other, days(21)).expect("another name"));
        let other_ca = authority(&base.path().join("other"), "sorcha.local", days(0)).expect("made");
        assert!(ensure(&tls, &other_ca, other, days(21)).expect("another CA"));
        assert!(!ensure(&tls, &other_ca, other, days(21)).expect("kept"));
        fs::write(tls.join("tls.key"), "damaged").expect("written");
        assert!(ensure(&tls, &other_ca, other, days(21)).expect("another key"));
    }
}
