//! The command line as a whole: arguments in, output and exit code out, against a real local API or none.

use std::path::Path;

use serde_json::Value;

use super::console::Console;
use crate::api::testing::{TestPeer, get, noise};

/// What came of a command.
struct Ran {
    code: u8,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

/// Runs a command line on a thread of its own, as a process would.
async fn run(args: &[&str]) -> Ran {
    let args: Vec<String> =
        std::iter::once("sorcha-peer").chain(args.iter().copied()).map(str::to_owned).collect();
    let running = tokio::task::spawn_blocking(move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = super::run(args, &mut Console::plain(&mut out, &mut err));
        Ran { code, out, err: String::from_utf8_lossy(&err).into_owned() }
    });
    running.await.expect("no panic")
}

/// The command with `--api` of this peer.
async fn at(peer: &TestPeer, args: &[&str]) -> Ran {
    let mut all = vec!["--api", peer.api.as_str()];
    all.extend(args);
    run(&all).await
}

#[tokio::test]
async fn exit_codes_are_as_documented() {
    let peer = TestPeer::start().await;
    let check = async |args: &[&str], code: u8, sentence: &str| {
        let ran = at(&peer, args).await;
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.text(), ran.err);
        assert!(ran.err.contains(sentence), "{args:?}: {}", ran.err);
    };
    check(&["status"], 0, "").await;
    check(&["--help"], 0, "").await;
    check(&["submit", "--text", "failed"], 4, "the store failed: input/output error").await;
    check(&["submit", "--text", "a", "--register", &"x".repeat(129)], 4, "is not a label").await;
    check(&["tail", "--cursor", "Not A Name"], 4, "cursor 'Not A Name' is not a name").await;
    check(&["tail", "--timeout", "200ms"], 5, "0 transactions came before --timeout").await;
    check(&["tail", "--count", "2", "--timeout", "200ms"], 5, "0 of 2 transactions").await;
    check(&["submit", "/nowhere/file"], 2, "/nowhere/file cannot be read").await;
    check(&["submit", "/tmp"], 2, "/tmp is a directory").await;
    check(&["submit"], 2, "Usage: sorcha-peer submit [OPTIONS] <FILE | - | --text TEXT>").await;
    check(&["frobnicate"], 2, "unrecognized subcommand").await;
    check(&["tail", "--from", "yesterday"], 2, "write earliest, latest, a position").await;
    check(&["submit", "--text", "a", "--ack", "65"], 2, "a number of other peers from 1 to 64").await;
    check(&["submit", "--text", "a", "--ack", "0"], 2, "write local, or a number").await;
    check(&["holders", "xyz"], 2, "'xyz' is not an id").await;
    check(&["holders", &"0".repeat(64)], 4, "is not held here").await;
    check(&["outbox", "discard"], 2, "<IDS>").await;
    check(&["outbox", "retry", &"0".repeat(64)], 4, "is not in the outbox").await;
    check(&["cursors", "show", "nobody"], 4, "there is no cursor 'nobody' here").await;
    check(&["cursors", "delete", "nobody"], 4, "there is no cursor 'nobody' here").await;
    check(&["tail", "--count", "0"], 2, "0 is not in 1..").await;
    check(&["status", "--timeout", "soon"], 2, "such as 10s").await;
    check(&["status", "--timeout", "0s"], 2, "above zero").await;
    check(&["status", "--output", "xml"], 2, "xml").await;
}

#[tokio::test]
async fn where_no_peer_answers_the_way_out_is_named() {
    let check = async |args: &[&str], code: u8, sentence: &str| {
        let ran = run(args).await;
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(sentence), "{args:?}: {}", ran.err);
    };
    // Port 1 is nobody's on any machine that runs this.
    let sentence = "no peer answers at 127.0.0.1:1: start one with `sorcha-peer run` or `cargo xtask up`, or name one with --peer or --api";
    for verb in [&["status"][..], &["peers"], &["tail"], &["submit", "--text", "a"]] {
        check(&[&["--api", "127.0.0.1:1"], verb].concat(), 3, sentence).await;
    }
    check(&["--api", "unix:/nowhere/api.sock", "status"], 3, "no peer answers at unix:/nowhere/api.sock")
        .await;
    check(&["--api", "nonsense", "status"], 2, "'nonsense' is not an address").await;
    check(&["--peer", "7", "--endpoints", "/nowhere.json", "status"], 2, "/nowhere.json cannot be read")
        .await;
}

