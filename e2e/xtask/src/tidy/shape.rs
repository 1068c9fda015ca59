//! How a source file looks: its length, its opening, nothing unfinished, nothing switched off without a reason.

use super::Violation;
use super::source::{Line, Source, has_word};

/// From here on a file is named as long.
pub(super) const LINES_LONG: usize = 400;

/// Above this a file says at its top why it is one.
const LINES_MAX: usize = 600;

/// The façade of peer/core sequences and decides nothing, so it stays short, without exception.
const FACADE: (&str, usize) = ("peer/core/src/peer.rs", 400);

/// Characters of an opening comment below which it says nothing.
const OPENING_CHARS_MIN: usize = 20;

/// Words that mark unfinished work, split so that this table does not name itself.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Calls that do.
const UNFINISHED_CALLS: [&str; 3] = ["dbg!(", "todo!(", "unimplemented!("];

/// All that is wrong with the shape of a file.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    length(source, &mut found);
    opening(source, &mut found);
    for (at, line) in source.lines.iter().enumerate() {
        unfinished(source, at, line, &mut found);
        switched_off(source, at, line, &mut found);
    }
    commented_out(source, &mut found);
    found
}

fn length(source: &Source, found: &mut Vec<Violation>) {
    let lines = source.lines.len();
    if source.path == FACADE.0 && lines >= FACADE.1 {
        let says =
            format!("the façade has {lines} lines, {} at most: move what it decides into a room", FACADE.1);
        found.push(Violation::new(&source.path, 0, says));
    }
    let excused = source.lines.iter().take(30).any(|line| line.comment.starts_with("//! Size:"));
    if lines > LINES_MAX && !excused {
        let says = format!(
            "{lines} lines, {LINES_MAX} at most: split it by idea, or give the reason in a line `//! Size: …` at its top"
        );
        found.push(Violation::new(&source.path, 0, says));
    }
}

fn opening(source: &Source, found: &mut Vec<Violation>) {
    let first = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if !first.starts_with("//!") || first.len() < OPENING_CHARS_MIN {
        let says = "open the file with `//!`: what the module knows and what it must not know";
        found.push(Violation::new(&source.path, 1, says));
    }
}

fn unfinished(source: &Source, at: usize, line: &Line, found: &mut Vec<Violation>) {
    let word = UNFINISHED.iter().find(|word| has_word(&line.comment, word));
    let call = UNFINISHED_CALLS.iter().find(|call| has_word(&line.code, call));
    if let Some(mark) = word.or(call) {
        let says =
            format!("`{}` marks unfinished work: finish it or leave it out", mark.trim_end_matches('('));
        found.push(Violation::new(&source.path, at + 1, says));
    }
}

fn switched_off(source: &Source, at: usize, line: &Line, found: &mut Vec<Violation>) {
    let code = line.code.trim_start();
    let starts = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    if !starts.iter().any(|start| code.starts_with(start)) {
        return;
    }
    let attribute = source.lines[at..].iter().take(12).map(|line| line.code.as_str());
    let mut text = String::new();
    for code in attribute {
        text.push_str(code);
        if code.contains(")]") {
            break;
        }
    }
    if !text.contains("reason =") {
        let says = "a lint is switched off without a reason: add `reason = \"…\"`";
        found.push(Violation::new(&source.path, at + 1, says));
    }
}

/// Plain comments that read as statements: one that opens like an item, or two in a row.
fn commented_out(source: &Source, found: &mut Vec<Violation>) {
    let reads_as_code = |line: &Line| {
        let plain = line.comment.strip_prefix("//").filter(|rest| !rest.starts_with(['/', '!']));
        let text = plain.unwrap_or_default().trim();
        let ends = text.ends_with([';', '{', '}']) && line.code.trim().is_empty();
        let starts = ["let ", "fn ", "pub ", "use ", "if ", "for ", "match ", "return ", "impl ", "struct "];
        (
            ends,
            ends && starts.iter().any(|start| text.starts_with(start)) && text.contains(['(', '=', ':', '{']),
        )
    };
    let mut before = false;
    for (at, line) in source.lines.iter().enumerate() {
        let (ends, item) = reads_as_code(line);
        if item || (ends && before) {
            let says = "code that is commented out: delete it, git remembers it";
            found.push(Violation::new(&source.path, at + 1, says));
        }
        before = ends;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_at(path: &str, text: &str, expected: &[&str]) {
        let found = check(&Source::read(path, text));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (violation, part) in found.iter().zip(expected) {
            assert!(violation.to_string().contains(part), "{violation} does not say {part}");
        }
    }

    fn with_body(body: &str) -> String {
        format!("//! Knows enough to be checked.\n{body}\n")
    }

    #[test]
    fn a_long_file_gives_its_reason() {
        let long = "fn f() {}\n".repeat(LINES_MAX);
        check_at("a.rs", &with_body(&long), &["600 at most"]);
        check_at("a.rs", &format!("//! Knows enough to be checked.\n//! Size: one table.\n{long}"), &[]);
        check_at(FACADE.0, &with_body(&"fn f() {}\n".repeat(399)), &["the façade has"]);
    }

    #[test]
    fn a_module_opens_with_what_it_knows() {
        check_at("a.rs", "fn f() {}\n", &["a.rs:1: open the file"]);
        check_at("a.rs", "//! .\nfn f() {}\n", &["open the file"]);
        check_at("a.rs", &with_body("fn f() {}"), &[]);
    }

    #[test]
    fn nothing_unfinished_ships() {
        for word in UNFINISHED {
            check_at("a.rs", &with_body(&format!("// {word}: later")), &["a.rs:2: "]);
        }
        check_at("a.rs", &with_body("let a = dbg!(b);"), &["`dbg!`"]);
        check_at("a.rs", &with_body("let a = \"dbg!(b)\";"), &[]);
    }

    #[test]
    fn a_lint_is_switched_off_with_a_reason() {
        check_at("a.rs", &with_body("#[allow(dead_code)]"), &["without a reason"]);
        check_at("a.rs", &with_body("#[expect(\n    dead_code,\n    reason = \"kept\"\n)]"), &[]);
    }

    #[test]
    fn commented_out_code_is_found_and_prose_is_not() {
        check_at("a.rs", &with_body("// let a = b();"), &["commented out"]);
        check_at("a.rs", &with_body("// a.b();\n// c.d();"), &["a.rs:3: code"]);
        check_at("a.rs", &with_body("// Where it fails, the peer stops;\n// nothing is lost."), &[]);
        check_at("a.rs", &with_body("/// let a = b();"), &[]);
    }
}
