//! Text of strangers, made safe for a terminal: control characters, invisible characters and those that turn
//! the writing direction are written out.

use std::fmt::Write as _;

/// Valid text: what a terminal would obey is written as `\n`, `\u{1b}`.
pub fn text(from: &str) -> String {
    let mut into = String::with_capacity(from.len());
    from.chars().for_each(|c| push(&mut into, c));
    into
}

/// Valid text of several lines: the same, but lines stay lines.
pub fn lines(from: &str) -> String {
    from.split('\n').map(text).collect::<Vec<_>>().join("\n")
}

/// The beginning of a body: at most `chars_max` characters as read, invalid UTF-8 as `\xff`.
pub fn preview(body: &[u8], chars_max: usize) -> String {
    // No character is longer than 4 bytes.
    let window = &body[..body.len().min(chars_max.saturating_mul(4))];
    let mut into = String::new();
    let mut shown = 0;
    'all: for chunk in window.utf8_chunks() {
        for c in chunk.valid().chars() {
            if shown == chars_max {
                break 'all;
            }
            push(&mut into, c);
            shown += 1;
        }
        // A character cut by the window's end is no invalid one.
        let cut = window.len() < body.len() && chunk.invalid().len() < 4 && window.ends_with(chunk.invalid());
        for byte in chunk.invalid() {
            if shown == chars_max || cut {
                break 'all;
            }
            // Writing to a string does not fail.
            let _ = write!(into, "\\x{byte:02x}");
            shown += 1;
        }
    }
    into
}

fn push(into: &mut String, c: char) {
    match c {
        '\n' => into.push_str("\\n"),
        '\r' => into.push_str("\\r"),
        '\t' => into.push_str("\\t"),
        c if c.is_control() || is_invisible(c) => into.extend(c.escape_unicode()),
        c => into.push(c),
    }
}

/// Characters that show nothing and change what follows: joiners, direction marks and overrides, line and
/// paragraph separators, variation selectors, tags (Unicode 16, general category Cf and its like).
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let check = |body: &[u8], expected: &str| assert_eq!(preview(body, 40), expected);
        check(b"hello", "hello");
        check("größe 漢字".as_bytes(), "größe 漢字");
        check(b"\x1b[2J\x1b]0;owned\x07", "\\u{1b}[2J\\u{1b}]0;owned\\u{7}");
        check("\u{9b}31m".as_bytes(), "\\u{9b}31m");
        check(b"a\r\nb\tc\x08\x7f", "a\\r\\nb\\tc\\u{8}\\u{7f}");
        check("abc\u{202e}cba".as_bytes(), "abc\\u{202e}cba");
        check(b"\xff\xfe\x00", "\\xff\\xfe\\u{0}");
        check(b"", "");
    }

    #[test]
    fn no_byte_sequence_makes_a_control_character() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let shown = preview(&[first, second, b'x'], 10);
                assert!(!shown.chars().any(char::is_control), "{first:02x} {second:02x}: {shown:?}");
            }
        }
    }

    #[test]
    fn a_preview_is_short_and_cuts_no_character_in_two() {
        assert_eq!(preview("aä漢".repeat(50).as_bytes(), 4), "aä漢a");
        assert_eq!(preview("漢字漢".as_bytes(), 2), "漢字");
    }
}
