//! Making CAs, issuing leaves, keeping them on disk.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use jiff::{SignedDuration, Timestamp};
use sorcha_peer_pki::authority::{BACKDATED, LEAF_VALIDITY, NAMES_MAX, ROOT_VALIDITY, pem_of};
use sorcha_peer_pki::{
    Authority, AuthorityError, IssueRequest, PublicKey, SigningKey, SpiffeId, TrustBundle,
    certificates_from_pem, describe, files,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn authority() -> Authority {
    Authority::generate("example.org", now(), ROOT_VALIDITY).unwrap()
}

fn peer(name: &str) -> SpiffeId {
    SpiffeId::new("example.org", "net", name).unwrap()
}

#[test]
fn a_leaf_says_what_was_asked_for() {
    let mut request = IssueRequest::new(peer("alice"), now());
    request.dns_names = vec!["alice.peers.svc".into(), "localhost".into()];
    request.ip_addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), "::1".parse().unwrap()];
    let issued = authority().issue(&request).unwrap();
    let der = certificates_from_pem(issued.cert_pem.as_bytes()).unwrap();
    let says = describe(&der[0]).unwrap();
    assert_eq!(says.uris, ["spiffe://example.org/net/alice"]);
    assert_eq!(says.dns_names, request.dns_names);
    assert_eq!(says.ip_addresses, request.ip_addresses);
    assert_eq!((says.not_before, says.not_after), (now() - BACKDATED, now() + LEAF_VALIDITY));
    assert_eq!(says.subject, "CN=alice");
    assert!(says.issuer.starts_with("CN=Sorcha CA example.org "), "{}", says.issuer);
    assert!(!says.is_ca);
    assert_eq!(pem_of(&der[0]), issued.cert_pem.replace("\r\n", "\n"));
}

#[test]
fn a_loaded_authority_issues_as_the_one_that_was_saved() {
    let directory = tempfile::tempdir().unwrap();
    let made = authority();
    files::write_authority(directory.path(), &made).unwrap();
    let loaded = files::read_authority(directory.path()).unwrap();
    assert_eq!((loaded.trust_domain(), loaded.certificate()), ("example.org", made.certificate()));
    let issued = loaded.issue(&IssueRequest::new(peer("bob"), now())).unwrap();
    let leaf = certificates_from_pem(issued.cert_pem.as_bytes()).unwrap();
    let bundle = TrustBundle::from_pem(made.certificate_pem().as_bytes()).unwrap();
    assert_eq!(bundle.check_leaf(&leaf[0], &[] as &[Vec<u8>], now()).unwrap(), peer("bob"));

    let key = directory.path().join(files::AUTHORITY_KEY_FILE);
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let again = files::write_authority(directory.path(), &made).unwrap_err().to_string();
    assert!(again.contains("holds a CA already"), "{again}");
}

#[test]
fn a_peers_directory_keeps_its_key_to_itself() {
    let directory = tempfile::tempdir().unwrap();
    let tls = directory.path().join("tls");
    let made = authority();
    let issued = made.issue(&IssueRequest::new(peer("carol"), now())).unwrap();
    files::write_identity(&tls, &issued, made.certificate_pem()).unwrap();
    files::write_identity(&tls, &issued, made.certificate_pem()).unwrap();
    let mode = |name| std::fs::metadata(tls.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(files::KEY_FILE), 0o600);
    assert_eq!(std::fs::metadata(&tls).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names: Vec<_> = std::fs::read_dir(&tls)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["ca.crt", "tls.crt", "tls.key"]);
}

#[test]
fn a_signature_holds_for_its_message_and_certificate_alone() {
    let authority = authority();
    let issued = authority.issue(&IssueRequest::new(peer("dave"), now())).unwrap();
    let other = authority.issue(&IssueRequest::new(peer("erin"), now())).unwrap();
    let leaf = certificates_from_pem(issued.cert_pem.as_bytes()).unwrap();
    let leaf_other = certificates_from_pem(other.cert_pem.as_bytes()).unwrap();
    let key = SigningKey::from_pem(issued.key_pem.as_bytes()).unwrap();
    let signature = key.sign(b"message").unwrap();
    PublicKey::of_certificate(&leaf[0]).unwrap().verify(b"message", &signature).unwrap();
    assert!(PublicKey::of_certificate(&leaf[0]).unwrap().verify(b"massage", &signature).is_err());
    assert!(PublicKey::of_certificate(&leaf_other[0]).unwrap().verify(b"message", &signature).is_err());
    assert!(PublicKey::of_certificate(&leaf[0]).unwrap().verify(b"message", &signature[1..]).is_err());
    assert!(key.is_of(&leaf[0]).unwrap());
    assert!(!key.is_of(&leaf_other[0]).unwrap());
}

