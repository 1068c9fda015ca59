//! The test vectors of `proto/vectors` about who signs: certificates, identities, signatures, and what each check says.
//!
//! Keys and signatures differ each time they are made (ECDSA takes a random number), so what is in the file stays as long
//! as it holds; `SORCHA_WRITE_VECTORS=1` makes anew only what does not.

#[path = "../../../proto/vectors/support.rs"]
mod support;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sorcha_peer_pki::{
    Authority, IssueRequest, PublicKey, SigningKey, SpiffeId, TrustBundle, certificates_from_pem,
};

const TX_DOMAIN: &[u8] = b"sorcha-tx-v1";
const BATCH_DOMAIN: &[u8] = b"sorcha-tx-batch-v1";
const RECORD_DOMAIN: &[u8] = b"sorcha-record-v1";
/// A few hours before the transaction of the vectors is published.
const ISSUED_AT: i64 = 1_699_990_000;
const DAY_MS: i64 = 86_400_000;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a text")).expect("hexadecimal")
}

fn of(file: &str, pointer: &str) -> Value {
    let file = support::read(file).expect("the vectors are there");
    file.pointer(pointer).expect("the vectors are whole").clone()
}

/// The bytes that are signed: a domain, then what the other crate's vectors hold.
fn message(domain: &[u8], file: &str, pointer: &str) -> Vec<u8> {
    [domain, &bytes(&of(file, pointer))].concat()
}

fn published() -> i64 {
    of("transaction", "/published_unix_ms").as_i64().expect("a number")
}

fn der(pem: &str) -> Vec<u8> {
    certificates_from_pem(pem.as_bytes()).expect("it was just made").remove(0)
}

/// A peer with its certificate and key, kept in the file as long as it is there.
fn identity(kept: &Value, authority: &Authority, uri: &str) -> Value {
    if kept["uri"] == uri {
        return kept.clone();
    }
    let name: SpiffeId = uri.parse().expect("a SPIFFE URI");
    let at = Timestamp::from_second(ISSUED_AT).expect("a time");
    let issued = authority.issue(&IssueRequest::new(name, at)).expect("issued");
    json!({
        "uri": uri,
        "peer": hex::encode(Sha256::digest(uri)),
        "certificate": hex::encode(der(&issued.cert_pem)),
        "key_pem": *issued.key_pem,
    })
}

fn authority(kept: &Value) -> (Value, Authority) {
    let text = |name: &str| kept[name].as_str().map(str::to_owned);
    if let (Some(pem), Some(key)) = (text("certificate_pem"), text("key_pem")) {
        return (
            kept.clone(),
            Authority::from_pem(pem.as_bytes(), key.as_bytes()).expect("it is kept whole"),
        );
    }
    let at = Timestamp::from_second(ISSUED_AT).expect("a time");
    let made = Authority::generate("acme.example", at, SignedDuration::from_hours(365 * 24)).expect("a CA");
    let value = json!({
        "trust_domain": "acme.example",
        "certificate_pem": made.certificate_pem(),
        "certificate": hex::encode(der(made.certificate_pem())),
        "key_pem": made.key_pem(),
    });
    (value, made)
}

/// A signature of this peer over these bytes: the one that is there, where it holds.
fn signature(kept: &Value, who: &Value, message: &[u8]) -> String {
    if let Some(kept) = kept.as_str()
        && PublicKey::of_certificate(&bytes(&who["certificate"]))
            .expect("a key")
            .verify(message, &bytes(&json!(kept)))
            .is_ok()
    {
        return kept.to_owned();
    }
    let key = SigningKey::from_pem(who["key_pem"].as_str().expect("a key").as_bytes()).expect("a key");
    hex::encode(key.sign(message).expect("it signs"))
}

/// RFC 9162 § 2.1, and § 2.1.3.1 for the leaf at `index`, leaf side first.
fn root_and_proof(leaves: &[[u8; 32]], index: usize) -> ([u8; 32], Vec<[u8; 32]>) {
    if leaves.len() == 1 {
        return (leaves[0], Vec::new());
    }
    let half = leaves.len().next_power_of_two() / 2;
    let (left, right) = (&leaves[..half], &leaves[half..]);
    let inside = if index < half { root_and_proof(left, index) } else { root_and_proof(right, index - half) };
    let beside = if index < half { root_and_proof(right, 0).0 } else { root_and_proof(left, 0).0 };
    let (one, other) = if index < half { (inside.0, beside) } else { (beside, inside.0) };
    let root = Sha256::new().chain_update([1]).chain_update(one).chain_update(other).finalize().into();
    (root, [inside.1, vec![beside]].concat())
}

/// One signature over the vectors' transaction and four others, of which the ids alone are told.
fn several(kept: &Value, who: &Value) -> Value {
    let ids: Vec<[u8; 32]> = [bytes(&of("transaction", "/id")).try_into().expect("32 bytes")]
        .into_iter()
        .chain(["b", "c", "d", "e"].map(|name| Sha256::digest(name).into()))
        .collect();
    let leaves: Vec<[u8; 32]> =
        ids.iter().map(|id| Sha256::new().chain_update([0]).chain_update(id).finalize().into()).collect();
    let count = u16::try_from(ids.len()).expect("a few").to_be_bytes();
    let root = root_and_proof(&leaves, 0).0;
    let message = [BATCH_DOMAIN, &count, &root].concat();
    let der = signature(&kept["der"], who, &message);
    let field = |index: u16| {
        let proof = root_and_proof(&leaves, usize::from(index)).1.concat();
        hex::encode([&[1], &count[..], &index.to_be_bytes(), &proof, &bytes(&json!(der))].concat())
    };
    json!({
        "ids": ids.iter().map(hex::encode).collect::<Vec<_>>(),
        "root": hex::encode(root),
        "message": hex::encode(message),
        "der": der,
        "fields": (0..5).map(field).collect::<Vec<_>>(),
    })
}

