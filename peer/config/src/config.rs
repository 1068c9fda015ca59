//! The validated configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Surroundings;
use crate::check::{Checked, check};
use crate::fields::{FIELDS, Field, Given, GivenByKey, Kind};
use crate::problem::{Origin, Problem, Problems};
use crate::proxy::{self, Choice, Credentials, Except, Proxy};
use crate::tree::Value;
use crate::units;

/// What a peer runs with; every value is in its range. The meanings are in the reference, by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `networkId`.
    pub network_id: String,
    /// `trustDomain`.
    pub trust_domain: String,
    /// `name`.
    pub name: String,
    /// `site`; may be empty.
    pub site: String,
    /// `listen.peer`.
    pub listen_peer: SocketAddr,
    /// `listen.api`.
    pub listen_api: ApiAddress,
    /// `listen.admin`.
    pub listen_admin: SocketAddr,
    /// `advertise`, each `host:port`.
    pub advertise: Vec<String>,
    /// `bootstrap.addresses`, each `host:port`.
    pub bootstrap: Vec<String>,
    /// `discovery.refreshInterval`.
    pub refresh_interval: Duration,
    /// `discovery.heartbeatInterval`.
    pub heartbeat_interval: Duration,
    /// `discovery.forgetAfter`.
    pub forget_after: Duration,
    /// `tls.directory`.
    pub tls_directory: PathBuf,
    /// `state.directory`.
    pub state_directory: PathBuf,
    /// `state.durable`.
    pub durable: bool,
    /// `state.cacheBytesMax`.
    pub cache_bytes_max: u64,
    /// `retention.age`.
    pub retention_age: Option<Duration>,
    /// `retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// `links.compression`.
    pub compression: Compression,
    /// `links.climbAfter`.
    pub climb_after: Duration,
    /// `links.rungs`, best first, one at least.
    pub rungs: Vec<Rung>,
    /// `proxy`, and what the environment says.
    pub proxy: Option<Proxy>,
    /// `limits.bodyBytesMax`.
    pub body_bytes_max: u64,
    /// `limits.submitBytesMax`.
    pub submit_bytes_max: u64,
    /// `limits.linksMax`.
    pub links_max: usize,
    /// `limits.submissionsMax`.
    pub submissions_max: usize,
    /// `log.level`.
    pub log_level: String,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `shutdown.deadline`.
    pub shutdown_deadline: Duration,
}

impl Config {
    /// The SPIFFE URI that the peer's certificate must carry.
    pub fn uri(&self) -> String {
        format!("spiffe://{}/{}/{}", self.trust_domain, self.network_id, self.name)
    }
}

/// Where the local API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiAddress {
    /// On loopback.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How bodies travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Packed by LZ4, where that pays and the other side reads it.
    Lz4,
    /// As they are.
    None,
}

/// What a link stands on, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// `stream`.
    Stream,
    /// `exchange`.
    Exchange,
    /// `rest`.
    Rest,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Builds the configuration; `None` where a value is missing or wrong, and then there are problems.
pub(crate) fn build(
    given: &GivenByKey,
    surroundings: &Surroundings,
    problems: &mut Problems,
) -> Option<Config> {
    let mut reader = Reader { given, problems };
    if reader.is_of_a_newer_version() {
        return None;
    }
    let version = reader.integer("configVersion");
    let name = reader.name(surroundings.host_name.as_deref());
    // Every value is read before the first missing one ends it, so that all problems are found.
    let (network_id, trust_domain, site) =
        (reader.text("networkId"), reader.text("trustDomain"), reader.text("site"));
    let (listen_peer, listen_api, listen_admin) =
        (reader.socket("listen.peer"), reader.api("listen.api"), reader.socket("listen.admin"));
    let (advertise, bootstrap) = (reader.list("advertise"), reader.list("bootstrap.addresses"));
    let refresh_interval = reader.duration("discovery.refreshInterval");
    let heartbeat_interval = reader.duration("discovery.heartbeatInterval");
    let forget_after = reader.duration("discovery.forgetAfter");
    let (tls_directory, state_directory) = (reader.text("tls.directory"), reader.text("state.directory"));
    let (cache_bytes_max, body_bytes_max) =
        (reader.bytes("state.cacheBytesMax"), reader.bytes("limits.bodyBytesMax"));
    let (retention_age, retention_bytes) =
        (reader.duration_or_none("retention.age"), reader.bytes_or_none("retention.bytes"));
    let (durable, submit_bytes_max) = (reader.text("state.durable"), reader.bytes("limits.submitBytesMax"));
    let (compression, climb_after) = (reader.text("links.compression"), reader.duration("links.climbAfter"));
    let (rungs, proxy) = (reader.rungs(), reader.proxy(&surroundings.environment));
    let (links_max, submissions_max) =
        (reader.integer("limits.linksMax"), reader.integer("limits.submissionsMax"));
    let (log_level, log_format) = (reader.text("log.level"), reader.text("log.format"));
    let shutdown_deadline = reader.duration("shutdown.deadline");
    version?;
    let config = Config {
        network_id: network_id?,
        trust_domain: trust_domain?,
        name: name?,
        site: site?,
        listen_peer: listen_peer?,
        listen_api: listen_api?,
        listen_admin: listen_admin?,
        advertise: advertise?,
        bootstrap: bootstrap?,
        refresh_interval: refresh_interval?,
        heartbeat_interval: heartbeat_interval?,
        forget_after: forget_after?,
        tls_directory: tls_directory?.into(),
        state_directory: state_directory?.into(),
        cache_bytes_max: cache_bytes_max?,
        retention_age: retention_age.ok()?,
        retention_bytes: retention_bytes.ok()?,
        compression: if compression? == "none" { Compression::None } else { Compression::Lz4 },
        climb_after: climb_after?,
        rungs: rungs?,
        proxy: proxy.ok()?,
        body_bytes_max: body_bytes_max?,
        durable: durable? == "true",
        submit_bytes_max: submit_bytes_max?,
        links_max: usize::try_from(links_max?).ok()?,
        submissions_max: usize::try_from(submissions_max?).ok()?,
        log_level: log_level?,
        log_format: if log_format? == "json" { LogFormat::Json } else { LogFormat::Text },
        shutdown_deadline: shutdown_deadline?,
    };
    reader.check_across(&config).then_some(config)
}

