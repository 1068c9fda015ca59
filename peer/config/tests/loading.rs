//! Reading configurations: good ones, and every way to be wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sorcha_peer_config::problem::Origin;
use sorcha_peer_config::proxy::{Credentials, Proxy};
use sorcha_peer_config::raw::{
    RawBootstrap, RawConfig, RawDiscovery, RawLimits, RawLinks, RawListen, RawLog, RawProxy, RawRetention,
    RawShutdown, RawState, RawTls,
};
use sorcha_peer_config::{
    ApiAddress, Compression, LogFormat, Mode, Rung, Surroundings, check, fields, load, reference_markdown,
    to_yaml,
};

const LEAST: &str = "networkId: net\ntrustDomain: example.org\nname: alice\n";

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Surroundings { environment, host_name: Some("host-1".into()) }
}

#[track_caller]
fn refused(yaml: &str, mode: Mode) -> String {
    load(yaml, &surroundings(&[]), mode).expect_err("it should be refused").to_string()
}

#[test]
fn the_least_file_takes_every_default() {
    let loaded = load(LEAST, &Surroundings::default(), Mode::Check).unwrap();
    assert!(loaded.warnings.is_empty());
    let config = loaded.config;
    assert_eq!(config.uri(), "spiffe://example.org/net/alice");
    assert_eq!(config.listen_peer, "0.0.0.0:7450".parse().unwrap());
    assert_eq!(config.listen_api, ApiAddress::Tcp("127.0.0.1:7451".parse().unwrap()));
    assert_eq!(config.listen_admin, "127.0.0.1:7452".parse().unwrap());
    assert_eq!(config.refresh_interval, Duration::from_secs(900));
    assert_eq!(config.heartbeat_interval, Duration::from_secs(5));
    assert_eq!(config.forget_after, Duration::from_secs(60));
    assert_eq!(config.tls_directory, Path::new("/run/sorcha/tls"));
    assert_eq!(config.state_directory, Path::new("/var/lib/sorcha"));
    assert_eq!((config.cache_bytes_max, config.body_bytes_max), (32 << 20, 64 << 20));
    assert_eq!((config.retention_age, config.retention_bytes), (None, None));
    assert_eq!((config.links_max, config.submissions_max), (1024, 4096));
    assert_eq!((config.compression, config.climb_after), (Compression::Lz4, Duration::from_secs(45)));
    assert_eq!((config.durable, config.submit_bytes_max), (true, 256 << 20));
    assert_eq!((config.log_level.as_str(), config.log_format), ("info", LogFormat::Text));
    assert_eq!(config.shutdown_deadline, Duration::from_secs(10));
    assert_eq!((config.rungs, config.proxy), (vec![Rung::Stream, Rung::Exchange, Rung::Rest], None));
    assert!(config.site.is_empty() && config.advertise.is_empty() && config.bootstrap.is_empty());
}

fn everything() -> RawConfig {
    let text = |text: &str| Some(text.to_owned());
    RawConfig {
        config_version: Some(1),
        network_id: text("net"),
        trust_domain: text("example.org"),
        name: text("bob-0"),
        site: text("rack 7: \"left\""),
        listen: RawListen {
            peer: text("127.0.0.1:0"),
            api: text("unix:/run/api.sock"),
            admin: text("[::1]:9000"),
        },
        advertise: Some(vec!["peer.example.org:7450".into(), "[2001:db8::1]:7450".into()]),
        bootstrap: RawBootstrap { addresses: Some(vec!["10.0.0.1:7450".into()]) },
        discovery: RawDiscovery {
            refresh_interval: text("1s"),
            heartbeat_interval: text("250ms"),
            forget_after: text("1h30m"),
        },
        tls: RawTls { directory: text("tls") },
        state: RawState { directory: text("state"), durable: Some(false), cache_bytes_max: text("1Gi") },
        retention: RawRetention { age: text("30d"), bytes: text("10Gi") },
        links: RawLinks {
            compression: text("none"),
            climb_after: text("2m"),
            rungs: Some(vec!["rest".into(), "stream".into()]),
        },
        proxy: RawProxy {
            url: text("http://proxy.example:3128"),
            except: Some(vec![".example".into(), "10.0.0.0/8".into()]),
            credentials_directory: text("/run/proxy"),
        },
        limits: RawLimits {
            body_bytes_max: text("1M"),
            submit_bytes_max: text("2Mi"),
            links_max: Some(7),
            submissions_max: Some(9),
        },
        log: RawLog { level: text("info,sorcha_peer::store=debug"), format: text("json") },
        shutdown: RawShutdown { deadline: text("3s") },
    }
}

