//! The validated configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::fields::{FIELDS, Field, Given, GivenByKey, ITEMS_MAX, Kind, NONE};
use crate::problem::{Origin, Problem, Problems};
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

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Builds the configuration; `None` where a value is missing or wrong, and then there are problems.
pub(crate) fn build(given: &GivenByKey, host_name: Option<&str>, problems: &mut Problems) -> Option<Config> {
    let mut reader = Reader { given, problems };
    if reader.is_of_a_newer_version() {
        return None;
    }
    let version = reader.integer("configVersion");
    let name = reader.name(host_name);
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

/// A value that was checked against its kind.
enum Checked {
    Integer(i64),
    Duration(Duration),
    Bytes(u64),
    Socket(SocketAddr),
    Api(ApiAddress),
    List(Vec<String>),
    Text(String),
    None,
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

    fn refuse(&mut self, key: &str, message: String) {
        let origin = self.given.get(key).map_or(Origin::Nowhere, |given| given.origin.clone());
        self.problems.push(Problem::new(key, origin, message));
    }
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
        Kind::Destinations => Value::List(Vec::new()),
        Kind::Words => Value::Text(String::new()),
        _ => Value::Text(field.default.to_owned()),
    }
}

/// Checks a value against its kind; the error is a sentence without the key.
fn check(kind: Kind, value: &Value) -> Result<Checked, String> {
    if let Kind::Destinations = kind {
        let Value::List(items) = value else {
            return Err(format!("{value} is {}, and a list of host:port is wanted", value.kind()));
        };
        if items.len() > ITEMS_MAX {
            return Err(format!("it lists {} addresses; at most {ITEMS_MAX} are taken", items.len()));
        }
        return items.iter().map(destination).collect::<Result<_, _>>().map(Checked::List);
    }
    if let Kind::Integer { min, max } = kind {
        let Value::Integer(number) = value else {
            return Err(format!("{value} is not a whole number; write {min} to {max}"));
        };
        let in_range = i64::try_from(*number).ok().filter(|number| (min..=max).contains(number));
        return in_range
            .map(Checked::Integer)
            .ok_or(format!("{number} is out of range; write {min} to {max}"));
    }
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number)
            if matches!(
                kind,
                Kind::Bytes { .. }
                    | Kind::Duration { .. }
                    | Kind::BytesOrNone { .. }
                    | Kind::DurationOrNone { .. }
            ) =>
        {
            number.to_string()
        }
        Value::Bool(value) if matches!(kind, Kind::Choice(words) if words.contains(&"true")) => {
            value.to_string()
        }
        // What stood there is not known any more: YAML 1.1 has many words for these two.
        Value::Bool(value) => {
            let words = if *value { "true, yes, on, y" } else { "false, no, off, n" };
            return Err(format!(
                "a text is wanted, and YAML reads the word here ({words}) as {value}: put it in quotes"
            ));
        }
        Value::Integer(_) | Value::Float(_) => {
            return Err(format!("{value} is {}, and a text is wanted: put it in quotes", value.kind()));
        }
        _ => return Err(format!("{} stands where a text is wanted", value.kind())),
    };
    check_text(kind, text)
}