/// A value is missing or wrong; the problem is noted.
struct Refused;

struct Reader<'a> {
    given: &'a GivenByKey,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn is_of_a_newer_version(&mut self) -> bool {
        let Some(Given { value: Value::Integer(version), origin }) = self.given.get("configVersion") else {
            return false;
        };
        let newer = *version > i128::from(crate::CONFIG_VERSION);
        if newer {
            let message = format!(
                "{version} is newer than this program reads (up to {}): update sorcha-peer, or write the file for version {}",
                crate::CONFIG_VERSION,
                crate::CONFIG_VERSION
            );
            self.problems.push(Problem::new("configVersion", origin.clone(), message));
        }
        newer
    }

    fn name(&mut self, host_name: Option<&str>) -> Option<String> {
        if self.given.contains_key("name") {
            return self.text("name");
        }
        let host_name = host_name.unwrap_or_default().to_ascii_lowercase();
        if check(Kind::PeerName, &Value::Text(host_name.clone())).is_ok() {
            return Some(host_name);
        }
        let message = format!(
            "it is not set, and the host name '{host_name}' cannot stand in for it: set name, or SORCHA_NAME"
        );
        self.problems.push(Problem::new("name", Origin::Nowhere, message));
        None
    }

    fn read(&mut self, key: &str) -> Option<Checked> {
        let field = field_of(key);
        let checked = match self.given.get(key) {
            Some(given) => check(field.kind, &given.value)
                .map_err(|message| Problem::new(key, given.origin.clone(), message)),
            None => check(field.kind, &default_of(field)).map_err(|_| {
                Problem::new(key, Origin::Nowhere, format!("it is missing; set it, or {}", field.variable()))
            }),
        };
        checked.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn integer(&mut self, key: &str) -> Option<i64> {
        match self.read(key)? {
            Checked::Integer(value) => Some(value),
            _ => unreachable!("{key} is an integer in the table"),
        }
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        match self.read(key)? {
            Checked::Duration(value) => Some(value),
            _ => unreachable!("{key} is a duration in the table"),
        }
    }

    fn bytes(&mut self, key: &str) -> Option<u64> {
        match self.read(key)? {
            Checked::Bytes(value) => Some(value),
            _ => unreachable!("{key} is a quantity in the table"),
        }
    }

    fn duration_or_none(&mut self, key: &str) -> Result<Option<Duration>, Refused> {
        match self.read(key).ok_or(Refused)? {
            Checked::Duration(value) => Ok(Some(value)),
            Checked::None => Ok(None),
            _ => unreachable!("{key} is a duration or none in the table"),
        }
    }

    fn bytes_or_none(&mut self, key: &str) -> Result<Option<u64>, Refused> {
        match self.read(key).ok_or(Refused)? {
            Checked::Bytes(value) => Ok(Some(value)),
            Checked::None => Ok(None),
            _ => unreachable!("{key} is a quantity or none in the table"),
        }
    }

    fn path_or_none(&mut self, key: &str) -> Result<Option<PathBuf>, Refused> {
        match self.read(key).ok_or(Refused)? {
            Checked::Text(value) => Ok(Some(value.into())),
            Checked::None => Ok(None),
            _ => unreachable!("{key} is a path or none in the table"),
        }
    }

    fn hosts(&mut self, key: &str) -> Option<Vec<Except>> {
        match self.read(key)? {
            Checked::Hosts(value) => Some(value),
            _ => unreachable!("{key} is a list of hosts in the table"),
        }
    }

    fn proxy_choice(&mut self, key: &str) -> Option<Choice> {
        match self.read(key)? {
            Checked::Proxy(value) => Some(value),
            _ => unreachable!("{key} is a proxy in the table"),
        }
    }

    fn socket(&mut self, key: &str) -> Option<SocketAddr> {
        match self.read(key)? {
            Checked::Socket(value) => Some(value),
            _ => unreachable!("{key} is a socket address in the table"),
        }
    }

    fn api(&mut self, key: &str) -> Option<ApiAddress> {
        match self.read(key)? {
            Checked::Api(value) => Some(value),
            _ => unreachable!("{key} is a local socket in the table"),
        }
    }

    fn list(&mut self, key: &str) -> Option<Vec<String>> {
        match self.read(key)? {
            Checked::List(value) => Some(value),
            _ => unreachable!("{key} is a list in the table"),
        }
    }

    fn rungs(&mut self) -> Option<Vec<Rung>> {
        let words = self.list("links.rungs")?;
        if words.is_empty() {
            self.refuse("links.rungs", "it is empty: name what links may stand on, or leave it out".into());
            return None;
        }
        let rung = |word: &String| match word.as_str() {
            "stream" => Rung::Stream,
            "exchange" => Rung::Exchange,
            _ => Rung::Rest,
        };
        let mut rungs: Vec<Rung> = words.iter().map(rung).collect();
        rungs.sort_unstable();
        Some(rungs)
    }

    fn proxy(&mut self, environment: &BTreeMap<String, String>) -> Result<Option<Proxy>, Refused> {
        let (choice, except) = (self.proxy_choice("proxy.url"), self.hosts("proxy.except"));
        let directory = self.path_or_none("proxy.credentialsDirectory");
        let (choice, mut except, directory) = (choice.ok_or(Refused)?, except.ok_or(Refused)?, directory?);
        let (address, given, origin) = match choice {
            Choice::None => return Ok(None),
            Choice::At(address) => (address, Credentials::None, self.origin("proxy.url")),
            Choice::Environment => {
                let Some((name, text)) = first_of(environment, proxy::HTTPS_VARIABLES) else {
                    return Ok(None);
                };
                let (address, given) = self.of_environment(name, proxy::parse_url(text))?;
                if let Some((name, list)) = first_of(environment, proxy::EXCEPT_VARIABLES) {
                    for item in list.split([',', ' ']).filter(|item| !item.is_empty()) {
                        except.push(self.of_environment(name, Except::parse(item))?);
                    }
                }
                (address, given, Origin::Environment(name.to_owned()))
            }
        };
        let credentials = directory.map_or(given, Credentials::Directory);
        Ok(Some(Proxy { address, credentials, except, origin }))
    }

    fn of_environment<T>(&mut self, name: &str, read: Result<T, String>) -> Result<T, Refused> {
        read.map_err(|message| {
            let message =
                format!("{message}. To dial without a proxy whatever the environment says, set it to none");
            self.problems.push(Problem::new("proxy.url", Origin::Environment(name.to_owned()), message));
            Refused
        })
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.read(key)? {
            Checked::Text(value) => Some(value),
            _ => unreachable!("{key} is a text in the table"),
        }
    }

    /// Rules between keys; false where one is broken.
    fn check_across(&mut self, config: &Config) -> bool {
        let before = self.problems.len();
        if config.forget_after < config.heartbeat_interval * 2 {
            self.refuse(
                "discovery.forgetAfter",
                format!(
                    "{} is less than twice discovery.heartbeatInterval ({}): a peer would be forgotten before it can answer",
                    units::duration_text(config.forget_after),
                    units::duration_text(config.heartbeat_interval)
                ),
            );
        }
        let mut taken = vec![("listen.peer", config.listen_peer)];
        if let ApiAddress::Tcp(api) = config.listen_api {
            taken.push(("listen.api", api));
        }
        taken.push(("listen.admin", config.listen_admin));
        for (index, (key, address)) in taken.iter().enumerate() {
            let clash = taken[..index].iter().find(|(_, other)| collide(*address, *other));
            if let Some((other, _)) = clash {
                self.refuse(key, format!("'{address}' is taken by {other} already: give each its own port"));
            }
        }
        self.problems.len() == before
    }

    fn origin(&self, key: &str) -> Origin {
        self.given.get(key).map_or(Origin::Nowhere, |given| given.origin.clone())
    }

    fn refuse(&mut self, key: &str, message: String) {
        let origin = self.origin(key);
        self.problems.push(Problem::new(key, origin, message));
    }
}

/// The first of two variables that says something.
fn first_of<'a>(
    environment: &'a BTreeMap<String, String>,
    names: [&'static str; 2],
) -> Option<(&'static str, &'a str)> {
    let text = |name| environment.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    names.into_iter().find_map(|name| Some((name, text(name)?)))
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_address
}

fn field_of(key: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.key == key).expect("every key that is read is in the table")
}

fn default_of(field: &Field) -> Value {
    match field.kind {
        Kind::Integer { .. } => field.default.parse().map_or(Value::Null, Value::Integer),
        Kind::Destinations | Kind::Hosts => Value::List(Vec::new()),
        Kind::Choices(words) => {
            Value::List(words.iter().map(|word| Value::Text((*word).to_owned())).collect())
        }
        Kind::Words => Value::Text(String::new()),
        _ => Value::Text(field.default.to_owned()),
    }
}