#[tokio::test]
async fn a_listener_that_never_answers_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let ran = run(&["--api", &address, "--timeout", "200ms", "status"]).await;
    assert_eq!(ran.code, 5, "{}", ran.err);
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_refusal() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    for verb in [&["status"][..], &["tail"], &["submit", "--text", "a"]] {
        let ran = run(&[&["--api", &address], verb].concat()).await;
        assert!(matches!(ran.code, 1 | 3), "{verb:?}: {} {}", ran.code, ran.err);
    }
}

#[tokio::test]
async fn the_admin_port_is_told_from_the_api() {
    let peer = TestPeer::start().await;
    let ran = run(&["--api", &peer.admin, "status"]).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("is not the local API of a peer"), "{}", ran.err);
}

#[tokio::test]
async fn ten_mebibytes_are_submitted_and_tailed_byte_equal() {
    let peer = TestPeer::start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("body");
    let body = noise(10 << 20);
    std::fs::write(&file, &body).expect("a temporary directory");
    let ran = at(&peer, &["submit", "--register", "files", &file.display().to_string()]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.text().trim().len(), 64);
    let ran = at(&peer, &["tail", "--raw", "--count", "1"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out == body, "{} bytes came", ran.out.len());
}

#[tokio::test]
async fn a_file_beyond_the_bound_is_refused_with_the_peers_sentence() {
    let peer = TestPeer::start().await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(17 << 20).expect("a sparse file");
    let ran = at(&peer, &["submit", &file.path().display().to_string()]).await;
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("17825792 bytes; this peer accepts at most 16777216"), "{}", ran.err);
}

#[tokio::test]
async fn tail_prints_a_line_for_each_and_obeys_nothing_in_it() {
    let peer = TestPeer::start().await;
    at(&peer, &["submit", "--register", "orders", "--text", "hello"]).await;
    at(&peer, &["submit", "--register", "evil\u{202e}", "--text", "\x1b]0;owned\x07\r\nline\u{9b}31m"]).await;
    let ran = at(&peer, &["tail", "--count", "2"]).await;
    let text = ran.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("  orders  ") && lines[0].contains("      5 B  ") && lines[0].ends_with("  hello"),
        "{text}"
    );
    assert!(
        lines[1].contains("evil\\u{202e}") && lines[1].ends_with("\\u{1b}]0;owned\\u{7}\\r\\nline\\u{9b}31m"),
        "{text}"
    );
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    let only = at(&peer, &["tail", "--count", "1", "--register", "orders", "--output", "json"]).await;
    let line: Value = serde_json::from_slice(&only.out).expect("one JSON document per line");
    assert_eq!(
        (&line["position"], &line["preview"], &line["bodyBytes"]),
        (&1.into(), &"hello".into(), &5.into())
    );
}

#[tokio::test]
async fn a_named_cursor_goes_on_where_the_last_command_ended() {
    let peer = TestPeer::start().await;
    for text in ["one", "two", "three"] {
        at(&peer, &["submit", "--text", text]).await;
    }
    let tail =
        async |count: &str| at(&peer, &["tail", "--raw", "--cursor", "app", "--count", count]).await.text();
    assert_eq!(tail("1").await, "one");
    assert_eq!(tail("2").await, "twothree");
    let rest = at(&peer, &["tail", "--raw", "--cursor", "app", "--timeout", "200ms"]).await;
    assert_eq!((rest.code, rest.text().as_str()), (5, ""));
}

#[tokio::test]
async fn the_same_key_submits_once() {
    let peer = TestPeer::start().await;
    let submit = async || at(&peer, &["submit", "--idempotency-key", "k", "--text", "a", "-o", "json"]).await;
    let first: Value = serde_json::from_slice(&submit().await.out).expect("JSON");
    let again: Value = serde_json::from_slice(&submit().await.out).expect("JSON");
    assert_eq!(first["id"], again["id"]);
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&false.into(), &true.into()));
}