#[test]
fn a_file_built_in_memory_says_what_it_was_built_of() {
    let config = check(&everything()).unwrap();
    assert_eq!(config.site, "rack 7: \"left\"");
    assert_eq!(config.listen_api, ApiAddress::Unix("/run/api.sock".into()));
    assert_eq!(config.advertise, ["peer.example.org:7450", "[2001:db8::1]:7450"]);
    assert_eq!(config.forget_after, Duration::from_secs(5400));
    assert_eq!((config.cache_bytes_max, config.body_bytes_max), (1 << 30, 1_000_000));
    let age = Some(Duration::from_secs(30 * 86_400));
    assert_eq!((config.retention_age, config.retention_bytes), (age, Some(10 << 30)));
    assert_eq!((config.links_max, config.submissions_max), (7, 9));
    assert_eq!((config.compression, config.climb_after), (Compression::None, Duration::from_secs(120)));
    assert_eq!((config.durable, config.submit_bytes_max), (false, 2 << 20));
    assert_eq!(config.rungs, [Rung::Stream, Rung::Rest]);
    let proxy = config.proxy.unwrap();
    assert_eq!(proxy.address, "proxy.example:3128");
    assert_eq!(proxy.credentials, Credentials::Directory("/run/proxy".into()));
    assert!(proxy.is_for("bob.test:1") && !proxy.is_for("bob.example:1") && !proxy.is_for("10.1.2.3:1"));
    assert_eq!((config.log_format, config.listen_peer.port()), (LogFormat::Json, 0));
    let yaml = to_yaml(&everything());
    assert_eq!(serde_saphyr::from_str::<RawConfig>(&yaml).unwrap(), everything());
    assert_eq!(to_yaml(&RawConfig::default()).trim(), "{}");
    let error = check(&RawConfig::default()).unwrap_err().to_string();
    assert!(!error.contains("line"), "{error}");
}

