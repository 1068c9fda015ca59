//! Every reason to refuse a certificate, and the chains that are good.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
};
use sorcha_peer_pki::authority::ROOT_VALIDITY;
use sorcha_peer_pki::{Authority, CheckError, IssueRequest, SpiffeId, TrustBundle, certificates_from_pem};

const NOW: i64 = 1_800_000_000;
const NONE: &[Vec<u8>] = &[];

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A CA made by hand, so that each part of it can be wrong.
struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    valid(&mut params, -1000, 1000);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    valid(&mut params, -100, 100);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![uri("spiffe://example.org/net/alice")];
    params
}

fn valid(params: &mut CertificateParams, from: i64, to: i64) {
    let at = |seconds: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(NOW + seconds).unwrap())
    };
    params.not_before = at(from);
    params.not_after = at(to);
}

fn root_with(change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = ca_params("root");
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    change(&mut params);
    let key = key();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca { der, issuer: Issuer::new(params, key) }
}

fn root() -> Ca {
    root_with(|_| {})
}

fn intermediate(name: &str, above: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = ca_params(name);
    change(&mut params);
    let key = key();
    let der = params.signed_by(&key, &above.issuer).unwrap().der().to_vec();
    Ca { der, issuer: Issuer::new(params, key) }
}

fn leaf(above: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = leaf_params();
    change(&mut params);
    params.signed_by(&key(), &above.issuer).unwrap().der().to_vec()
}

fn bundle(roots: &[&Ca]) -> TrustBundle {
    TrustBundle::from_der(&roots.iter().map(|root| root.der.clone()).collect::<Vec<_>>()).unwrap()
}

#[track_caller]
fn refused(result: Result<SpiffeId, CheckError>, part: &str) {
    let error = result.unwrap_err();
    let trust = [" expired at ", " is not valid before ", "unknown CA", "without a root here"];
    assert_eq!(
        error.is_a_matter_of_trust(),
        trust.iter().any(|word| error.to_string().contains(word)),
        "{error}"
    );
    assert!(error.to_string().contains(part), "{error}\nwanted: {part}");
}

#[test]
fn a_leaf_of_a_known_root_is_whose_it_says() {
    let root = root();
    let id = bundle(&[&root]).check_leaf(&leaf(&root, |_| {}), NONE, now()).unwrap();
    assert_eq!(id.as_str(), "spiffe://example.org/net/alice");
}

#[test]
fn a_chain_over_intermediates_in_any_order_is_found() {
    let root = root();
    let upper = intermediate("upper", &root, |_| {});
    let lower = intermediate("lower", &upper, |_| {});
    let leaf = leaf(&lower, |_| {});
    let bundle = bundle(&[&root]);
    bundle.check_leaf(&leaf, &[lower.der.clone(), upper.der.clone()], now()).unwrap();
    bundle.check_leaf(&leaf, &[upper.der.clone(), lower.der.clone()], now()).unwrap();
    refused(bundle.check_leaf(&leaf, std::slice::from_ref(&lower.der), now()), "unknown CA: 'CN=upper'");
    refused(bundle.check_leaf(&leaf, &vec![lower.der.clone(); 4], now()), "comes with 4 intermediates");
}

#[test]
fn a_wrong_leaf_is_refused_with_the_reason() {
    let root = root();
    let bundle = bundle(&[&root]);
    let check = |change: &dyn Fn(&mut CertificateParams), part: &str| {
        refused(bundle.check_leaf(&leaf(&root, change), NONE, now()), part);
    };
    check(
        &|params| valid(params, -100, -1),
        "alice expired at 2027-01-15T07:59:59Z (checked for 2027-01-15T08:00:00Z)",
    );
    check(&|params| valid(params, 1, 100), "alice is not valid before 2027-01-15T08:00:01Z");
    check(&|params| params.subject_alt_names.clear(), "of CN=alice has no SPIFFE URI");
    check(
        &|params| params.subject_alt_names.push(uri("spiffe://example.org/net/bob")),
        "has 2 URIs; exactly one is allowed",
    );
    check(&|params| params.subject_alt_names = vec![uri("https://example.org/")], "is not a peer's URI");
    check(&|params| params.subject_alt_names = vec![uri("spiffe://example.org")], "is not a peer's URI");
    check(
        &|params| params.subject_alt_names = vec![uri("spiffe://other.org/net/alice")],
        "add the root of 'other.org' to ca.crt",
    );
    check(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "is a CA's");
    check(&|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign), "is a CA's");
    check(&|params| params.key_usages.clear(), "does not allow digitalSignature");
    check(
        &|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        "does not allow digitalSignature",
    );
    check(&|params| params.extended_key_usages.clear(), "not for TLS client and server authentication");
    check(
        &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        "not for TLS client authentication",
    );
    check(
        &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        "not for TLS server authentication",
    );
    check(
        &|params| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        },
        "carries the extension 1.3.6.1.4.1.99999.1, which is not supported here",
    );
}