#[tokio::test]
async fn output_for_programs_has_the_names_of_rest() {
    let peer = TestPeer::start().await;
    for (verb, path) in [("status", "/v1/status"), ("peers", "/v1/peers")] {
        let rest = get(&peer.api, path).await.json();
        let json: Value = serde_json::from_slice(&at(&peer, &[verb, "-o", "json"]).await.out).expect("JSON");
        let yaml: Value =
            serde_saphyr::from_str(&at(&peer, &[verb, "-o", "yaml"]).await.text()).expect("YAML");
        let names = |value: &Value| value.as_object().expect("fields").keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&json), names(&rest), "{verb}");
        assert_eq!(names(&yaml), names(&rest), "{verb}");
    }
}

#[tokio::test]
async fn tables_are_for_people_and_safe_for_their_terminals() {
    let peer = TestPeer::start().await;
    let peers = at(&peer, &["peers"]).await.text();
    let lines: Vec<_> = peers.lines().collect();
    assert!(lines[0].starts_with("NAME          LINK        RTT"), "{peers}");
    assert!(lines[1].starts_with("test-peers-1  stream out  1.2 ms"), "{peers}");
    assert!(
        lines[2].starts_with("test-peers-2  none") && lines[2].ends_with("connection refused"),
        "{peers}"
    );
    assert!(peers.contains("attic\\u{1b}[2J") && !peers.contains('\x1b'), "{peers:?}");
    let status = at(&peer, &["status"]).await.text();
    for line in [
        "name          test-peers-0",
        "state         online",
        "peers linked  1 of 2 known",
        "store         accepts",
        "bootstrap     resolve gone.example:7450: no such name\\u{1b}[2J (3 times in a row)",
    ] {
        assert!(status.lines().any(|found| found == line), "{line} is missing in\n{status}");
    }
}

#[tokio::test]
async fn a_peer_is_named_by_the_end_of_its_name() {
    let peer = TestPeer::start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = endpoints(directory.path(), &peer.api);
    let named = async |name: &str| run(&["--endpoints", &file, "--peer", name, "status"]).await;
    for name in ["quickstart-peers-2", "peers-2", "2"] {
        assert_eq!(named(name).await.code, 0, "{name}");
    }
    let unknown = named("3").await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("no peer '3' is known; known: quickstart-peers-2"), "{}", unknown.err);
}

fn endpoints(directory: &Path, api: &str) -> String {
    let file = directory.join("endpoints.json");
    let peer = serde_json::json!({ "name": "quickstart-peers-2", "pid": 1, "peer": "127.0.0.1:1", "api": api, "admin": "127.0.0.1:2", "directory": "/x" });
    std::fs::write(&file, serde_json::json!({ "network": "quickstart", "peers": [peer] }).to_string())
        .expect("a temporary directory");
    file.display().to_string()
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let peer = TestPeer::start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let address = format!("unix:{}", directory.path().join("api.sock").display());
    let server = peer.serve_also(&address).await;
    let ran = run(&["--api", &address, "submit", "--text", "a"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    peer.shutdown.cancel();
    server.await.expect("no panic");
}

#[tokio::test]
async fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell]).await;
        assert!(ran.code == 0 && ran.text().contains("idempotency-key"), "{shell}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    <super::Cli as clap::CommandFactory>::command().debug_assert();
}

/// What came of a command that needs no peer.
async fn offline(args: &[&str], code: u8, sentence: &str) -> String {
    let ran = run(args).await;
    let all = format!("{}{}", ran.text(), ran.err);
    assert_eq!(ran.code, code, "{args:?}: {all}");
    assert!(all.contains(sentence), "{args:?}: {all}");
    all
}

#[tokio::test]
async fn certificates_of_a_network_are_made_once_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("all").to_string_lossy().into_owned();
    let all = ["cert", "network", "--trust-domain", "test.local", "--network-id", "net", "--out", &out];
    let with = |peers: &[&'static str]| [&all[..], peers].concat();
    offline(&with(&["peer-0", "peer-1"]), 0, "2 certificates issued, 0 kept").await;
    offline(&with(&["peer-0", "peer-1", "peer-2"]), 0, "1 certificates issued, 2 kept").await;
    let shown = format!("{out}/peer-2");
    offline(&["cert", "show", &shown], 0, "spiffe://test.local/net/peer-2").await;
    offline(&with(&["Not A Name"]), 2, "").await;
}

