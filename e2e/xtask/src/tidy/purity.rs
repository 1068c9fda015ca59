//! The pure crates call no clock, entropy, environment, file, socket or thread (ARCHITECTURE.md, invariant 1).
//!
//! Cargo holds the same of their dependencies, see `crates`.

use super::Violation;
use super::source::{Source, has_word};

/// Where the pure crates lie.
const PURE: [&str; 2] = ["peer/core/src/", "operator/plan/src/"];

/// What they may not name, and what they do instead.
const BANNED: [(&str, &str); 19] = [
    ("SystemTime", "take the wall time from the input's `Now`"),
    ("Instant", "take the time from the input's `Now`"),
    ("Timestamp::now", "take the wall time from the caller"),
    ("Zoned::now", "take the wall time from the caller"),
    ("std::env", "take it as a value from the caller"),
    ("std::fs", "return what to read or write as a value"),
    ("std::net", "leave sockets and name resolution to the driver"),
    ("std::process", "return what to start as a value"),
    ("std::thread", "leave threads to the driver"),
    ("std::io", "return what to read or write as a value"),
    ("rand::rng", "use the seeded generator that was passed in"),
    ("thread_rng", "use the seeded generator that was passed in"),
    ("OsRng", "use the seeded generator that was passed in"),
    ("from_os_rng", "use the seeded generator that was passed in"),
    ("getrandom", "use the seeded generator that was passed in"),
    ("println!", "return an event; the driver logs it"),
    ("eprintln!", "return an event; the driver logs it"),
    ("HashMap", "use BTreeMap, whose order is the same on every run"),
    ("HashSet", "use BTreeSet, whose order is the same on every run"),
];

/// A hash map is fine where this stands on the line or the one above it.
const NEVER_ITERATED: &str = "tidy: never iterated";

/// Names of impure things in what ships.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    if !PURE.iter().any(|pure| source.path.starts_with(pure)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in source.shipping() {
        let above = number.checked_sub(2).map_or("", |at| source.lines[at].comment.as_str());
        let never_iterated = [line.comment.as_str(), above].iter().any(|c| c.contains(NEVER_ITERATED));
        for (name, instead) in BANNED {
            let hash = name.starts_with("Hash");
            let import = line.code.trim_start().starts_with("use ");
            if !has_word(&line.code, name) || (hash && (never_iterated || import)) {
                continue;
            }
            let way_out = if hash {
                format!("{instead}, or write `// {NEVER_ITERATED}` where that is so")
            } else {
                instead.to_owned()
            };
            let says = format!("a pure crate names `{name}`; {way_out}");
            found.push(Violation::new(&source.path, number, says));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_at(path: &str, text: &str, lines: &[usize]) {
        let found = check(&Source::read(path, text));
        assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), lines, "{path}: {text}");
    }

    #[test]
    fn a_pure_crate_reads_no_clock_and_no_environment() {
        check_at("peer/core/src/a.rs", "//! A.\nlet t = std::time::Instant::now();\n", &[2]);
        check_at("peer/core/src/a.rs", "use std::env;\nuse std::fs::File;\n", &[1, 2]);
        check_at("operator/plan/src/a.rs", "let r = rand::rng();\nlet t = SystemTime::now();\n", &[1, 2]);
        check_at("peer/core/src/a.rs", "use std::time::Duration; // no Instant here\n", &[]);
        check_at("peer/src/a.rs", "let t = Instant::now();\n", &[]);
        check_at("peer/core/src/a.rs", "#[cfg(test)]\nmod tests {\n use std::env;\n}\n", &[]);
    }

    #[test]
    fn a_hash_map_says_that_it_is_never_iterated() {
        check_at("peer/core/src/a.rs", "use std::collections::HashMap;\nx: HashMap<u8, u8>,\n", &[2]);
        check_at("peer/core/src/a.rs", "// tidy: never iterated\nx: HashMap<u8, u8>,\n", &[]);
        check_at("peer/core/src/a.rs", "x: HashSet<u8>, // tidy: never iterated\n", &[]);
    }
}
