//! The reference of the chart's values, made of the comments in `values.yaml`.
//!
//! Knows how that file is laid out: a comment stands right above each value, two spaces lead a level down.

use anyhow::{Result, ensure};

const HEAD: &str = "\
# Values of the chart

<!-- Made of charts/sorcha-operator/values.yaml by `cargo xtask generate`; do not edit. -->

What can be set with `helm install --set NAME=VALUE` or `--values FILE`. Anything else is refused.

| value | what it does |
|---|---|
";

/// A table of all values that have a comment. The first level must have one everywhere, and so must what lies below a
/// value that has no default of its own.
pub(crate) fn reference(values: &str) -> Result<String> {
    let mut table = String::from(HEAD);
    let mut above: Vec<&str> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for (at, line) in values.lines().enumerate() {
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let depth = (line.len() - text.len()) / 2;
        let key = text.split_once(':').map(|(key, _)| key).filter(|_| !text.starts_with('-'));
        let said = std::mem::take(&mut comment).join(" ");
        let Some(key) = key else { continue };
        above.truncate(depth);
        above.push(key);
        ensure!(
            depth > 0 || !said.is_empty(),
            "line {}: `{key}` has no comment: say what it does, its unit and its default",
            at + 1
        );
        if !said.is_empty() {
            let row = ["| `", &above.join("."), "` | ", &said.replace('|', "\\|"), " |\n"];
            table.extend(row);
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comment_becomes_a_row_of_the_value_below_it() {
        let values = "# Of the file.\n\n# An image.\nimage:\n  # Its tag.\n  # Default: none.\n  tag: \"\"\n\n\
                      # Room. Default: some.\nresources:\n  limits:\n    memory: 1Mi\n";
        let table = reference(values).expect("all is said");
        let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).collect();
        assert_eq!(
            rows,
            [
                "| `image` | An image. |",
                "| `image.tag` | Its tag. Default: none. |",
                "| `resources` | Room. Default: some. |",
            ]
        );
    }

    #[test]
    fn a_value_without_a_comment_is_refused() {
        let error = reference("# A.\na: 1\nb: 2\n").expect_err("b says nothing").to_string();
        assert!(error.contains("line 3: `b` has no comment"), "{error}");
    }
}
