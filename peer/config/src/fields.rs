//! The table of all keys: the one place that knows their kinds, defaults, ranges and meanings.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::problem::{Origin, Problem, Problems};
use crate::suggest::{distance, nearest};
use crate::tree::{Entry, Value};

/// One key of the file.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Path, such as `listen.peer`.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What stands where it is left out, as it would be written; [`REQUIRED`] where nothing does.
    pub default: &'static str,
    /// For the reference, in a sentence.
    pub meaning: &'static str,
}

/// A default that does not exist.
pub const REQUIRED: &str = "(required)";
/// What stands for a bound that there is none.
pub const NONE: &str = "none";
/// What stands for what the environment says.
pub const ENVIRONMENT: &str = "environment";
/// Items of a list at most.
pub const ITEMS_MAX: usize = 256;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number, both ends included.
    Integer {
        /// Lowest.
        min: i64,
        /// Highest.
        max: i64,
    },
    /// A duration, both ends included.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A quantity of bytes, both ends included.
    Bytes {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A duration as above, or [`NONE`].
    DurationOrNone {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A quantity of bytes as above, or [`NONE`].
    BytesOrNone {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// `address:port` to listen on.
    Socket,
    /// A loopback `address:port`, or `unix:/path`.
    LocalSocket,
    /// A list of `host:port`.
    Destinations,
    /// A list of hosts: names, domains, addresses, blocks of addresses.
    Hosts,
    /// A list of some of these words, each once at most.
    Choices(&'static [&'static str]),
    /// `http://host:port` of a proxy, [`ENVIRONMENT`] or [`NONE`].
    Proxy,
    /// A DNS label.
    Label,
    /// A SPIFFE trust domain.
    TrustDomain,
    /// A peer's name.
    PeerName,
    /// Words for people.
    Words,
    /// A path of the file system.
    Path,
    /// A path as above, or [`NONE`].
    PathOrNone,
    /// A log filter.
    Level,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Whether it takes a list.
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Destinations | Self::Hosts | Self::Choices(_))
    }
}

const RUNGS: &[&str] = &["stream", "exchange", "rest"];
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