#[tokio::test]
async fn certificates_are_made_shown_and_checked_against_the_configuration() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (ca, tls, file) = (path("ca"), path("tls"), path("peer.yaml"));
    let create = ["cert", "create-ca", "--trust-domain", "test.local", "--out", &ca];
    offline(&create, 0, "holds a CA for spiffe://test.local/").await;
    offline(&create, 1, "holds a CA already").await;
    let yaml = format!("networkId: net\ntrustDomain: test.local\nname: peer-0\ntls: {{directory: {tls}}}\n");
    std::fs::write(&file, yaml).expect("a temporary directory");
    offline(&["config", "check", &file], 0, "certificates were not checked").await;

    let issue = async |uri: &str, more: &[&str], code, sentence: &str| {
        offline(
            &[&["cert", "issue", "--ca", &ca, "--out", &tls, "--uri", uri], more].concat(),
            code,
            sentence,
        )
        .await
    };
    issue(
        "spiffe://test.local/net/peer-0",
        &[],
        0,
        "holds the certificate of spiffe://test.local/net/peer-0",
    )
    .await;
    offline(&["config", "check", &file], 0, "its certificate is valid until").await;
    let shown = offline(&["cert", "show", &tls], 0, "spiffe://test.local/net/peer-0").await;
    assert!(shown.contains("kind         leaf"), "{shown}");
    offline(&["cert", "show", &path("ca/ca.crt")], 0, "kind         CA").await;
    offline(&["cert", "show", &ca], 0, "kind         CA").await;
    let elsewhere = ["cert", "issue", "--ca", "/nowhere", "--out", &tls, "--uri", "spiffe://t/n/p"];
    offline(&elsewhere, 2, "`sorcha-peer cert create-ca` has made").await;
    offline(&["cert", "show", &tls, "-o", "json"], 0, "\"isCa\": false").await;

    issue("spiffe://test.local/net/peer-1", &[], 0, "").await;
    offline(&["config", "check", &file], 2, "is the certificate of spiffe://test.local/net/peer-1, but the configuration is of spiffe://test.local/net/peer-0").await;
    issue("spiffe://other.local/net/peer-0", &[], 2, "is not of this CA's trust domain").await;
    issue("http://test.local", &[], 2, "http://test.local").await;
    let expired = ["--not-before", "2020-01-01T00:00:00Z", "--not-after", "2020-02-01T00:00:00Z"];
    issue("spiffe://test.local/net/peer-0", &expired, 0, "until 2020-02-01T00:00:00Z").await;
    issue("spiffe://test.local/net/peer-0", &["--not-after", "soon"], 2, "such as 2030-01-01T00:00:00Z")
        .await;
    let said = offline(&["config", "check", &file], 2, "tls.crt: ").await;
    let (_, checked_for) = said.split_once("checked for ").expect("the time");
    assert_eq!(checked_for.split_once(')').expect("closed").0.len(), "2020-02-01T00:00:00Z".len(), "{said}");
    std::fs::write(path("tls/tls.crt"), "nonsense").expect("a temporary directory");
    offline(&["cert", "show", &tls], 2, "tls.crt: ").await;
    offline(&["cert", "show", "/nowhere"], 2, "/nowhere cannot be read").await;
}

#[tokio::test]
async fn a_wrong_configuration_is_told_line_by_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("peer.yaml").display().to_string();
    std::fs::write(
        &file,
        "networkId: net\ntrustDomain: test.local\nname: a\nlimit: {}\nlog: {level: [loud]}\n",
    )
    .expect("a temporary directory");
    let said = offline(&["config", "check", &file], 2, "limit").await;
    assert!(said.lines().count() >= 2 && said.lines().all(|line| line.contains("peer.yaml: ")), "{said}");
    offline(&["config", "reference"], 0, "| `networkId` |").await;
    let said = offline(&["config", "check", "/nowhere.yaml"], 2, "/nowhere.yaml cannot be read").await;
    assert!(said.contains("after `config check`"), "{said}");
}