#[test]
fn a_key_in_the_older_form_signs_too() {
    use base64::Engine;
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    // The ECPrivateKey stands in the last OCTET STRING of the PKCS #8 form, 29 bytes in.
    let sec1 = base64::engine::general_purpose::STANDARD.encode(&pair.serialized_der()[29..]);
    let pem = format!("-----BEGIN EC PRIVATE KEY-----\n{sec1}\n-----END EC PRIVATE KEY-----\n");
    let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(key.public_key(), rcgen::PublicKeyData::der_bytes(&pair));
    assert!(!key.sign(b"message").unwrap().is_empty());
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_the_kind_that_is_wanted() {
    #[track_caller]
    fn check(pem: &str, part: &str) {
        let error = SigningKey::from_pem(pem.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    check("", "holds no private key");
    check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no private key");
    check("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "P-256");
    check("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "P-256");
    check(
        &format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", "AAAA".repeat(99)),
        "P-256",
    );
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    check(&p384.serialize_pem(), "P-256");
}

#[test]
fn a_signing_request_gives_its_key_and_nothing_else() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let asked = rcgen::CertificateParams::new(vec!["wish.example".to_owned()]).unwrap();
    let csr = asked.serialize_request(&key).unwrap().pem().unwrap();
    let authority = authority();
    let pem = authority.issue_for_request(&IssueRequest::new(peer("frank"), now()), &csr).unwrap();
    let leaf = certificates_from_pem(pem.as_bytes()).unwrap();
    let says = describe(&leaf[0]).unwrap();
    assert_eq!(
        (says.uris.as_slice(), says.dns_names.len()),
        (&["spiffe://example.org/net/frank".to_owned()][..], 0)
    );
    assert!(SigningKey::from_pem(key.serialize_pem().as_bytes()).unwrap().is_of(&leaf[0]).unwrap());

    let damaged = csr.replacen('M', "N", 3);
    let error = authority.issue_for_request(&IssueRequest::new(peer("frank"), now()), &damaged).unwrap_err();
    assert!(matches!(error, AuthorityError::Request(_)), "{error}");
}

#[test]
fn a_leaf_does_not_outlive_its_root() {
    let short = Authority::generate("example.org", now(), SignedDuration::from_hours(1)).unwrap();
    let issued = short.issue(&IssueRequest::new(peer("gina"), now())).unwrap();
    let leaf = certificates_from_pem(issued.cert_pem.as_bytes()).unwrap();
    assert_eq!(describe(&leaf[0]).unwrap().not_after, short.not_after());
}

#[test]
fn what_cannot_be_issued_is_refused_with_a_sentence() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut IssueRequest), part: &str) {
        let mut request = IssueRequest::new(peer("henry"), now());
        change(&mut request);
        let error = authority().issue(&request).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    check(
        |request| request.uri = SpiffeId::new("other.org", "net", "henry").unwrap(),
        "is not of this CA's trust domain: it issues for spiffe://example.org/ only",
    );
    check(|request| request.not_after = request.not_before, "before it begins");
    check(
        |request| {
            request.not_before = now() + ROOT_VALIDITY;
            request.not_after = request.not_before + LEAF_VALIDITY;
        },
        "renew the CA",
    );
    check(|request| request.dns_names = vec!["ünicode".into()], "'ünicode' is not a DNS name");
    check(|request| request.dns_names = vec![String::new()], "is not a DNS name");
    check(|request| request.dns_names = vec!["a b".into()], "'a b' is not a DNS name");
    check(|request| request.dns_names = vec!["a".into(); NAMES_MAX + 1], "too many");
    check(|request| request.ip_addresses = vec![Ipv4Addr::LOCALHOST.into(); NAMES_MAX + 1], "too many");
}

#[test]
fn an_authority_is_made_of_matching_parts() {
    let (one, two) = (authority(), authority());
    let error = Authority::from_pem(one.certificate_pem().as_bytes(), two.key_pem().as_bytes()).unwrap_err();
    assert_eq!(error, AuthorityError::KeyOfAnother);
    let both = format!("{}{}", one.certificate_pem(), two.certificate_pem());
    let error = Authority::from_pem(both.as_bytes(), one.key_pem().as_bytes()).unwrap_err();
    assert_eq!(error, AuthorityError::SeveralRoots(2));
    let error = Authority::from_pem(b"", one.key_pem().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("holds no certificate"), "{error}");
    let leaf = one.issue(&IssueRequest::new(peer("ida"), now())).unwrap();
    let error =
        Authority::from_pem(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("is not a CA's"), "{error}");
    let error = Authority::generate("Example.org", now(), ROOT_VALIDITY).unwrap_err().to_string();
    assert!(error.contains("trust domain 'Example.org'"), "{error}");
    assert!(Authority::generate("example.org", now(), SignedDuration::from_mins(-10)).is_err());
}

#[test]
fn a_file_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = files::read_authority(directory.path()).unwrap_err().to_string();
    assert!(error.contains("ca.crt cannot be read: No such file"), "{error}");
}