#[test]
fn an_unknown_extension_that_is_not_critical_does_no_harm() {
    let root = root();
    let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    let leaf = leaf(&root, |params| params.custom_extensions.push(unknown));
    bundle(&[&root]).check_leaf(&leaf, NONE, now()).unwrap();
}

#[test]
fn both_ends_of_the_validity_belong_to_it() {
    let root = root();
    let leaf = leaf(&root, |params| valid(params, -10, 10));
    let bundle = bundle(&[&root]);
    let at = |seconds: i64| now() + SignedDuration::from_secs(seconds);
    bundle.check_leaf(&leaf, NONE, at(-10)).unwrap();
    bundle.check_leaf(&leaf, NONE, at(10) + SignedDuration::from_millis(999)).unwrap();
    refused(bundle.check_leaf(&leaf, NONE, at(-11)), "is not valid before");
    refused(bundle.check_leaf(&leaf, NONE, at(11)), "expired at");
}

#[test]
fn a_root_names_peers_of_its_own_domain_only() {
    let ours = root();
    let theirs = root_with(|params| {
        params.subject_alt_names = vec![uri("spiffe://other.org")];
        params.distinguished_name.push(DnType::OrganizationName, "other");
    });
    let bundle = bundle(&[&ours, &theirs]);
    assert_eq!(bundle.trust_domains().collect::<Vec<_>>(), ["example.org", "other.org"]);
    let usurped = leaf(&theirs, |_| {});
    refused(bundle.check_leaf(&usurped, NONE, now()), "is not among the roots of 'example.org' ('CN=root')");
    let own = leaf(&theirs, |params| params.subject_alt_names = vec![uri("spiffe://other.org/net/bob")]);
    bundle.check_leaf(&own, NONE, now()).unwrap();
}

#[test]
fn a_ca_of_the_same_name_but_another_key_is_unknown() {
    let (ours, theirs) = (root(), root());
    refused(
        bundle(&[&ours]).check_leaf(&leaf(&theirs, |_| {}), NONE, now()),
        "signed by an unknown CA: 'CN=root'",
    );
    // After a change of root under the same name both are good.
    bundle(&[&ours, &theirs]).check_leaf(&leaf(&theirs, |_| {}), NONE, now()).unwrap();
}

#[test]
fn an_expired_root_signs_nothing_any_more() {
    let root = root_with(|params| valid(params, -1000, -1));
    let leaf = leaf(&root, |_| {});
    let bundle = bundle(&[&root]);
    refused(bundle.check_leaf(&leaf, NONE, now()), "the certificate of CN=root expired at");
    bundle.check_leaf(&leaf, NONE, now() - SignedDuration::from_secs(50)).unwrap();
}

#[test]
fn a_wrong_intermediate_is_refused_with_the_reason() {
    let root = root();
    let bundle = bundle(&[&root]);
    let check = |change: &dyn Fn(&mut CertificateParams), part: &str| {
        let between = intermediate("between", &root, change);
        let leaf = leaf(&between, |_| {});
        refused(bundle.check_leaf(&leaf, std::slice::from_ref(&between.der), now()), part);
    };
    check(&|params| params.is_ca = IsCa::NoCa, "is not a CA's and may not sign others");
    check(&|params| params.is_ca = IsCa::ExplicitNoCa, "is not a CA's and may not sign others");
    check(&|params| params.key_usages = vec![KeyUsagePurpose::CrlSign], "does not allow keyCertSign");
    check(&|params| valid(params, -1000, -1), "CN=between expired");
    check(&|params| valid(params, 1, 1000), "CN=between is not valid before");
    check(
        &|params| {
            params.name_constraints = Some(rcgen::NameConstraints {
                permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".into())],
                excluded_subtrees: vec![],
            });
        },
        "name constraints, which is not supported",
    );
    // A leaf may not act as a CA.
    let alice = intermediate("alice", &root, |params| *params = leaf_params());
    let under = leaf(&alice, |_| {});
    refused(bundle.check_leaf(&under, std::slice::from_ref(&alice.der), now()), "is not a CA's");
}

#[test]
fn a_path_longer_than_a_ca_allows_is_refused() {
    let root = root_with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let between = intermediate("between", &root, |_| {});
    let bundle = bundle(&[&root]);
    bundle.check_leaf(&leaf(&root, |_| {}), NONE, now()).unwrap();
    refused(
        bundle.check_leaf(&leaf(&between, |_| {}), std::slice::from_ref(&between.der), now()),
        "the CA CN=root allows fewer intermediates",
    );
}

#[test]
fn other_keys_than_p256_are_refused() {
    let root = root();
    let bundle = bundle(&[&root]);
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = leaf_params().signed_by(&key, &root.issuer).unwrap().der().to_vec();
        refused(bundle.check_leaf(&leaf, NONE, now()), "another key than ECDSA P-256");
    }
    let mut params = ca_params("root");
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    let foreign = Issuer::new(params, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    let leaf = leaf_params().signed_by(&key(), &foreign).unwrap().der().to_vec();
    refused(bundle.check_leaf(&leaf, NONE, now()), "is signed by another algorithm");
}

