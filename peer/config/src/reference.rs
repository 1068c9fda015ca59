//! The reference page `docs/configuration.md`, made from the table.

use std::fmt::Write;

use crate::fields::{FIELDS, Field, Kind, REQUIRED};
use crate::units::{duration_text, quantity_text};

/// The whole page. `docs/configuration.md` is exactly this (`cargo xtask generate` writes it).
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "<!-- Generated from peer/config/src/fields.rs by `cargo xtask generate`; do not edit. -->\n\
         # Configuration of a peer\n\n\
         `sorcha-peer run` reads one YAML file, `/etc/sorcha/peer.yaml` unless `--config` names another. The operator and\n\
         local mode write it; by hand it needs `networkId`, `trustDomain` and certificates. `sorcha-peer config check FILE`\n\
         names everything that is wrong with a file, line by line.\n\n\
         - Durations are whole numbers with units, largest first: `15m`, `1h30m`, `250ms` (`d`, `h`, `m`, `s`, `ms`).\n\
         - Sizes are Kubernetes quantities: `64Mi`, `1G`, or a plain number of bytes.\n\
         - A variable of the environment overrides its key; lists are separated by commas there.\n\
         - A running peer passes over a key that it does not know, with a warning; `config check` refuses it.\n\n\
         ```yaml\nconfigVersion: 1\nnetworkId: quickstart\ntrustDomain: example.org\nname: peer-0\n\
         bootstrap:\n  addresses: [peer-1.example.org:7450, \"192.0.2.7:7450\"]\n```\n\n",
    );
    page.push_str("| key | takes | default | range | environment | meaning |\n|---|---|---|---|---|---|\n");
    for field in FIELDS {
        let (takes, range) = takes(field);
        let default = match field.default {
            REQUIRED => "required".to_owned(),
            said if said.starts_with('(') => said.trim_matches(['(', ')']).to_owned(),
            value => format!("`{value}`"),
        };
        let Field { key, meaning, .. } = field;
        let _ = writeln!(
            page,
            "| `{key}` | {takes} | {default} | {range} | `{}` | {meaning} |",
            field.variable()
        );
    }
    page
}

fn takes(field: &Field) -> (&'static str, String) {
    match field.kind {
        Kind::Integer { min, max } => ("whole number", format!("{min} to {max}")),
        Kind::Duration { min, max } => {
            ("duration", format!("{} to {}", duration_text(min), duration_text(max)))
        }
        Kind::Bytes { min, max } => {
            ("size in bytes", format!("{} to {}", quantity_text(min), quantity_text(max)))
        }
        Kind::DurationOrNone { min, max } => {
            ("duration or `none`", format!("{} to {}", duration_text(min), duration_text(max)))
        }
        Kind::BytesOrNone { min, max } => {
            ("size in bytes or `none`", format!("{} to {}", quantity_text(min), quantity_text(max)))
        }
        Kind::Socket => ("`address:port`", "IP address; port 0-65535".into()),
        Kind::LocalSocket => {
            ("`address:port` or `unix:/path`", "loopback address; path up to 107 bytes".into())
        }
        Kind::Destinations => {
            ("list of `host:port`", "up to 256; DNS name or IP address, port 1-65535".into())
        }
        Kind::Hosts => ("list of hosts", "up to 256; name, `.domain`, IP address, block, `*`".into()),
        Kind::Choices(words) => ("list of words", quoted(words)),
        Kind::Proxy => ("URL, `environment` or `none`", "`http://`, without a name or a password".into()),
        Kind::Label => ("text", "DNS label, 1-63 characters".into()),
        Kind::TrustDomain => ("text", "1-255 of `a-z 0-9 - . _`".into()),
        Kind::PeerName => ("text", "1-253 of `a-z 0-9 - .`".into()),
        Kind::Words => ("text", "up to 63 characters".into()),
        Kind::Path => ("path", "up to 4096 bytes".into()),
        Kind::PathOrNone => ("path or `none`", "up to 4096 bytes".into()),
        Kind::Level => ("level or filter", "`off` `error` `warn` `info` `debug` `trace`".into()),
        Kind::Choice(words) => ("word", quoted(words)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
}
