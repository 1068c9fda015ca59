//! Rooms of peer/core never import one another (ARCHITECTURE.md, invariant 7): the façade passes values between them.

use super::Violation;
use super::source::Source;

const CORE: &str = "peer/core/src/";

/// Modules that every room may use: values, contracts, settings and small sums; no state machines.
const SHARED: [&str; 11] = [
    "types", "event", "message", "envelope", "tree", "payload", "view", "bounds", "backoff", "config",
    "testing",
];

/// The façade and the crate's root; they import every room.
const FACADE: [&str; 2] = ["peer", "lib"];

/// Imports of one room by another.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let Some(room) = room_of(&source.path) else { return Vec::new() };
    if FACADE.contains(&room) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let shipping: Vec<(usize, &str)> = source.shipping().map(|(at, line)| (at, line.code.as_str())).collect();
    for (at, (number, code)) in shipping.iter().enumerate() {
        for (column, _) in code.match_indices("crate::") {
            let rest: String = std::iter::once(&code[column + "crate::".len()..])
                .chain(shipping[at + 1..].iter().take(40).map(|(_, code)| *code))
                .collect();
            for other in first_names(&rest) {
                let allowed = other == room || SHARED.contains(&other.as_str());
                if allowed || other.starts_with(char::is_uppercase) {
                    continue;
                }
                let says = format!(
                    "room `{room}` of peer/core imports room `{other}`; let the façade (peer.rs) pass a small \
                     value between them, or move the shared type to `types`"
                );
                found.push(Violation::new(&source.path, *number, says));
            }
        }
    }
    found
}

/// The first directory or file name under the crate's root.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(CORE)?;
    let first = inside.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// What follows `crate::`: one name, or the first names of a group in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut names, mut current) = (1, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(std::mem::take(&mut current)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if c != ',' || depth > 1 {
            current.push(c);
        }
    }
    names.push(current);
    names.iter().map(|text| name(text)).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_at(path: &str, text: &str, lines: &[usize]) {
        let found = check(&Source::read(path, text));
        assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), lines, "{path}: {text}");
    }

    #[test]
    fn rooms_do_not_import_rooms() {
        check_at("peer/core/src/gossip/push.rs", "use crate::link::Link;\n", &[1]);
        check_at("peer/core/src/gossip/push.rs", "use crate::gossip::grid;\nuse crate::types::Time;\n", &[]);
        check_at(
            "peer/core/src/sync.rs",
            "use crate::{\n    types::{A, B},\n    membership::Roster,\n};\n",
            &[1],
        );
        check_at("peer/core/src/sync/a.rs", "fn f() { crate::reputation::note(); }\n", &[1]);
        check_at("peer/core/src/peer.rs", "use crate::link::Link;\n", &[]);
        check_at("peer/core/src/gossip/seen.rs", "use crate::peer::Peer;\n", &[1]);
        check_at("peer/src/driver.rs", "use crate::link::Link;\n", &[]);
    }
}
