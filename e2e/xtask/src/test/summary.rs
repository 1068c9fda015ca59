//! Reads the output of `cargo test` line by line and counts.
//!
//! A test that cannot run here prints `SKIPPED: <test>: <reason>`, past the harness's capture, and passes; it is
//! counted as skipped. So is one that is `#[ignore]`d.

use std::collections::BTreeMap;

/// What one test program came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// By name of the test program, in order of appearance.
    programs: Vec<(String, Count)>,
    failures: Vec<String>,
    /// (test, reason).
    skips: Vec<(String, String)>,
    /// The program that runs has not given its result yet.
    open: bool,
}

impl Summary {
    /// Takes the next line.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(program) = program(line) {
            self.close();
            self.programs.push((program, Count::default()));
            self.open = true;
        } else if let Some(count) = result(line) {
            self.open = false;
            if let Some((_, total)) = self.programs.last_mut() {
                // Skips by their own word were counted when they were read, and the harness took them for passed.
                total.passed = count.passed.saturating_sub(total.skipped);
                total.failed = count.failed;
                total.skipped += count.skipped;
            }
        } else if let Some((_, skip)) = line.split_once("SKIPPED: ") {
            let (test, reason) = skip.split_once(": ").unwrap_or((skip, "no reason given"));
            self.skips.push((test.to_owned(), reason.to_owned()));
            if let Some((_, total)) = self.programs.last_mut() {
                total.skipped += 1;
            }
        } else if let Some((test, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            if let Some(reason) = outcome.strip_prefix("ignored") {
                let reason = reason.strip_prefix(", ").unwrap_or("ignored without a reason");
                self.skips.push((test.to_owned(), reason.to_owned()));
            } else if outcome.ends_with("FAILED") {
                self.failures.push(format!("{}: {test}", self.current()));
            }
        }
    }

    /// No more lines come.
    pub(super) fn finish(&mut self) {
        self.close();
    }

    /// A program that ended without a result has failed, whatever it was.
    fn close(&mut self) {
        if std::mem::take(&mut self.open)
            && let Some((name, count)) = self.programs.last_mut()
        {
            count.failed += 1;
            self.failures.push(format!("{name}: ended without a result"));
        }
    }

    /// The program that runs now.
    pub(super) fn current(&self) -> &str {
        self.programs.last().map_or("cargo", |(name, _)| name)
    }

    /// How many failed.
    pub(super) fn failed(&self) -> u64 {
        self.programs.iter().map(|(_, count)| count.failed).sum()
    }

    /// Per program, then failures, then skips with their reasons.
    pub(super) fn report(&self) -> Vec<String> {
        let mut by_name: BTreeMap<&str, Count> = BTreeMap::new();
        for (name, count) in &self.programs {
            let total = by_name.entry(name).or_default();
            total.passed += count.passed;
            total.failed += count.failed;
            total.skipped += count.skipped;
        }
        let rows = by_name.iter().filter(|(_, count)| **count != Count::default());
        let mut lines: Vec<String> = rows
            .map(|(name, count)| {
                format!(
                    "{name:<36} {:>5} passed {:>4} failed {:>4} skipped",
                    count.passed, count.failed, count.skipped
                )
            })
            .collect();
        lines.extend(self.failures.iter().map(|failure| format!("FAILED   {failure}")));
        lines.extend(self.skips.iter().map(|(test, reason)| format!("skipped  {test}: {reason}")));
        lines
    }

    /// `N passed, N failed, N skipped`.
    pub(super) fn closing_line(&self) -> String {
        let total = |of: fn(&Count) -> u64| self.programs.iter().map(|(_, count)| of(count)).sum::<u64>();
        let (passed, skipped) = (total(|count| count.passed), total(|count| count.skipped));
        format!("{passed} passed, {} failed, {skipped} skipped", self.failed())
    }
}

/// The name of a test program that starts: `sorcha_peer`, `e2e/tests/chaos.rs`-like targets by file name.
fn program(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(library) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{library} (documentation)"));
    }
    let rest = line.strip_prefix("Running ")?;
    let executable = rest.strip_suffix(')')?.rsplit(['/', '(']).next()?;
    let (name, _hash) = executable.rsplit_once('-')?;
    let unit = rest.starts_with("unittests ");
    Some(if unit { name.to_owned() } else { format!("{name} (tests/)") })
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn result(line: &str) -> Option<Count> {
    // A test that writes past the harness may leave its last line open.
    let (_, rest) = line.split_once("test result: ")?;
    let number = |word: &str| {
        let before = rest.split(word).next()?.trim_end();
        before.rsplit([' ', ';', '.']).next()?.parse().ok()
    };
    Some(Count { passed: number(" passed")?, failed: number(" failed")?, skipped: number(" ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Summary {
        let mut summary = Summary::default();
        text.lines().for_each(|line| summary.read(line));
        summary.finish();
        summary
    }

    const TWO: &str = "\
     Running unittests src/lib.rs (target/debug/deps/sorcha_peer-0123456789abcdef)

running 3 tests
test a ... ok
test b ... ignored, needs a cluster
test c ... FAILED
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
     Running tests/chaos.rs (target/debug/deps/chaos-0123456789abcdef)
test d ... SKIPPED: d: mounting needs root: run as root
ok
test e ... ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
   Doc-tests sorcha_peer
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn passed_failed_and_skipped_are_counted_once() {
        let summary = read(TWO);
        assert_eq!(summary.closing_line(), "2 passed, 1 failed, 2 skipped");
        let report = summary.report().join("\n");
        for part in [
            "FAILED   sorcha_peer: c",
            "skipped  b: needs a cluster",
            "skipped  d: mounting needs root: run as root",
            "chaos (tests/)",
        ] {
            assert!(report.contains(part), "'{part}' is missing in:\n{report}");
        }
        assert!(!report.contains("documentation"), "programs without tests are left out:\n{report}");
    }

    #[test]
    fn a_program_that_dies_has_failed() {
        let dead = TWO.replace("test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; ", "");
        let summary = read(&dead);
        assert_eq!(summary.closing_line(), "1 passed, 1 failed, 1 skipped");
        assert!(summary.report().iter().any(|line| line.contains("sorcha_peer: ended without a result")));
        assert_eq!(read("     Running unittests src/main.rs (a/b-12)\n").failed(), 1);
    }
}
