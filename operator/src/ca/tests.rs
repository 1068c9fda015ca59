//! What is made of Secrets, against an API server of a few lines that keeps them in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use sorcha_operator_plan::observed::{CertificateSeen, Root};
use sorcha_operator_plan::step::{AuthorityPlan, CertificatePlan};
use sorcha_peer_pki::Authority;
use sorcha_peer_pki::authority::ROOT_VALIDITY;

use super::{Authorities, CaError, Realm, Written};

/// Secrets by name, and every request as "GET name".
#[derive(Default)]
struct Server {
    secrets: BTreeMap<String, Value>,
    requests: Vec<String>,
    versions: u64,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn put(&mut self, name: &str, mut secret: Value) -> Value {
        self.versions += 1;
        secret["metadata"]["name"] = json!(name);
        secret["metadata"]["resourceVersion"] = json!(self.versions.to_string());
        self.secrets.insert(name.to_owned(), secret.clone());
        secret
    }

    fn answer(&mut self, method: &str, path: &str, sent: &[u8]) -> (u16, Value) {
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        let sent: Value = serde_json::from_slice(sent).unwrap_or_default();
        let failed = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "code": code, "reason": reason, "message": reason}))
        };
        let name =
            if method == "POST" { sent["metadata"]["name"].as_str().unwrap().to_owned() } else { last };
        self.requests.push(format!("{method} {name}"));
        let there = self.secrets.get(&name).cloned();
        match (method, there) {
            ("GET", Some(secret)) => (200, secret),
            ("GET", None) => failed(404, "NotFound"),
            ("POST", Some(_)) => failed(409, "AlreadyExists"),
            ("POST", None) => (201, self.put(&name, sent)),
            ("PATCH", there) => {
                let (asked, is) = (&sent["metadata"]["resourceVersion"], there.unwrap_or_default());
                if !asked.is_null() && *asked != is["metadata"]["resourceVersion"] {
                    return failed(409, "Conflict");
                }
                (200, self.put(&name, sent))
            }
            other => panic!("{other:?}"),
        }
    }
}

fn client(server: &Shared) -> Client {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (parts, body) = request.into_parts();
            let sent = body.collect_bytes().await?;
            let (method, path) = (parts.method.as_str(), parts.uri.path());
            let (code, answer) = server.lock().unwrap().answer(method, path, &sent);
            let answer =
                http::Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, tower::BoxError>(answer.expect("a response"))
        }
    });
    Client::new(service, "default")
}

const SECRET: &str = "ledger-peers-tls";

fn day(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(24 * days)
}

fn realm() -> Realm {
    Realm {
        namespace: "default".into(),
        network: "ledger".into(),
        uid: Some("uid-1".into()),
        trust_domain: "example.org".into(),
        network_id: "net".into(),
        pools: vec!["peers".into()],
    }
}

fn make() -> AuthorityPlan {
    AuthorityPlan { secret: "ledger-ca".into(), make: true, goes_with_network: false }
}

fn keep() -> AuthorityPlan {
    AuthorityPlan { make: false, ..make() }
}

fn pool(peers: &[&str], issue: &[&str]) -> CertificatePlan {
    CertificatePlan {
        secret: SECRET.into(),
        pool: "peers".into(),
        peers: peers.iter().map(|peer| ((*peer).into(), realm().peer_uri(peer))).collect(),
        issue: issue.iter().map(|peer| (*peer).into()).collect(),
    }
}

fn watched(server: &Shared) -> Vec<(Box<str>, Box<str>)> {
    let server = server.lock().unwrap();
    let version = |secret: &Value| secret["metadata"]["resourceVersion"].as_str().unwrap().into();
    server.secrets.iter().map(|(name, secret)| (name.as_str().into(), version(secret))).collect()
}

fn requests(server: &Shared) -> Vec<String> {
    std::mem::take(&mut server.lock().unwrap().requests)
}

fn values(server: &Shared, secret: &str) -> BTreeMap<String, Value> {
    let server = server.lock().unwrap();
    serde_json::from_value(server.secrets[secret]["data"].clone()).unwrap()
}

/// A network with an authority and a pool of these peers.
async fn with_peers(peers: &[&str]) -> (Shared, Authorities) {
    let server = Shared::default();
    let authorities = Authorities::new(client(&server));
    authorities.observe(&realm(), &[], day(0)).await.unwrap();
    authorities.ensure(&realm(), &make(), &[pool(peers, peers)], day(0)).await.unwrap();
    requests(&server);
    (server, authorities)
}