const fn field(key: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Field {
    Field { key, kind, default, meaning }
}

/// All keys, in the order of the reference. Defaults without another source are guesses, to be measured.
pub const FIELDS: &[Field] = &[
    field(
        "configVersion",
        Kind::Integer { min: 1, max: crate::CONFIG_VERSION },
        "1",
        "Version of the file's format.",
    ),
    field("networkId", Kind::Label, REQUIRED, "The network that the peer belongs to."),
    field("trustDomain", Kind::TrustDomain, REQUIRED, "Trust domain of the peer's own CA."),
    field(
        "name",
        Kind::PeerName,
        "(the host name)",
        "The peer's name, last part of its URI `spiffe://<trustDomain>/<networkId>/<name>`; its certificate must carry exactly that.",
    ),
    field("site", Kind::Words, "''", "A word for where the peer is, shown to others."),
    field(
        "listen.peer",
        Kind::Socket,
        "0.0.0.0:7450",
        "TLS port for other peers. Port 0 takes any free one.",
    ),
    field(
        "listen.api",
        Kind::LocalSocket,
        "127.0.0.1:7451",
        "Local API (gRPC and REST). It has no authentication, so it listens on loopback or on a Unix socket only.",
    ),
    field(
        "listen.admin",
        Kind::Socket,
        "127.0.0.1:7452",
        "Metrics and health. In a pod, where others scrape it, `0.0.0.0:7452`.",
    ),
    field(
        "advertise",
        Kind::Destinations,
        "[]",
        "Addresses told to other peers, best first. None: the listening address where that is a specific one.",
    ),
    field(
        "bootstrap.addresses",
        Kind::Destinations,
        "[]",
        "Peers to begin with, resolved again at every attempt. The own address among them is recognised and skipped. A link that the grid does not ask for ends once the peer has those that it asks for, so the few peers named here need no room for links to all.",
    ),
    field(
        "discovery.refreshInterval",
        Kind::Duration { min: SECOND, max: DAY },
        "15m",
        "How often records are exchanged with a random peer, at least: within seconds while that brings something.",
    ),
    field(
        "discovery.heartbeatInterval",
        Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(600) },
        "5s",
        "A linked peer that says nothing for this long is pinged.",
    ),
    field(
        "discovery.forgetAfter",
        Kind::Duration { min: SECOND, max: DAY },
        "1m",
        "A member that nobody could reach for this long is forgotten; at least twice `discovery.heartbeatInterval`.",
    ),
    field(
        "tls.directory",
        Kind::Path,
        "/run/sorcha/tls",
        "Holds `tls.crt` and `tls.key` (the peer's certificate and key), or where neither is there `<name>.crt` and `<name>.key`, and `ca.crt` (the roots it trusts), PEM. Looked at every 5 s while the peer runs.",
    ),
    field("state.directory", Kind::Path, "/var/lib/sorcha", "Holds the store."),
    field(
        "state.durable",
        Kind::Choice(&["true", "false"]),
        "true",
        "`false` where the directory does not outlive the machine (a tmpfs, an emptyDir): submissions then always ask for other holders, and this peer is no holder to others.",
    ),
    field(
        "state.cacheBytesMax",
        Kind::Bytes { min: 1 << 20, max: 64 << 30 },
        "32Mi",
        "Memory for the store's page cache at most.",
    ),
    field(
        "retention.age",
        Kind::DurationOrNone { min: Duration::from_secs(60), max: Duration::from_secs(3650 * 86_400) },
        NONE,
        "Transactions published longer ago are removed, and not taken from others any more. `none`: never for their age.",
    ),
    field(
        "retention.bytes",
        Kind::BytesOrNone { min: 1 << 20, max: 1 << 50 },
        NONE,
        "While the transactions take more in the store, indices included, the oldest is removed. What no other peer is known to hold stays, whatever both settings say. `none`: never for their size.",
    ),
    field(
        "links.compression",
        Kind::Choice(&["lz4", "none"]),
        "lz4",
        "How bodies of 1,000 bytes and more travel to peers that say the same, where it saves a tenth of them at least. `none`: as they are, both ways. What is stored and read is the same in any case; lengths on the wire tell how well a body packs.",
    ),
    field(
        "links.climbAfter",
        Kind::Duration { min: SECOND, max: Duration::from_secs(3600) },
        "45s",
        "A link that stands on calls, because something on the way lets no stream pass, looks for a better rung after this long, then after twice as long each time, up to twenty times it.",
    ),
    field(
        "links.rungs",
        Kind::Choices(RUNGS),
        "[stream, exchange, rest]",
        "What links may stand on, dialled or accepted: gRPC streams, unary gRPC calls, or calls over HTTP/1.1. Without `rest` nobody is let in who shows no certificate, and no proxy or ingress that ends TLS is passed.",
    ),
    field(
        "proxy.url",
        Kind::Proxy,
        ENVIRONMENT,
        "HTTP proxy through which other peers are dialled, by CONNECT: `http://host:port`. `environment`: what HTTPS_PROXY or https_proxy says, but for those in NO_PROXY or no_proxy. `none`: they are dialled directly. This machine itself always is.",
    ),
    field(
        "proxy.except",
        Kind::Hosts,
        "[]",
        "Who is dialled without the proxy, beside what NO_PROXY says where the proxy is the environment's: `example.org` (with all below it), `.example.org` (only these), `192.0.2.7`, `10.0.0.0/8`, each with a port or without; `*` is everybody.",
    ),
    field(
        "proxy.credentialsDirectory",
        Kind::PathOrNone,
        NONE,
        "Holds `username` and `password` for the proxy, as a Secret of the type `kubernetes.io/basic-auth` is mounted. Read anew for each connection.",
    ),
    field(
        "limits.bodyBytesMax",
        Kind::Bytes { min: 1 << 10, max: 256 << 20 },
        "64Mi",
        "Longest body of a transaction that is accepted.",
    ),
    field("limits.linksMax", Kind::Integer { min: 1, max: 65_536 }, "1024", "Links to other peers at most."),
    field(
        "limits.submitBytesMax",
        Kind::Bytes { min: 1 << 20, max: 4 << 30 },
        "256Mi",
        "Bodies being submitted at a time at most, in bytes; at least `limits.bodyBytesMax` is taken. More are refused with a time to come back.",
    ),
    field(
        "limits.submissionsMax",
        Kind::Integer { min: 1, max: 1_000_000 },
        "4096",
        "Submissions under way at most; more are refused with a time to come back.",
    ),
    field(
        "log.level",
        Kind::Level,
        "info",
        "`error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,sorcha_peer::store=debug`.",
    ),
    field(
        "log.format",
        Kind::Choice(&["text", "json"]),
        "text",
        "How log lines are written to standard error.",
    ),
    field(
        "shutdown.deadline",
        Kind::Duration { min: SECOND, max: Duration::from_secs(600) },
        "10s",
        "From the signal to the end at most.",
    ),
];