fn check_text(kind: Kind, text: String) -> Result<Checked, String> {
    let shown: String = text.chars().take(300).collect();
    let is_name = |max: usize, more: &[u8]| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte);
        let firm = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        text.len() <= max
            && text.bytes().all(allowed)
            && firm(text.bytes().next())
            && firm(text.bytes().last())
    };
    let may_be_none = matches!(kind, Kind::DurationOrNone { .. } | Kind::BytesOrNone { .. });
    let or_none = if may_be_none { ", or none" } else { "" };
    let ends = "beginning and ending with a letter or digit";
    match kind {
        Kind::DurationOrNone { .. } | Kind::BytesOrNone { .. } if text == NONE => Ok(Checked::None),
        Kind::Duration { min, max } | Kind::DurationOrNone { min, max } => {
            let value =
                units::duration(&text).map_err(|error| format!("'{shown}' is not a duration: {error}"))?;
            let (low, high) = (units::duration_text(min), units::duration_text(max));
            let in_range = (min..=max).contains(&value).then_some(Checked::Duration(value));
            in_range.ok_or(format!("'{shown}' is out of range; write {low} to {high}{or_none}"))
        }
        Kind::Bytes { min, max } | Kind::BytesOrNone { min, max } => {
            let value =
                units::quantity(&text).map_err(|error| format!("'{shown}' is not a size: {error}"))?;
            let (low, high) = (units::quantity_text(min), units::quantity_text(max));
            let in_range = (min..=max).contains(&value).then_some(Checked::Bytes(value));
            in_range.ok_or(format!("'{shown}' is out of range; write {low} to {high}{or_none}"))
        }
        Kind::Socket => socket(&text).map(Checked::Socket),
        Kind::LocalSocket => local_socket(&text).map(Checked::Api),
        Kind::Label if is_name(63, b"-") => Ok(Checked::Text(text)),
        Kind::Label => Err(format!(
            "'{shown}' is not a network id: use a DNS label, 1-63 characters of a-z 0-9 -, {ends}"
        )),
        Kind::PeerName if is_name(253, b"-.") => Ok(Checked::Text(text)),
        Kind::PeerName => {
            Err(format!("'{shown}' is not a peer name: use 1-253 characters of a-z 0-9 - ., {ends}"))
        }
        Kind::TrustDomain => {
            let allowed =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
            let good = (1..=255).contains(&text.len()) && text.bytes().all(allowed);
            good.then_some(Checked::Text(text)).ok_or(format!(
                "'{shown}' is not a trust domain: use 1-255 characters of a-z 0-9 - . _, such as example.org"
            ))
        }
        Kind::Words if text.chars().count() <= 63 && !text.chars().any(char::is_control) => {
            Ok(Checked::Text(text))
        }
        Kind::Words => {
            Err(format!("'{shown}' is too long or holds control characters: use at most 63 characters"))
        }
        Kind::Path if !text.is_empty() && !text.contains('\0') && text.len() <= 4096 => {
            Ok(Checked::Text(text))
        }
        Kind::Path => Err(format!("'{shown}' is not a path")),
        Kind::Level if is_level(&text) => Ok(Checked::Text(text)),
        Kind::Level => Err(format!(
            "'{shown}' is not a log level: use error, warn, info, debug or trace, or a filter such as info,sorcha_peer::store=debug"
        )),
        Kind::Choice(words) if words.contains(&text.as_str()) => Ok(Checked::Text(text)),
        Kind::Choice(words) => Err(format!("'{shown}' is none of its words: use {}", words.join(" or "))),
        Kind::Integer { .. } | Kind::Destinations => unreachable!("checked before as no text"),
    }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let shown: String = text.chars().take(300).collect();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let why = match text.rsplit_once(':') {
        None => "the port is missing; write address:port, such as 0.0.0.0:7450",
        Some((host, port)) if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() => {
            if host.contains(':') && !host.starts_with('[') {
                "an IPv6 address stands in brackets, such as [::]:7450"
            } else if port.parse::<u16>().is_ok() {
                "only an IPv6 address stands in brackets"
            } else {
                "the port must be 1-65535, or 0 for any free one"
            }
        }
        Some(_) => {
            "an IP address of this machine is wanted, such as 0.0.0.0:7450 (names are not resolved here)"
        }
    };
    Err(format!("'{shown}' is not an address: {why}"))
}

fn local_socket(text: &str) -> Result<ApiAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        // sun_path of unix(7) holds 108 bytes with its zero.
        return if path.starts_with('/') && path.len() <= 107 && !path.contains('\0') {
            Ok(ApiAddress::Unix(path.into()))
        } else {
            let shown: String = text.chars().take(300).collect();
            Err(format!(
                "'{shown}' is not a Unix socket: write unix:/ and an absolute path of at most 107 bytes"
            ))
        };
    }
    let address = socket(text)?;
    if address.ip().is_loopback() {
        return Ok(ApiAddress::Tcp(address));
    }
    Err(format!(
        "'{text}' would open the local API, which has no authentication, to others: use 127.0.0.1:{}, or unix:/path",
        address.port()
    ))
}

/// `host:port` with a port other than 0; the host is a name or an IP address (IPv6 in brackets).
fn destination(value: &Value) -> Result<String, String> {
    let Value::Text(text) = value else {
        return Err(format!("{value} is {}, and host:port is wanted (in quotes)", value.kind()));
    };
    let shown: String = text.chars().take(300).collect();
    let refused = |why: &str| Err(format!("'{shown}' is not host:port: {why}"));
    let Some((host, port)) = text.rsplit_once(':') else { return refused("the port is missing") };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().unwrap_or(0) == 0 {
        return refused("the port must be 1-65535");
    }
    if let Some(inner) = host.strip_prefix('[') {
        let inside = inner.strip_suffix(']').unwrap_or_default();
        let good = inside.parse::<std::net::Ipv6Addr>().is_ok();
        return if good { Ok(text.clone()) } else { refused("brackets hold an IPv6 address") };
    }
    if host.contains(':') {
        return refused("an IPv6 address stands in brackets, such as [2001:db8::1]:7450");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || name.len() > 253 || !name.split('.').all(label) {
        return refused("the host must be a DNS name or an IP address");
    }
    Ok(text.clone())
}

/// `level` or `target=level`, separated by commas.
fn is_level(text: &str) -> bool {
    let level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let target = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
    };
    text.len() <= 1024
        && text.split(',').all(|directive| match directive.split_once('=') {
            Some((name, word)) => target(name) && level(word),
            None => level(directive),
        })
}