#[tokio::test]
async fn an_authority_is_made_once_and_every_peer_gets_a_certificate_that_fits() {
    let server = Shared::default();
    let authorities = Authorities::new(client(&server));
    let observed = authorities.observe(&realm(), &[], day(0)).await.unwrap();
    assert_eq!((observed.root, observed.certificates.len()), (Root::Absent, 0));

    let peers = ["ledger-peers-0", "ledger-peers-1"];
    let written = authorities.ensure(&realm(), &make(), &[pool(&peers, &peers)], day(0)).await.unwrap();
    let expected = [
        Written { secret: "ledger-ca".into(), issued: Vec::new() },
        Written { secret: SECRET.into(), issued: peers.map(str::to_owned).to_vec() },
    ];
    assert_eq!(written, expected);
    let ca = server.lock().unwrap().secrets["ledger-ca"].clone();
    assert_eq!(
        (&ca["type"], &ca["metadata"]["ownerReferences"]),
        (&json!("kubernetes.io/tls"), &Value::Null)
    );
    let secret = server.lock().unwrap().secrets[SECRET].clone();
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    assert_eq!(secret["metadata"]["labels"]["sorcha.org/pool"], "peers");
    let files: Vec<String> = values(&server, SECRET).into_keys().collect();
    assert_eq!(
        files,
        ["ca.crt", "ledger-peers-0.crt", "ledger-peers-0.key", "ledger-peers-1.crt", "ledger-peers-1.key"]
    );

    let observed = authorities.observe(&realm(), &watched(&server), day(0)).await.unwrap();
    let Root::Usable { bundle, not_after_unix_ms } = observed.root else { panic!("{:?}", observed.root) };
    assert!(bundle.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(not_after_unix_ms, (day(0) + ROOT_VALIDITY).as_millisecond());
    for peer in peers {
        let seen = &observed.certificates[peer];
        assert!(seen.fits && seen.not_after_unix_ms == day(30).as_millisecond(), "{peer}: {seen:?}");
    }
}

#[tokio::test]
async fn a_network_that_has_not_changed_is_looked_at_without_a_request() {
    let (server, authorities) = with_peers(&["ledger-peers-0"]).await;
    let first = authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    requests(&server);
    let again = authorities.observe(&realm(), &watched(&server), day(2)).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(
        authorities.ensure(&realm(), &keep(), &[pool(&["ledger-peers-0"], &[])], day(2)).await.unwrap(),
        []
    );
    assert_eq!(requests(&server), Vec::<String>::new());

    // Another operator begins: it reads, and writes nothing.
    let authorities = Authorities::new(client(&server));
    assert_eq!(authorities.observe(&realm(), &watched(&server), day(2)).await.unwrap(), first);
    assert_eq!(
        authorities.ensure(&realm(), &keep(), &[pool(&["ledger-peers-0"], &[])], day(2)).await.unwrap(),
        []
    );
    assert_eq!(requests(&server), ["GET ledger-ca", &format!("GET {SECRET}")]);
}

#[tokio::test]
async fn scaling_keeps_the_keys_that_stay_and_drops_those_that_go() {
    let (server, authorities) = with_peers(&["ledger-peers-0", "ledger-peers-1"]).await;
    let before = values(&server, SECRET);
    let plan = pool(&["ledger-peers-0", "ledger-peers-2"], &["ledger-peers-2"]);
    let written = authorities.ensure(&realm(), &keep(), &[plan], day(1)).await.unwrap();
    assert_eq!(written, [Written { secret: SECRET.into(), issued: vec!["ledger-peers-2".into()] }]);
    let after = values(&server, SECRET);
    for file in ["ca.crt", "ledger-peers-0.crt", "ledger-peers-0.key"] {
        assert_eq!(before[file], after[file], "{file}");
    }
    assert!(after.contains_key("ledger-peers-2.key") && !after.contains_key("ledger-peers-1.key"));

    let plan = pool(&["ledger-peers-0", "ledger-peers-2"], &["ledger-peers-0"]);
    authorities.ensure(&realm(), &keep(), &[plan], day(21)).await.unwrap();
    let renewed = values(&server, SECRET);
    assert_ne!(renewed["ledger-peers-0.key"], after["ledger-peers-0.key"], "a renewal makes a new key");
    assert_eq!(renewed["ledger-peers-2.key"], after["ledger-peers-2.key"]);
}

#[tokio::test]
async fn what_does_not_belong_to_its_peer_does_not_fit() {
    let (server, authorities) = with_peers(&["ledger-peers-0", "ledger-peers-1", "ledger-peers-2"]).await;
    {
        let mut server = server.lock().unwrap();
        let mut secret = server.secrets[SECRET].clone();
        secret["data"]["ledger-peers-0.crt"] = secret["data"]["ledger-peers-1.crt"].clone();
        secret["data"]["ledger-peers-2.key"] = json!("bm8ga2V5");
        secret["data"]["ledger-peers-3.crt"] = json!("bm8gY2VydGlmaWNhdGU=");
        server.put(SECRET, secret);
    }
    let observed = authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    let fits = |peer: &str| observed.certificates[peer].fits;
    assert_eq!(
        ["0", "1", "2", "3"].map(|number| fits(&format!("ledger-peers-{number}"))),
        [false, true, false, false]
    );

    // Of another root.
    let other = Authority::generate("example.org", day(0), ROOT_VALIDITY).unwrap();
    put_authority(&server, &other);
    let observed = authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    assert!(observed.certificates.values().all(|CertificateSeen { fits, .. }| !fits));
    // The peers' roots follow even where nothing is issued.
    let plan = pool(&["ledger-peers-1"], &[]);
    authorities.ensure(&realm(), &keep(), &[plan], day(1)).await.unwrap();
    let bundle = ByteText::of(&values(&server, SECRET)["ca.crt"]);
    assert_eq!(bundle.0, other.certificate_pem());
}

struct ByteText(String);

impl ByteText {
    fn of(value: &Value) -> Self {
        let bytes: k8s_openapi::ByteString = serde_json::from_value(value.clone()).unwrap();
        Self(String::from_utf8(bytes.0).unwrap())
    }
}

fn put_authority(server: &Shared, authority: &Authority) {
    let bytes = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    let data = json!({"tls.crt": bytes(authority.certificate_pem()), "tls.key": bytes(authority.key_pem())});
    server.lock().unwrap().put("ledger-ca", json!({"data": data, "metadata": {}}));
}

#[tokio::test]
async fn a_root_that_somebody_brought_is_adopted_and_one_that_cannot_sign_is_named_and_left_alone() {
    let server = Shared::default();
    let authorities = Authorities::new(client(&server));
    let own = Authority::generate("example.org", day(0), ROOT_VALIDITY).unwrap();
    put_authority(&server, &own);
    let observed = authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    assert!(matches!(observed.root, Root::Usable { ref bundle, .. } if bundle == own.certificate_pem()));

    let elsewhere = Authority::generate("elsewhere.org", day(0), ROOT_VALIDITY).unwrap();
    let over = Authority::generate("example.org", day(-20), SignedDuration::from_hours(24)).unwrap();
    let another_key = Authority::generate("example.org", day(0), ROOT_VALIDITY).unwrap();
    let bytes = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    let table = [
        (json!({}), "it has no tls.crt; it needs tls.crt and tls.key"),
        (json!({"tls.crt": bytes(own.certificate_pem())}), "it has no tls.key"),
        (
            json!({"tls.crt": bytes("x"), "tls.key": bytes(own.key_pem())}),
            "the CA certificate is not readable",
        ),
        (
            json!({"tls.crt": bytes(own.certificate_pem()), "tls.key": bytes(another_key.key_pem())}),
            "does not belong to the CA certificate",
        ),
        (
            json!({"tls.crt": bytes(elsewhere.certificate_pem()), "tls.key": bytes(elsewhere.key_pem())}),
            "of the trust domain elsewhere.org, and the manifest asks for example.org",
        ),
        (
            json!({"tls.crt": bytes(over.certificate_pem()), "tls.key": bytes(over.key_pem())}),
            "its root expired at",
        ),
    ];
    for (data, wanted) in table {
        server.lock().unwrap().put("ledger-ca", json!({"data": data, "metadata": {}}));
        let observed = authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
        let Root::Broken(why) = observed.root else { panic!("{wanted}: {:?}", observed.root) };
        assert!(why.contains(wanted) && why.ends_with('.'), "{why}\nwanted: {wanted}");
    }
    requests(&server);
    let before = server.lock().unwrap().secrets["ledger-ca"].clone();
    let refused = authorities.ensure(&realm(), &make(), &[], day(1)).await.unwrap_err();
    assert!(matches!(refused, CaError::Changed { .. }), "{refused}");
    assert_eq!(server.lock().unwrap().secrets["ledger-ca"], before);
}

#[tokio::test]
async fn a_secret_that_is_somebody_elses_or_has_changed_is_not_written() {
    let (server, authorities) = with_peers(&["ledger-peers-0"]).await;
    let plan = || [pool(&["ledger-peers-0", "ledger-peers-1"], &["ledger-peers-1"])];
    let secret = server.lock().unwrap().secrets[SECRET].clone();
    server.lock().unwrap().put(SECRET, secret.clone());
    let changed = authorities.ensure(&realm(), &keep(), &plan(), day(1)).await.unwrap_err();
    assert!(matches!(changed, CaError::Changed { .. }), "{changed}");

    let metadata = json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}});
    server.lock().unwrap().put(SECRET, json!({"metadata": metadata, "data": {}}));
    let observed = authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    assert!(observed.certificates.is_empty());
    let foreign = authorities.ensure(&realm(), &keep(), &plan(), day(1)).await.unwrap_err().to_string();
    assert!(foreign.starts_with(&format!("Secret {SECRET} belongs to Helm")), "{foreign}");
    assert!(requests(&server).iter().all(|request| request.starts_with("GET")));
}