impl Field {
    /// The variable of the environment that overrides it.
    pub fn variable(&self) -> String {
        let mut name = String::from("SORCHA_");
        for letter in self.key.chars() {
            match letter {
                '.' => name.push('_'),
                upper if upper.is_ascii_uppercase() => {
                    name.push('_');
                    name.push(upper);
                }
                lower => name.push(lower.to_ascii_uppercase()),
            }
        }
        name
    }
}

/// A value with its origin.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Values by key; only keys of the table.
pub(crate) type GivenByKey = BTreeMap<&'static str, Given>;

/// Sorts the entries of the file by key. Unknown keys are warnings where there is a list for them, else problems.
pub(crate) fn sort(
    entries: Vec<Entry>,
    problems: &mut Problems,
    mut warnings: Option<&mut Vec<Problem>>,
) -> GivenByKey {
    let mut given = GivenByKey::new();
    let mut pending: Vec<(String, Entry)> = entries.into_iter().map(|entry| (String::new(), entry)).collect();
    while let Some((above, entry)) = pending.pop() {
        let path = if above.is_empty() { entry.key.clone() } else { format!("{above}.{}", entry.key) };
        let origin = Origin::Line(entry.line);
        if let Some(field) = FIELDS.iter().find(|field| field.key == path) {
            if entry.value != Value::Null {
                given.insert(field.key, Given { value: entry.value, origin });
            }
        } else if is_section(&path) {
            match entry.value {
                Value::Map(entries) => pending.extend(entries.into_iter().map(|entry| (path.clone(), entry))),
                Value::Null => {}
                other => {
                    let keys = keys_of(&path).join(", ");
                    let message = format!("{other} stands where a section with the keys {keys} is wanted");
                    problems.push(Problem::new(&path, origin, message));
                }
            }
        } else {
            let path: String = path.chars().take(200).collect();
            let problem = Problem::new(&path, origin, unknown(&path));
            match &mut warnings {
                Some(warnings) => warnings.push(problem),
                None => problems.push(problem),
            }
        }
    }
    given
}

/// Lets `SORCHA_*` override the file. Lists are separated by commas. Variables that look like a slip of the
/// pen become warnings; others are left alone, for Kubernetes invents names such as `SORCHA_PEER_SERVICE_HOST`.
pub(crate) fn override_from(
    environment: &BTreeMap<String, String>,
    given: &mut GivenByKey,
    warnings: &mut Vec<Problem>,
) {
    for (variable, text) in environment.iter().filter(|(variable, _)| variable.starts_with("SORCHA_")) {
        let origin = Origin::Environment(variable.clone());
        if let Some(field) = FIELDS.iter().find(|field| field.variable() == *variable) {
            let value = match field.kind {
                kind if kind.is_list() => Value::List(
                    text.split(',')
                        .map(str::trim)
                        .filter(|item| !item.is_empty())
                        .map(|item| Value::Text(item.to_owned()))
                        .collect(),
                ),
                Kind::Integer { .. } => {
                    text.parse().map_or_else(|_| Value::Text(text.clone()), Value::Integer)
                }
                _ => Value::Text(text.clone()),
            };
            given.insert(field.key, Given { value, origin });
        } else if let Some(meant) =
            FIELDS.iter().map(Field::variable).find(|known| distance(known, variable) <= 2)
        {
            let message =
                format!("{variable} is not a variable of this peer and is ignored; did you mean {meant}?");
            warnings.push(Problem::new("", Origin::Nowhere, message));
        }
    }
}

fn is_section(path: &str) -> bool {
    FIELDS.iter().any(|field| field.key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn keys_of(section: &str) -> Vec<&'static str> {
    let below = |key: &'static str| key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'));
    FIELDS.iter().filter_map(|field| below(field.key)).collect()
}

fn unknown(path: &str) -> String {
    let sections = FIELDS.iter().filter_map(|field| field.key.split_once('.').map(|(section, _)| section));
    let candidates = FIELDS.iter().map(|field| field.key).chain(sections);
    match nearest(path, candidates) {
        Some(meant) => format!("this key is not known; did you mean {meant}?"),
        None => "this key is not known; `sorcha-peer config reference` lists all keys".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_their_keys() {
        let variable = |key: &str| FIELDS.iter().find(|field| field.key == key).unwrap().variable();
        assert_eq!(variable("name"), "SORCHA_NAME");
        assert_eq!(variable("listen.peer"), "SORCHA_LISTEN_PEER");
        assert_eq!(variable("discovery.refreshInterval"), "SORCHA_DISCOVERY_REFRESH_INTERVAL");
    }
}
