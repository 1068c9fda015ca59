//! Which proxy other peers are dialled through, and which of them are not.
//!
//! `HTTPS_PROXY` and `NO_PROXY` mean what they mean to Go's `net/http` and to curl, with these exceptions: a proxy is spoken to
//! without TLS, and a user's name and password are percent-encoded.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::check::{check_destination, is_host_name, shown};
use crate::fields::{ENVIRONMENT, NONE};
use crate::problem::Origin;

/// Variables that name a proxy, and those who are dialled without it: the first that says something counts.
pub(crate) const HTTPS_VARIABLES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
pub(crate) const EXCEPT_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// What `proxy.url` says.
pub(crate) enum Choice {
    /// There is none.
    None,
    /// That of the environment, if any.
    Environment,
    /// The one at this `host:port`.
    At(String),
}

impl Choice {
    /// The error is a sentence about the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            NONE => Ok(Self::None),
            ENVIRONMENT => Ok(Self::Environment),
            _ if parts(text).1.is_some() => Err(format!(
                "the proxy at '{}' is given with a name or a password: configuration is shown to others; put them in proxy.credentialsDirectory",
                shown(parts(text).2)
            )),
            _ => parse_url(text).map(|(address, _)| Self::At(address)),
        }
    }
}

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `host:port`.
    pub address: String,
    /// What it wants to know.
    pub credentials: Credentials,
    /// Who is dialled without it.
    pub except: Vec<Except>,
    /// Where the address comes from.
    pub origin: Origin,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            address: String::new(),
            credentials: Credentials::None,
            except: Vec::new(),
            origin: Origin::Nowhere,
        }
    }
}

impl Proxy {
    /// Whether `host:port` is dialled through it. This machine never is.
    pub fn is_for(&self, address: &str) -> bool {
        let Some((host, port)) = address.rsplit_once(':') else { return false };
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let ip: Option<IpAddr> = host.parse().ok();
        let is_here = host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback());
        !is_here && !self.except.iter().any(|except| except.matches(&host, ip, port.parse().ok()))
    }
}

/// Name and password for a proxy.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// There are none.
    None,
    /// These.
    Given {
        /// Without a colon.
        user: String,
        /// Never printed.
        password: String,
    },
    /// In the files `username` and `password` of this directory.
    Directory(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Given { user, .. } => f.debug_struct("Given").field("user", user).finish_non_exhaustive(),
            Self::Directory(directory) => f.debug_tuple("Directory").field(directory).finish(),
        }
    }
}

/// Some hosts that are dialled without the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Except {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    /// Addresses that agree with this one in so many leading bits.
    Block(IpAddr, u32),
    /// This name and all below it.
    Domain(String),
    /// All names below this one.
    Below(String),
}

impl Except {
    /// Reads `*`, an address, a block (`10.0.0.0/8`), a name with all below it (`example.org`), or only these (`.example.org`,
    /// `*.example.org`); each with a port or without. The error is a sentence about the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("'{}' {why}", shown(text)));
        let all = |hosts| Ok(Self { hosts, port: None });
        if text == "*" {
            return all(Hosts::All);
        }
        if let Some((ip, bits)) = text.split_once('/') {
            let Ok(ip) = ip.trim_matches(['[', ']']).parse::<IpAddr>() else {
                return refused("is no block of addresses: write it as 10.0.0.0/8");
            };
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= longest);
            let Some(bits) = bits else {
                return refused(&format!("is no block of addresses: its length is 0 to {longest}"));
            };
            return all(Hosts::Block(ip, bits));
        }
        let whole = |ip: IpAddr| Hosts::Block(ip, if ip.is_ipv4() { 32 } else { 128 });
        if let Ok(ip) = text.parse() {
            return all(whole(ip));
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((host, port)) => match port.parse() {
                Ok(port) if port > 0 => (host, Some(port)),
                _ => return refused("has a port that is not 1-65535"),
            },
        };
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return Ok(Self { hosts: whole(ip), port });
        }
        let below = host.strip_prefix("*.").or(host.strip_prefix('.'));
        let name = below.unwrap_or(host).trim_end_matches('.').to_ascii_lowercase();
        if !is_host_name(&name) {
            return refused(
                "is no host: write a name, .name for all below it, an address, or a block of them",
            );
        }
        Ok(Self { hosts: if below.is_some() { Hosts::Below(name) } else { Hosts::Domain(name) }, port })
    }

    /// Whether this host is among them; `host` in small letters.
    fn matches(&self, host: &str, ip: Option<IpAddr>, port: Option<u16>) -> bool {
        let is_below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        let is_host = match &self.hosts {
            Hosts::All => true,
            Hosts::Block(block, bits) => ip.is_some_and(|ip| in_block(ip.to_canonical(), *block, *bits)),
            Hosts::Domain(name) => host == name || is_below(name),
            Hosts::Below(name) => is_below(name),
        };
        is_host && self.port.is_none_or(|own| Some(own) == port)
    }
}