#[tokio::test]
async fn a_pool_too_large_for_a_secret_is_refused_before_it_is_sent() {
    let (server, authorities) = with_peers(&["ledger-peers-0"]).await;
    {
        let mut server = server.lock().unwrap();
        let mut secret = server.secrets[SECRET].clone();
        secret["data"]["ledger-peers-1.crt"] = json!(k8s_openapi::ByteString(vec![b'x'; 1024 * 1024]));
        server.put(SECRET, secret);
    }
    authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    let plan = pool(&["ledger-peers-0", "ledger-peers-1"], &["ledger-peers-0"]);
    requests(&server);
    let error = authorities.ensure(&realm(), &keep(), &[plan], day(1)).await.unwrap_err().to_string();
    assert!(error.starts_with("the certificates of 2 peers have 10"), "{error}");
    assert!(requests(&server).iter().all(|request| request.starts_with("GET")));
}

#[tokio::test]
async fn the_operators_identity_is_made_anew_at_half_its_life_and_after_a_change_of_root() {
    let (server, authorities) = with_peers(&["ledger-peers-0"]).await;
    let first = authorities.identity(&realm(), day(1)).await.unwrap();
    assert_eq!(first.uri().as_str(), "spiffe://example.org/net/operator");
    let again = authorities.identity(&realm(), day(1) + SignedDuration::from_mins(59)).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let later = authorities.identity(&realm(), day(1) + SignedDuration::from_mins(61)).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &later));

    put_authority(&server, &Authority::generate("example.org", day(0), ROOT_VALIDITY).unwrap());
    authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    let other = authorities.identity(&realm(), day(1)).await.unwrap();
    assert_ne!(other.bundle_pem(), later.bundle_pem());

    authorities.forget("default", "ledger");
    requests(&server);
    authorities.observe(&realm(), &watched(&server), day(1)).await.unwrap();
    assert_eq!(requests(&server).len(), 2, "everything is read again");
}

#[tokio::test]
async fn a_name_of_another_domain_is_not_issued() {
    let (_server, authorities) = with_peers(&["ledger-peers-0"]).await;
    let mut plan = pool(&["ledger-peers-0"], &["ledger-peers-0"]);
    plan.peers[0].1 = "spiffe://elsewhere.org/net/ledger-peers-0".into();
    let error = authorities.ensure(&realm(), &keep(), &[plan], day(1)).await.unwrap_err().to_string();
    assert!(error.contains("the certificate of ledger-peers-0 was not issued"), "{error}");
}

/// A network with an authority of now, for the tests of calls to peers.
pub(crate) struct Network {
    pub(crate) authority: Authority,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) realm: Realm,
}

pub(crate) async fn with_authority() -> Network {
    let server = Shared::default();
    let authority = Authority::generate("example.org", Timestamp::now(), ROOT_VALIDITY).unwrap();
    put_authority(&server, &authority);
    let authorities = Arc::new(Authorities::new(client(&server)));
    authorities.observe(&realm(), &watched(&server), Timestamp::now()).await.unwrap();
    Network { authority, authorities, realm: realm() }
}
