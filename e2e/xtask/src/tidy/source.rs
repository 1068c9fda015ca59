//! A Rust file as lines of code and lines of comment.
//!
//! A light reader, no parser: it tells code, comments and text apart, which is all that the rules need.

/// One line, split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without comments; the insides of strings are blank.
    pub(crate) code: String,
    /// Comments with their slashes.
    pub(crate) comment: String,
    /// It belongs to a `#[cfg(test)]` module.
    pub(crate) in_tests: bool,
}

/// A file, read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// All lines.
    pub(crate) lines: Vec<Line>,
    /// The text as it is.
    pub(crate) text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    /// How deep they nest.
    BlockComment(u32),
    /// How many `#` close it; `None` for a string with escapes.
    Text(Option<usize>),
}

impl Source {
    /// Splits `text`.
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let mut lines = split(text);
        mark_tests(&mut lines);
        Self { path: path.to_owned(), lines, text: text.to_owned() }
    }

    /// The whole file is test code, by its place.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Numbered lines (from 1) of what ships.
    pub(crate) fn shipping(&self) -> impl Iterator<Item = (usize, &Line)> {
        let all_tests = self.is_test_file();
        let numbered = self.lines.iter().enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(move |(_, line)| !all_tests && !line.in_tests)
    }
}

fn split(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let (mut state, mut at) = (State::Code, 0);
    while let Some(&here) = chars.get(at) {
        let next = chars.get(at + 1).copied().unwrap_or('\n');
        if here == '\n' {
            lines.push(Line::default());
            state = if state == State::LineComment { State::Code } else { state };
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("there is always a line");
        let (after, taken) = match state {
            State::Code => in_code(&chars, at, line),
            State::LineComment => {
                line.comment.push(here);
                (state, 1)
            }
            State::BlockComment(depth) => {
                line.comment.push(here);
                match (here, next) {
                    ('*', '/') if depth == 1 => (State::Code, 2),
                    ('*', '/') => (State::BlockComment(depth - 1), 2),
                    ('/', '*') => (State::BlockComment(depth + 1), 2),
                    _ => (state, 1),
                }
            }
            State::Text(None) if here == '\\' && next != '\n' => (state, 2),
            State::Text(hashes) if here == '"' && closes(&chars, at, hashes.unwrap_or(0)) => {
                line.code.push('"');
                (State::Code, 1 + hashes.unwrap_or(0))
            }
            State::Text(_) => (state, 1),
        };
        (state, at) = (after, at + taken);
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// One step in code: what follows, and how many characters were taken.
fn in_code(chars: &[char], at: usize, line: &mut Line) -> (State, usize) {
    let here = chars[at];
    let next = chars.get(at + 1).copied().unwrap_or('\n');
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (here, next) {
        ('/', '/') => {
            line.comment.push_str("//");
            (State::LineComment, 2)
        }
        ('/', '*') => (State::BlockComment(1), 2),
        ('"', _) => {
            line.code.push('"');
            (State::Text(None), 1)
        }
        ('r', '"' | '#') if !word_before || (at > 0 && chars[at - 1] == 'b') => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if chars.get(at + 1 + hashes) == Some(&'"') {
                line.code.push('"');
                return (State::Text(Some(hashes)), 2 + hashes);
            }
            line.code.push(here);
            (State::Code, 1)
        }
        // A character literal; a lifetime has no closing quote two or three places on.
        ('\'', '\\') => {
            let length = chars[at + 2..].iter().take(12).skip(1).position(|c| *c == '\'');
            line.code.push_str("''");
            (State::Code, length.map_or(2, |length| length + 4))
        }
        ('\'', _) if chars.get(at + 2) == Some(&'\'') => {
            line.code.push_str("''");
            (State::Code, 3)
        }
        _ => {
            line.code.push(here);
            (State::Code, 1)
        }
    }
}

fn closes(chars: &[char], at: usize, hashes: usize) -> bool {
    (1..=hashes).all(|ahead| chars.get(at + ahead) == Some(&'#'))
}

/// Marks the modules behind `#[cfg(test)]`, up to their closing brace.
fn mark_tests(lines: &mut [Line]) {
    let mut at = 0;
    while at < lines.len() {
        let opens = lines[at].code.trim_start().starts_with("#[cfg(test)]");
        let module = (at..lines.len().min(at + 4)).find(|i| lines[*i].code.contains("mod "));
        let Some(start) = module.filter(|_| opens) else {
            at += 1;
            continue;
        };
        let (mut depth, mut end) = (0_i64, start);
        for (i, line) in lines.iter().enumerate().skip(start) {
            depth += line.code.matches('{').count() as i64 - line.code.matches('}').count() as i64;
            end = i;
            if depth <= 0 {
                break;
            }
        }
        lines[at..=end].iter_mut().for_each(|line| line.in_tests = true);
        at = end + 1;
    }
}

/// Whether `word` stands in `code` with no letter, digit or underscore on either side.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = code[at + word.len()..].chars().next().is_some_and(part);
        let open_start = !word.starts_with(part);
        let open_end = !word.ends_with(part);
        (open_start || !before) && (open_end || !after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &[&str], comment: &[&str]) {
        let lines = split(text);
        assert_eq!(lines.iter().map(|l| l.code.trim()).collect::<Vec<_>>(), code, "code of {text}");
        assert_eq!(lines.iter().map(|l| l.comment.trim()).collect::<Vec<_>>(), comment, "comments of {text}");
    }

    #[test]
    fn code_comments_and_text_are_told_apart() {
        check("a(); // b\n", &["a();"], &["// b"]);
        check("a(\"// no \\\" c\"); b", &["a(\"\"); b"], &[""]);
        check("r#\"x \" // y\"# + 1", &["\"\" + 1"], &[""]);
        check("a /* b\nc */ d", &["a", "d"], &["b", "c *"]);
        check("let c = '\"'; // q", &["let c = '';"], &["// q"]);
        check("let c = '\\''; // q", &["let c = '';"], &["// q"]);
        check("fn f<'a>(x: &'a str) {} // l", &["fn f<'a>(x: &'a str) {}"], &["// l"]);
        check("let p = '\\u{1F600}'; x", &["let p = ''; x"], &[""]);
    }

    #[test]
    fn a_test_module_is_marked_to_its_closing_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let source = Source::read("x.rs", text);
        assert_eq!(source.shipping().map(|(at, _)| at).collect::<Vec<_>>(), [1, 6]);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("let a = Instant::now()", "Instant"));
        assert!(!has_word("let a = Instantly", "Instant"));
        assert!(!has_word("my_std::env", "std::env"));
        assert!(has_word("a.todo!(x)", "todo!("));
    }
}