fn in_block(ip: IpAddr, block: IpAddr, bits: u32) -> bool {
    let differing = match (ip, block) {
        (IpAddr::V4(ip), IpAddr::V4(block)) => (ip.to_bits() ^ block.to_bits()).leading_zeros(),
        (IpAddr::V6(ip), IpAddr::V6(block)) => (ip.to_bits() ^ block.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= bits
}

/// Reads `http://host:port`, or `host:port` alone; with `name:password@` before the host or without.
/// The port is 80 where none is written. The error is a sentence about the text, without what may be a password.
pub(crate) fn parse_url(text: &str) -> Result<(String, Credentials), String> {
    let (scheme, user, host) = parts(text);
    let shown = shown(host);
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" | "socks4" | "socks5" | "socks5h" => {
            return Err(format!(
                "the proxy at '{shown}' is to be spoken to by {scheme}: give one that speaks http://"
            ));
        }
        _ => return Err(format!("'{shown}' is no proxy: write http://host:port")),
    }
    let has_port =
        host.rsplit_once(':').is_some_and(|(host, _)| !host.starts_with('[') || host.ends_with(']'));
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    check_destination(&address).map_err(|why| format!("'{shown}' is no proxy: {why}"))?;
    let Some(user) = user else { return Ok((address, Credentials::None)) };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    match (decoded(user), decoded(password)) {
        (Some(user), Some(password)) if !user.is_empty() && !user.contains(':') => {
            Ok((address, Credentials::Given { user, password }))
        }
        _ => Err(format!(
            "the name or the password for the proxy at '{shown}' cannot be read: write name:password@, signs other than letters and digits as %XX"
        )),
    }
}

/// Scheme, `name:password` and host with port.
fn parts(text: &str) -> (&str, Option<&str>, &str) {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
    (scheme, user, host)
}

