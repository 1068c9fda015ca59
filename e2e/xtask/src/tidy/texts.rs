//! All tracked text: no path of one machine, links that lead somewhere, a changelog that is kept.

use std::path::{Component, Path, PathBuf};

use super::Violation;

/// Beginnings of paths that exist on one machine only, split so that this table does not name itself.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/tm", "p/")];

/// Machine paths in every text; in Markdown also links to files that do not exist.
pub(super) fn check_file(file: &str, text: &str, exists: &dyn Fn(&Path) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(path) = machine_path(line) {
            let says = format!(
                "`{path}` is a path of one machine: use a temporary directory, $HOME or a relative path"
            );
            found.push(Violation::new(file, at + 1, says));
        }
        if Path::new(file).extension() != Some("md".as_ref()) {
            continue;
        }
        for target in links(line) {
            if let Some(path) = resolve(file, target).filter(|path| !exists(path)) {
                let says =
                    format!("the link to `{target}` leads nowhere ({} does not exist)", path.display());
                found.push(Violation::new(file, at + 1, says));
            }
        }
    }
    found
}

fn machine_path(line: &str) -> Option<String> {
    MACHINE_PATHS.iter().find_map(|start| {
        line.match_indices(start).find_map(|(at, _)| {
            let inside = line[..at].ends_with(|c: char| c.is_alphanumeric() || "./_-$}".contains(c));
            let name: String =
                line[at..].chars().take_while(|c| !c.is_whitespace() && !"\"'`)<>".contains(*c)).collect();
            let named = name[start.len()..].starts_with(|c: char| c.is_alphanumeric());
            (!inside && named).then_some(name)
        })
    })
}

/// Targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next())
}

/// The file that a relative link names, from the root of the repository.
fn resolve(file: &str, target: &str) -> Option<PathBuf> {
    let target = target.split(['#', ' ']).next().filter(|path| !path.is_empty())?;
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let base = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for part in base.join(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

/// The changelog has a place for what has not been released.
pub(super) fn check_changelog(text: &str) -> Vec<Violation> {
    if text.lines().any(|line| line.trim() == "## [Unreleased]") {
        return Vec::new();
    }
    vec![Violation::new("CHANGELOG.md", 0, "has no `## [Unreleased]` section: add it (keepachangelog.com)")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, text: &str, lines: &[usize]) {
        let found = check_file(file, text, &|path| path == Path::new("docs/api.md"));
        assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), lines, "{text}");
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for start in MACHINE_PATHS {
            check("a.sh", &format!("x\ncd {start}someone/project\n"), &[2]);
        }
        check("a.rs", "let a = \"var/tmp/x\"; let b = \"https://example.org/home/x\";", &[]);
        check("a.yaml", "path: /var/lib/sorcha", &[]);
    }

    #[test]
    fn a_link_leads_somewhere() {
        check("docs/a.md", "[api](api.md#submit) and [up](../docs/api.md)", &[]);
        check("README.md", "see [api](docs/api.md), [web](https://example.org/x) and [here](#below)", &[]);
        check("README.md", "see\n[more](docs/missing.md)", &[2]);
    }

    #[test]
    fn the_changelog_is_kept() {
        assert_eq!(check_changelog("# Changelog\n\n## [Unreleased]\n"), []);
        assert_eq!(check_changelog("# Changelog\n\n## [1.0.0]\n").len(), 1);
    }
}