#[tokio::test]
async fn a_store_is_checked_while_no_peer_uses_it() {
    let peer = TestPeer::start().await;
    peer.submit("r", noise(100_000)).await;
    let state = peer.state().display().to_string();
    offline(&["store", "check", &state], 1, "is in use by").await;
    peer.store.close();
    offline(&["store", "check", &state, "-o", "json"], 0, "\"transactions\": 1").await;
    offline(&["store", "check", "/nowhere"], 2, "there is no store in /nowhere").await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(folder.path().join("state")).expect("a temporary directory");
    std::fs::write(folder.path().join("state/store.redb"), "x").expect("a temporary directory");
    let hint = format!("there is one in {}/state", folder.path().display());
    offline(&["store", "check", &folder.path().display().to_string()], 2, &hint).await;
    std::fs::write(peer.state().join("store.redb"), vec![0xa5; 65_536]).expect("a temporary directory");
    offline(&["store", "check", &state], 1, "store.redb").await;
}

#[tokio::test]
async fn a_submission_that_fewer_hold_than_asked_for_ends_with_5_and_its_id() {
    let peer = TestPeer::start().await;
    let ran = at(&peer, &["submit", "--text", "a", "--ack", "2", "--wait", "50ms"]).await;
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(
        ran.err.contains("is accepted and durable at this peer, but no other peers hold it so far"),
        "{}",
        ran.err
    );
    let id = ran.text().trim().to_owned();
    assert_eq!(get(&peer.api, &format!("/v1/transactions/{id}")).await.code.as_u16(), 200);
    let ran = at(&peer, &["submit", "--text", "b", "--register", "held", "--ack", "2", "-o", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let answer: Value = serde_json::from_str(&ran.text()).expect("JSON");
    assert_eq!((&answer["holders"], &answer["pending"]), (&2.into(), &false.into()));
    let id = answer["id"].as_str().expect("an id");
    let ran = at(&peer, &["holders", id]).await;
    assert_eq!((ran.code, ran.text().as_str()), (0, "2\n"));
    let ran = at(&peer, &["holders", id, "--wanted", "3", "--wait", "10ms"]).await;
    assert_eq!((ran.code, ran.text().as_str()), (5, "2\n"), "{}", ran.err);
}

#[tokio::test]
async fn outbox_quarantine_and_cursors_are_shown_as_tables() {
    let peer = TestPeer::start().await;
    let shown = at(&peer, &["outbox", "list"]).await.text();
    assert!(
        shown.contains("undeliverable: linked peers do not take it")
            && shown.contains("waits, or is on its way"),
        "{shown}"
    );
    let shown = at(&peer, &["quarantine"]).await.text();
    assert!(shown.contains("its certificate expired"), "{shown}");
    assert_eq!(at(&peer, &["cursors", "list"]).await.text(), "there is no cursor\n");
    peer.submit("r", "a").await;
    peer.submit("r", "b").await;
    let ran = at(&peer, &["tail", "--cursor", "app", "--count", "1", "--from", "1h"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let shown = at(&peer, &["cursors", "show", "app"]).await.text();
    let row: Vec<&str> = shown.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row, ["app", "1", "0", "1", "no"]);
    assert_eq!(at(&peer, &["cursors", "delete", "app"]).await.code, 0);
    assert_eq!(at(&peer, &["cursors", "list"]).await.text(), "there is no cursor\n");

    let id = peer.submit("r", "exported").await.to_string();
    let file = peer.state().join("exported");
    let name = file.to_str().expect("UTF-8");
    assert_eq!(at(&peer, &["outbox", "export", &id, name]).await.code, 0);
    let text = std::fs::read_to_string(&file).expect("written");
    let (header, body) = text.split_once('\n').expect("a line");
    assert_eq!((header.contains(&id), body), (true, "exported"));
    let again = at(&peer, &["outbox", "export", &id, name]).await;
    assert!(again.code == 1 && again.err.contains("cannot be written"), "{}", again.err);
}