fn proxy_of(more: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>, String> {
    let loaded = load(&format!("{LEAST}{more}"), &surroundings(variables), Mode::Check);
    loaded.map(|loaded| loaded.config.proxy).map_err(|problems| problems.to_string())
}

#[test]
fn the_environment_names_a_proxy_and_the_file_has_the_last_word() {
    let environment = [("HTTPS_PROXY", "http://al:p%40@p.example:1"), ("NO_PROXY", "a.test, .b.test:2,")];
    let proxy = proxy_of("proxy: {except: [c.test]}\n", &environment).unwrap().unwrap();
    assert_eq!(
        (proxy.address.as_str(), proxy.origin.clone()),
        ("p.example:1", Origin::Environment("HTTPS_PROXY".into()))
    );
    assert_eq!(proxy.credentials, Credentials::Given { user: "al".into(), password: "p@".into() });
    for (address, through) in [
        ("a.test:1", false),
        ("c.test:1", false),
        ("x.b.test:2", false),
        ("x.b.test:3", true),
        ("d.test:1", true),
    ] {
        assert_eq!(proxy.is_for(address), through, "{address}");
    }
    let directory = "proxy: {credentialsDirectory: /run/proxy}\n";
    let proxy = proxy_of(directory, &environment).unwrap().unwrap();
    assert_eq!(proxy.credentials, Credentials::Directory("/run/proxy".into()));

    assert_eq!(proxy_of("proxy: {url: none}\n", &environment), Ok(None));
    let proxy = proxy_of("proxy: {url: 'http://q.example'}\n", &environment).unwrap().unwrap();
    assert_eq!((proxy.address.as_str(), proxy.credentials.clone()), ("q.example:80", Credentials::None));
    assert!(proxy.is_for("a.test:1"), "NO_PROXY is about the other one");
    let lower = [("HTTPS_PROXY", " "), ("https_proxy", "q.example:2"), ("no_proxy", "*")];
    let proxy = proxy_of("", &lower).unwrap().unwrap();
    assert!(proxy.address == "q.example:2" && !proxy.is_for("a.test:1"));
    let proxy = proxy_of("", &[("SORCHA_PROXY_URL", "http://r:9"), ("SORCHA_PROXY_EXCEPT", "a.test,b.test")]);
    let proxy = proxy.unwrap().unwrap();
    assert!(proxy.address == "r:9" && !proxy.is_for("b.test:1"));
}

#[test]
fn a_proxy_that_cannot_be_is_refused_with_where_it_stands() {
    let secret = [("HTTPS_PROXY", "socks5://al:secret@p:1")];
    let error = proxy_of("", &secret).unwrap_err();
    assert!(error.contains("speaks http://") && error.contains("HTTPS_PROXY"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(proxy_of("proxy: {url: none}\n", &secret), Ok(None));
    let error = proxy_of("", &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "a.test,10.0.0.0/99")]).unwrap_err();
    assert!(error.contains("'10.0.0.0/99' is no block") && error.contains("NO_PROXY"), "{error}");
    let error = proxy_of("proxy: {url: 'http://al:secret@p:1'}\n", &[]).unwrap_err();
    assert!(error.contains("put them in proxy.credentialsDirectory (line 4)"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn the_table_and_the_serde_types_name_the_same_keys() {
    fn walk(above: &str, value: &serde_json::Value, found: &mut Vec<String>) {
        match value.as_object() {
            Some(map) => map.iter().for_each(|(key, value)| walk(&format!("{above}.{key}"), value, found)),
            None => found.push(above[1..].to_owned()),
        }
    }
    let mut found = Vec::new();
    walk("", &serde_json::to_value(everything()).unwrap(), &mut found);
    let mut table: Vec<_> = fields::FIELDS.iter().map(|field| field.key).collect();
    found.sort();
    table.sort_unstable();
    assert_eq!(found, table);
}

#[test]
fn a_wrong_value_is_refused_with_its_key_its_text_and_the_way_out() {
    /// `line` is appended to a good file as its fourth line.
    #[track_caller]
    fn check(line: &str, wanted: &str) {
        let error = refused(&format!("{LEAST}{line}\n"), Mode::Run);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(wanted), "\n{error}\nwanted: {wanted}");
        assert!(error.ends_with(" (line 4)"), "{error}");
    }
    check(
        "listen: { peer: '0.0.0.0:99999' }",
        "listen.peer: '0.0.0.0:99999' is not an address: the port must be 1-65535",
    );
    check("listen: { peer: '0.0.0.0' }", "'0.0.0.0' is not an address: the port is missing");
    check("listen: { peer: 'localhost:7450' }", "an IP address of this machine is wanted");
    check("listen: { peer: '::1:7450' }", "an IPv6 address stands in brackets");
    check("listen: { peer: '[127.0.0.1]:7450' }", "only an IPv6 address stands in brackets");
    check("listen: { peer: 7450 }", "listen.peer: 7450 is a number, and a text is wanted");
    check("listen: { peer: [a] }", "listen.peer: a list stands where a text is wanted");
    check("listen: 7450", "listen: 7450 stands where a section with the keys peer, api, admin is wanted");
    check("listen: { api: '0.0.0.0:7451' }", "has no authentication, to others: use 127.0.0.1:7451");
    check("listen: { api: 'unix:api.sock' }", "is not a Unix socket: write unix:/ and an absolute path");
    check("listen: { admin: '127.0.0.1:7451' }", "'127.0.0.1:7451' is taken by listen.api already");
    check("listen: { admin: '127.0.0.1:7450' }", "is taken by listen.peer already");
    check(
        "configVersion: 2",
        "configVersion: 2 is newer than this program reads (up to 1): update sorcha-peer",
    );
    check("configVersion: 0", "configVersion: 0 is out of range; write 1 to 1");
    check("configVersion: one", "configVersion: 'one' is not a whole number");
    check("site: \"a\\u0007b\"", "holds control characters");
    check(&format!("site: {}", "x".repeat(64)), "use at most 63 characters");
    check("site: true", "YAML reads the word here (true, yes, on, y) as true: put it in quotes");
    check("site: n", "YAML reads the word here (false, no, off, n) as false: put it in quotes");
    check("advertise: peer:7450", "advertise: 'peer:7450' is a text, and a list of host:port is wanted");
    check("advertise: [peer]", "advertise: 'peer' is not host:port: the port is missing");
    check("advertise: ['peer:0']", "'peer:0' is not host:port: the port must be 1-65535");
    check("advertise: ['peer:+80']", "the port must be 1-65535");
    check("advertise: [7450]", "7450 is a number, and host:port is wanted");
    check("bootstrap: { addresses: ['a..b:1'] }", "the host must be a DNS name or an IP address");
    check("bootstrap: { addresses: ['http://a:1'] }", "is not host:port");
    check("bootstrap: { addresses: ['2001:db8::1:7450'] }", "an IPv6 address stands in brackets");
    check("bootstrap: { addresses: ['[peer]:7450'] }", "brackets hold an IPv6 address");
    check(
        &format!("bootstrap: {{ addresses: [{}] }}", "'a:1', ".repeat(257)),
        "it lists 257 addresses; at most 256 are taken",
    );
    check(
        "discovery: { refreshInterval: 15 }",
        "'15' is not a duration: its unit is missing: write 15s, 15m or 15ms",
    );
    check("discovery: { refreshInterval: soon }", "'soon' is not a duration: write numbers with units");
    check("discovery: { refreshInterval: 25h }", "'25h' is out of range; write 1s to 1d");
    check("discovery: { heartbeatInterval: 99ms }", "'99ms' is out of range; write 100ms to 10m");
    check("discovery: { forgetAfter: 9s }", "9s is less than twice discovery.heartbeatInterval (5s)");
    check("tls: { directory: '' }", "tls.directory: '' is not a path");
    check(
        "state: { cacheBytesMax: 32MB }",
        "'32MB' is not a size: write a whole number of bytes or a quantity",
    );
    check("state: { cacheBytesMax: 1000 }", "'1000' is out of range; write 1Mi to 64Gi");
    check("links: { compression: zstd }", "links.compression: 'zstd' is none of its words: use lz4 or none");
    check("links: { rungs: [] }", "links.rungs: it is empty: name what links may stand on");
    check("links: { rungs: [stream, stream] }", "'stream' stands there twice");
    check("links: { rungs: [udp] }", "'udp' is none of its words: use some of stream, exchange, rest");
    check("links: { rungs: rest }", "a list of words is wanted");
    check("proxy: { url: 'ftp://p:1' }", "write http://host:port");
    check("proxy: { except: [10.0.0.0/99] }", "'10.0.0.0/99' is no block of addresses");
    check("proxy: { except: [7] }", "7 is a number, and a text is wanted (in quotes)");
    check("proxy: { credentialsDirectory: '' }", "'' is not a path");
    check("links: { climbAfter: 500ms }", "'500ms' is out of range; write 1s to 1h");
    check("links: { compression: off }", "put it in quotes");
    check("limits: { bodyBytesMax: 1Gi }", "'1Gi' is out of range; write 1Ki to 256Mi");
    check("limits: { linksMax: 0 }", "limits.linksMax: 0 is out of range; write 1 to 65536");
    check("limits: { linksMax: 99999999999 }", "is out of range");
    check("limits: { linksMax: 1.5 }", "1.5 is not a whole number; write 1 to 65536");
    check("retention: { age: 1s }", "'1s' is out of range; write 1m to 3650d, or none");
    check("retention: { age: never }", "'never' is not a duration");
    check("retention: { bytes: 1000 }", "'1000' is out of range; write 1Mi to 1Pi, or none");
    check("limits: { submissionsMax: '8' }", "'8' is not a whole number");
    check("log: { level: loud }", "'loud' is not a log level: use error, warn, info");
    check("log: { level: 'info,store=loud' }", "is not a log level");
    check("log: { format: xml }", "log.format: 'xml' is none of its words: use text or json");
    check("shutdown: { deadline: 0s }", "'0s' is out of range; write 1s to 10m");
}

#[test]
fn a_wrong_name_is_refused_with_what_a_name_is() {
    #[track_caller]
    fn check(yaml: &str, wanted: &str) {
        let error = refused(yaml, Mode::Run);
        assert!(error.contains(wanted), "\n{error}\nwanted: {wanted}");
    }
    check("trustDomain: a\n", "networkId: it is missing; set it, or SORCHA_NETWORK_ID");
    check("networkId: a\n", "trustDomain: it is missing; set it, or SORCHA_TRUST_DOMAIN");
    check("networkId: Net\ntrustDomain: a\n", "networkId: 'Net' is not a network id: use a DNS label");
    check(&format!("networkId: {}\ntrustDomain: a\n", "n".repeat(64)), "1-63 characters");
    check(
        "networkId: 12\ntrustDomain: a\n",
        "networkId: 12 is a number, and a text is wanted: put it in quotes",
    );
    check("networkId: n\ntrustDomain: 'a/b'\n", "trustDomain: 'a/b' is not a trust domain");
    check("networkId: n\ntrustDomain: a\nname: Alice\n", "name: 'Alice' is not a peer name");
}

#[test]
fn all_problems_are_found_at_once_in_the_order_of_the_file() {
    let yaml = "networkId: Net\nlisten:\n  peer: '0.0.0.0:99999'\n  admin: here\nlimits:\n  linksMax: 0\nlog:\n  levle: info\n";
    let error = refused(yaml, Mode::Check);
    let keys: Vec<_> = error.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        ["networkId", "listen.peer", "listen.admin", "limits.linksMax", "log.levle", "trustDomain"]
    );
    let lines: Vec<_> =
        error.lines().filter_map(|line| line.split_once(" (line ")).map(|(_, at)| at).collect();
    assert_eq!(lines, ["1)", "3)", "4)", "6)", "8)"]);
}

#[test]
fn an_unknown_key_warns_a_running_peer_and_fails_a_check() {
    #[track_caller]
    fn check(line: &str, wanted: &str) {
        let yaml = format!("{LEAST}{line}\n");
        let loaded = load(&yaml, &surroundings(&[]), Mode::Run).unwrap();
        assert_eq!(loaded.warnings.len(), 1);
        let error = refused(&yaml, Mode::Check);
        assert_eq!(error, loaded.warnings[0].to_string());
        assert!(error.contains(wanted), "{error}");
    }
    check("sites: x", "sites: this key is not known; did you mean site? (line 4)");
    check("listen: { pear: x }", "listen.pear: this key is not known; did you mean listen.peer?");
    check("discovery: { heartbeat: 5s }", "did you mean discovery.heartbeatInterval?");
    check("linksMax: 5", "did you mean limits.linksMax?");
    check("limit: { linksMax: 5 }", "did you mean limits?");
    check("quorum: 5", "this key is not known; `sorcha-peer config reference` lists all keys");
}

#[test]
fn the_environment_overrides_the_file() {
    let yaml = format!("{LEAST}site: file\nadvertise: ['a:1']\n");
    let variables = [
        ("SORCHA_SITE", "env"),
        ("SORCHA_NAME", "carol"),
        ("SORCHA_LISTEN_PEER", "127.0.0.1:0"),
        ("SORCHA_ADVERTISE", "b:2, c:3"),
        ("SORCHA_LIMITS_LINKS_MAX", "5"),
        ("SORCHA_DISCOVERY_REFRESH_INTERVAL", "20s"),
        ("SORCHA_PEER_SERVICE_HOST", "10.0.0.1"),
        ("SITE", "other"),
    ];
    let loaded = load(&yaml, &surroundings(&variables), Mode::Check).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!((config.site.as_str(), config.name.as_str()), ("env", "carol"));
    assert_eq!(config.advertise, ["b:2", "c:3"]);
    assert_eq!((config.links_max, config.refresh_interval), (5, Duration::from_secs(20)));

    let wrong = surroundings(&[("SORCHA_LIMITS_LINKS_MAX", "many"), ("SORCHA_LIMITS_LINK_MAX", "5")]);
    let error = load(LEAST, &wrong, Mode::Run).unwrap_err().to_string();
    assert_eq!(
        error,
        "limits.linksMax: 'many' is not a whole number; write 1 to 65536 (from the environment's SORCHA_LIMITS_LINKS_MAX)"
    );
    let slip = surroundings(&[("SORCHA_LIMITS_LINK_MAX", "5")]);
    let warnings = load(LEAST, &slip, Mode::Run).unwrap().warnings;
    assert!(warnings[0].to_string().ends_with("did you mean SORCHA_LIMITS_LINKS_MAX?"), "{}", warnings[0]);
}

#[test]
fn the_host_name_stands_in_for_a_name() {
    let yaml = "networkId: net\ntrustDomain: example.org\n";
    let with = |host: Option<&str>| {
        load(yaml, &Surroundings { environment: BTreeMap::new(), host_name: host.map(Into::into) }, Mode::Run)
    };
    assert_eq!(with(Some("Host-7.example")).unwrap().config.name, "host-7.example");
    let error = with(Some("host_7")).unwrap_err().to_string();
    assert!(
        error.contains("the host name 'host_7' cannot stand in for it: set name, or SORCHA_NAME"),
        "{error}"
    );
    assert!(with(None).is_err());
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    #[track_caller]
    fn check(yaml: &str, wanted: &str) {
        let error = refused(yaml, Mode::Run);
        assert!(error.contains(wanted), "{error}");
    }
    check("networkId: [", "the file is not YAML");
    check("networkId: a\nnetworkId: b\n", "the file is not YAML");
    check("networkId: a\n  - b: c\n d", "(line ");
    check("just words", "the file is a text, and a map of keys");
    check("- a\n- b\n", "the file is a list, and a map of keys");
    check("", "networkId: it is missing");
    check("# nothing\n", "networkId: it is missing");
    check(&"#".repeat(1024 * 1024 + 1), "at most 1048576 are read");
}

#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, reference_markdown()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference_markdown(), "docs/configuration.md is not current: run `cargo xtask generate`");
}