/// Percent-decoded (RFC 3986 § 2.1), without control characters.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(except: &[&str]) -> Proxy {
        let except = except.iter().map(|text| Except::parse(text).expect("it is one")).collect();
        Proxy { except, ..Proxy::default() }
    }

    #[test]
    fn this_machine_is_never_dialled_through_a_proxy() {
        let proxy = without(&[]);
        for here in
            ["localhost:1", "LOCALHOST:1", "127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]
        {
            assert!(!proxy.is_for(here), "{here}");
        }
        assert!(
            proxy.is_for("bob.example:7450")
                && proxy.is_for("192.0.2.1:7450")
                && proxy.is_for("[2001:db8::1]:1")
        );
    }

    #[test]
    fn exceptions_are_names_domains_addresses_and_blocks_with_a_port_or_without() {
        for (except, inside, outside) in [
            ("*", "bob.example:1", ""),
            ("bob.example", "bob.example:1", "xbob.example:1"),
            ("bob.example", "eu.Bob.Example.:1", "bob.example.org:1"),
            (".example", "bob.example:1", "example:1"),
            ("*.example", "a.b.example:1", "example:1"),
            ("example:7450", "bob.example:7450", "bob.example:7451"),
            ("192.0.2.1", "192.0.2.1:1", "192.0.2.2:1"),
            ("192.0.2.1:80", "192.0.2.1:80", "192.0.2.1:81"),
            ("10.0.0.0/8", "10.255.0.1:1", "11.0.0.1:1"),
            ("0.0.0.0/0", "10.255.0.1:1", "[2001:db8::1]:1"),
            ("2001:db8::/32", "[2001:db8:1::1]:1", "[2001:db9::1]:1"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80", "[2001:db8::1]:81"),
            ("2001:db8::1", "[2001:db8::1]:80", "[2001:db8::2]:80"),
        ] {
            let proxy = without(&[except]);
            assert!(!proxy.is_for(inside), "{inside} is among {except}");
            assert!(outside.is_empty() || proxy.is_for(outside), "{outside} is not among {except}");
        }
    }

    #[test]
    fn what_is_no_exception_is_refused() {
        for (text, said) in [
            ("", "is no host"),
            ("a b", "is no host"),
            ("bob:0", "port"),
            ("bob:x", "port"),
            ("10.0.0.0/33", "0 to 32"),
            ("x/8", "10.0.0.0/8"),
            ("..", "is no host"),
        ] {
            let refused = Except::parse(text).expect_err(text);
            assert!(refused.contains(said) && refused.starts_with(&format!("'{text}'")), "{refused}");
        }
    }

    #[test]
    fn a_url_is_an_address_and_credentials() {
        let read = parse_url;
        for text in ["http://proxy.example:3128", "HTTP://proxy.example:3128/", "proxy.example:3128"] {
            assert_eq!(read(text), Ok(("proxy.example:3128".into(), Credentials::None)));
        }
        assert_eq!(read("http://proxy").expect("it is one").0, "proxy:80");
        assert_eq!(read("http://[2001:db8::1]").expect("it is one").0, "[2001:db8::1]:80");
        assert_eq!(read("http://[2001:db8::1]:8080").expect("it is one").0, "[2001:db8::1]:8080");
        let given = |user: &str, password: &str| {
            Ok(("p:1".into(), Credentials::Given { user: user.into(), password: password.into() }))
        };
        assert_eq!(read("http://alice:p%40ss%3a@p:1"), given("alice", "p@ss:"));
        assert_eq!(read("http://alice@p:1"), given("alice", ""));
        assert_eq!(read("http://a:b@c@p:1"), given("a", "b@c"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for (text, said) in [
            ("https://a:secret@p:1", "speaks http://"),
            ("socks5://p:1", "speaks http://"),
            ("ftp://p:1", "write http://host:port"),
            ("http://p:0", "the port must be 1-65535"),
            ("http://p:1/path", "the port must be 1-65535"),
            ("http://", "is no proxy"),
            ("http://a:%zz_secret@p:1", "as %XX"),
            ("http://a:%0a_secret@p:1", "as %XX"),
            ("http://:secret@p:1", "cannot be read"),
        ] {
            let refused = parse_url(text).expect_err(text);
            assert!(refused.contains(said) && !refused.contains("secret"), "{text}: {refused}");
        }
        let refused = Choice::parse("http://a:secret@p:1").err().expect("it holds a password");
        assert!(refused.contains("proxy.credentialsDirectory") && !refused.contains("secret"), "{refused}");
    }

    #[test]
    fn a_password_is_not_printed() {
        let given = Credentials::Given { user: "alice".into(), password: "secret".into() };
        let shown = format!("{:?}", Proxy { credentials: given, ..Proxy::default() });
        assert!(shown.contains("alice") && !shown.contains("secret"), "{shown}");
    }
}