#[test]
fn a_damaged_certificate_is_refused_wherever_it_is_damaged() {
    let root = root();
    let bundle = bundle(&[&root]);
    let good = leaf(&root, |_| {});
    for end in 0..good.len() {
        assert!(bundle.check_leaf(&good[..end], NONE, now()).is_err(), "cut to {end} bytes");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(bundle.check_leaf(&bad, NONE, now()).is_err(), "byte {at} changed");
    }
    let long = [good.clone(), vec![0]].concat();
    refused(bundle.check_leaf(&long, NONE, now()), "1 bytes follow it");
    refused(bundle.check_leaf(&vec![0x30; 20_000], NONE, now()), "it has 20000 bytes");
    refused(bundle.check_leaf(&[], NONE, now()), "cannot be read");
    let id = good.clone();
    refused(TrustBundle::default().check_leaf(&id, NONE, now()), "without a root here");
}

#[test]
fn a_bundle_takes_roots_bound_to_a_domain_and_nothing_else() {
    #[track_caller]
    fn check(certificate: Vec<u8>, part: &str) {
        let good = root().der;
        let error = TrustBundle::from_der(&[good, certificate]).unwrap_err().to_string();
        assert!(error.starts_with("certificate 2 of the trust bundle is not a root: "), "{error}");
        assert!(error.contains(part), "{error}");
    }
    let above = root();
    check(leaf(&above, |_| {}), "is not a CA's");
    check(root_with(|params| params.subject_alt_names.clear()).der, "is bound to no trust domain");
    check(
        root_with(|params| params.subject_alt_names = vec![uri("spiffe://a.org/x")]).der,
        "and is 'spiffe://a.org/x'",
    );
    check(
        root_with(|params| params.subject_alt_names.push(uri("spiffe://other.org"))).der,
        "and is 'spiffe://example.org, spiffe://other.org'",
    );
    check(
        root_with(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]).der,
        "does not allow keyCertSign",
    );
    check(
        intermediate("between", &above, |params| {
            params.subject_alt_names = vec![uri("spiffe://example.org")];
        })
        .der,
        "is not signed by its own key",
    );
    check(vec![1, 2, 3], "cannot be read");
}

#[test]
fn a_bundle_is_read_from_pem_with_repetitions_left_out() {
    let one = Authority::generate("example.org", now(), ROOT_VALIDITY).unwrap();
    let two = Authority::generate("example.org", now(), ROOT_VALIDITY).unwrap();
    let pem = format!("# ours\n{}{}{}", one.certificate_pem(), two.certificate_pem(), one.certificate_pem());
    let bundle = TrustBundle::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(bundle.roots().count(), 2);
    assert_ne!(bundle.roots().next().unwrap().subject(), bundle.roots().last().unwrap().subject());
    for authority in [&one, &two] {
        let request = IssueRequest::new(SpiffeId::new("example.org", "net", "alice").unwrap(), now());
        let issued = authority.issue(&request).unwrap();
        let leaf = certificates_from_pem(issued.cert_pem.as_bytes()).unwrap();
        bundle.check_leaf(&leaf[0], NONE, now()).unwrap();
    }
    let broken = &one.certificate_pem()[..200];
    assert!(TrustBundle::from_pem(broken.as_bytes()).unwrap_err().to_string().contains("not readable"));
    assert!(TrustBundle::from_pem(b"").unwrap_err().to_string().contains("holds no certificate"));
}

#[test]
fn a_chain_is_valid_no_longer_than_its_shortest_certificate() {
    let root = root_with(|params| valid(params, -50, 20));
    let between = intermediate("between", &root, |params| valid(params, -10, 1000));
    let leaf = leaf(&between, |_| {});
    let chain = bundle(&[&root]).check_chain(&leaf, std::slice::from_ref(&between.der), now()).unwrap();
    assert_eq!((chain.not_before.as_second(), chain.not_after.as_second()), (NOW - 10, NOW + 20));
}

#[test]
fn a_root_renewed_with_its_key_counts_beside_its_expired_self() {
    let key = key();
    let pem = key.serialize_pem();
    let of = |from, to| {
        let mut params = ca_params("root");
        params.subject_alt_names = vec![uri("spiffe://example.org")];
        valid(&mut params, from, to);
        let key = KeyPair::from_pem(&pem).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Ca { der, issuer: Issuer::new(params, key) }
    };
    let (old, new) = (of(-1000, -1), of(-2, 1000));
    let leaf = leaf(&old, |_| {});
    for roots in [[&old, &new], [&new, &old]] {
        bundle(&roots).check_leaf(&leaf, NONE, now()).unwrap();
    }
    refused(bundle(&[&old]).check_leaf(&leaf, NONE, now()), "expired at");
}
