//! Values against their kinds: what is wrong with one, in a sentence.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::ApiAddress;
use crate::fields::{ITEMS_MAX, Kind, NONE};
use crate::proxy::{Choice, Except};
use crate::tree::Value;
use crate::units;

/// A value that was checked against its kind.
pub(crate) enum Checked {
    Integer(i64),
    Duration(Duration),
    Bytes(u64),
    Socket(SocketAddr),
    Api(ApiAddress),
    List(Vec<String>),
    Hosts(Vec<Except>),
    Proxy(Choice),
    Text(String),
    None,
}

/// So much of a text is shown in a sentence about it.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Checks a value against its kind; the error is a sentence without the key.
pub(crate) fn check(kind: Kind, value: &Value) -> Result<Checked, String> {
    if kind.is_list() {
        return check_list(kind, value);
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

fn check_list(kind: Kind, value: &Value) -> Result<Checked, String> {
    let (of, items_are) = match kind {
        Kind::Choices(_) => ("words", "words"),
        Kind::Hosts => ("hosts", "hosts"),
        _ => ("host:port", "addresses"),
    };
    let Value::List(items) = value else {
        return Err(format!("{value} is {}, and a list of {of} is wanted", value.kind()));
    };
    if items.len() > ITEMS_MAX {
        return Err(format!("it lists {} {items_are}; at most {ITEMS_MAX} are taken", items.len()));
    }
    let mut items = items.iter();
    match kind {
        Kind::Choices(words) => items
            .try_fold(Vec::new(), |mut before, item| {
                let word = choice(words, text_of(item, "a text")?)?;
                if before.contains(&word) {
                    return Err(format!("'{word}' stands there twice"));
                }
                before.push(word);
                Ok(before)
            })
            .map(Checked::List),
        Kind::Hosts => {
            let hosts = items.map(|item| Except::parse(text_of(item, "a text")?));
            hosts.collect::<Result<_, _>>().map(Checked::Hosts)
        }
        _ => items.map(destination).collect::<Result<_, _>>().map(Checked::List),
    }
}

/// An item of a list.
fn text_of<'a>(item: &'a Value, wanted: &str) -> Result<&'a str, String> {
    match item {
        Value::Text(text) => Ok(text),
        _ => Err(format!("{item} is {}, and {wanted} is wanted (in quotes)", item.kind())),
    }
}

fn choice(words: &[&str], word: &str) -> Result<String, String> {
    let is_one = words.contains(&word).then(|| word.to_owned());
    is_one.ok_or(format!("'{}' is none of its words: use some of {}", shown(word), words.join(", ")))
}

fn check_text(kind: Kind, text: String) -> Result<Checked, String> {
    let shown = shown(&text);
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
        Kind::DurationOrNone { .. } | Kind::BytesOrNone { .. } | Kind::PathOrNone if text == NONE => {
            Ok(Checked::None)
        }
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
        Kind::Proxy => Choice::parse(&text).map(Checked::Proxy),
        Kind::Path | Kind::PathOrNone if !text.is_empty() && !text.contains('\0') && text.len() <= 4096 => {
            Ok(Checked::Text(text))
        }
        Kind::Path | Kind::PathOrNone => Err(format!("'{shown}' is not a path")),
        Kind::Level if is_level(&text) => Ok(Checked::Text(text)),
        Kind::Level => Err(format!(
            "'{shown}' is not a log level: use error, warn, info, debug or trace, or a filter such as info,sorcha_peer::store=debug"
        )),
        Kind::Choice(words) if words.contains(&text.as_str()) => Ok(Checked::Text(text)),
        Kind::Choice(words) => Err(format!("'{shown}' is none of its words: use {}", words.join(" or "))),
        Kind::Integer { .. } | Kind::Destinations | Kind::Hosts | Kind::Choices(_) => {
            unreachable!("checked before as no text")
        }
    }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
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
    Err(format!("'{}' is not an address: {why}", shown(text)))
}

fn local_socket(text: &str) -> Result<ApiAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        // sun_path of unix(7) holds 108 bytes with its zero.
        return if path.starts_with('/') && path.len() <= 107 && !path.contains('\0') {
            Ok(ApiAddress::Unix(path.into()))
        } else {
            Err(format!(
                "'{}' is not a Unix socket: write unix:/ and an absolute path of at most 107 bytes",
                shown(text)
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

fn destination(item: &Value) -> Result<String, String> {
    let text = text_of(item, "host:port")?;
    check_destination(text).map_err(|why| format!("'{}' is not host:port: {why}", shown(text)))?;
    Ok(text.to_owned())
}

/// `host:port` with a port other than 0; the host is a name or an IP address (IPv6 in brackets). The error is half a sentence.
pub(crate) fn check_destination(text: &str) -> Result<(), &'static str> {
    let Some((host, port)) = text.rsplit_once(':') else { return Err("the port is missing") };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().unwrap_or(0) == 0 {
        return Err("the port must be 1-65535");
    }
    if let Some(inner) = host.strip_prefix('[') {
        let inside = inner.strip_suffix(']').unwrap_or_default();
        let good = inside.parse::<std::net::Ipv6Addr>().is_ok();
        return if good { Ok(()) } else { Err("brackets hold an IPv6 address") };
    }
    if host.contains(':') {
        return Err("an IPv6 address stands in brackets, such as [2001:db8::1]:7450");
    }
    if is_host_name(host) { Ok(()) } else { Err("the host must be a DNS name or an IP address") }
}

/// Labels of letters, digits, `-` and `_` (RFC 1123, and what people use).
pub(crate) fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= 253 && name.split('.').all(label)
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