fn made() -> Value {
    let kept = support::read("signatures").unwrap_or_default();
    let (ca, issuer) = authority(&kept["authority"]);
    let (stranger, strange_issuer) = authority(&kept["stranger_authority"]);
    let origin = identity(&kept["origin"], &issuer, "spiffe://acme.example/payments/peers-0");
    let other = identity(&kept["other"], &issuer, "spiffe://acme.example/payments/peers-1");
    let elsewhere = identity(&kept["elsewhere"], &issuer, "spiffe://acme.example/invoices/peers-0");
    let stranger_peer = &kept["stranger"];
    let stranger_peer = identity(stranger_peer, &strange_issuer, "spiffe://acme.example/payments/peers-0");

    let transaction = message(TX_DOMAIN, "transaction", "/header");
    let record = message(RECORD_DOMAIN, "record", "/record");
    let mut changed = transaction.clone();
    *changed.last_mut().expect("it has bytes") ^= 1;
    let wrong_domain = message(RECORD_DOMAIN, "transaction", "/header");
    let (now, later) = (published(), published() + 60 * DAY_MS);
    let cases = [
        ("as it should be", "valid", &origin, &transaction, &transaction, now),
        ("a byte of the header is another", "forged", &origin, &transaction, &changed, now),
        ("signed as a record", "forged", &origin, &wrong_domain, &transaction, now),
        (
            "signed by a peer that is not the header's origin",
            "forged",
            &other,
            &transaction,
            &transaction,
            now,
        ),
        ("signed by a peer of another network", "forged", &elsewhere, &transaction, &transaction, now),
        ("published after the certificate's end", "untrusted", &origin, &transaction, &transaction, later),
        ("published before the certificate's begin", "untrusted", &origin, &transaction, &transaction, 1),
        (
            "the certificate is of a CA that is not trusted",
            "untrusted",
            &stranger_peer,
            &transaction,
            &transaction,
            now,
        ),
    ];
    let checks = cases.iter().enumerate().map(|(at, (what, verdict, who, signed, shown, published))| {
        let signature = signature(&kept["checks"][at]["signature"], who, signed);
        json!({
            "what": what,
            "certificate": who["certificate"],
            "header": hex::encode(&shown[TX_DOMAIN.len()..]),
            "signature": signature,
            "published_unix_ms": published,
            "verdict": verdict,
        })
    });
    let checks: Vec<Value> = checks.collect();
    json!({
        "about": "ECDSA P-256 with SHA-256, ASN.1 DER, over \"sorcha-tx-v1\" || header and \"sorcha-record-v1\" || record; \
                  certificates are X.509 DER. Trusted is the one root of `authority`. A header's certificate must be valid when \
                  the header says that it was published. `checks` are over the header of transaction.json: valid; forged: \
                  evidence against whoever sent it; untrusted: kept aside, nobody's fault. `several`: one signature over five \
                  transactions, and the signature field of each. The keys are for these tests alone.",
        "transaction": {"signature": signature(&kept["transaction"]["signature"], &origin, &transaction)},
        "record": {"signature": signature(&kept["record"]["signature"], &origin, &record)},
        "several": several(&kept["several"], &origin),
        "checks": checks,
        "origin": origin,
        "other": other,
        "elsewhere": elsewhere,
        "stranger": stranger_peer,
        "authority": ca,
        "stranger_authority": stranger,
    })
}

#[test]
fn certificates_and_signatures_of_the_vectors_hold() {
    support::check("signatures", &made());
}

/// The check as docs/protocol.md has it, of public parts alone.
#[test]
fn each_check_of_the_vectors_ends_as_it_says() {
    let root = bytes(&of("signatures", "/authority/certificate"));
    let trusted = TrustBundle::from_der(&[root]).expect("a root");
    let (origin, network) = (of("transaction", "/origin"), of("transaction", "/network"));
    let checks = of("signatures", "/checks");
    for check in checks.as_array().expect("a list") {
        let certificate = bytes(&check["certificate"]);
        let at = check["published_unix_ms"].as_i64().expect("a number");
        let at = Timestamp::from_millisecond(at).expect("a time");
        let message = [TX_DOMAIN, &bytes(&check["header"])].concat();
        let verdict = match trusted.check_chain(&certificate, &[] as &[&[u8]], at) {
            Err(error) if error.is_a_matter_of_trust() => "untrusted",
            Err(_) => "forged",
            Ok(chain) => {
                let is_origin = hex::encode(Sha256::digest(chain.uri.as_str())) == origin;
                let holds = chain.key.verify(&message, &bytes(&check["signature"])).is_ok();
                if is_origin && chain.uri.network() == network && holds { "valid" } else { "forged" }
            }
        };
        assert_eq!(check["verdict"], verdict, "{}", check["what"]);
    }
}
