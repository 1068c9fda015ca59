//! The definition of `SorchaPeerNetwork` as a template of the chart.
//!
//! Knows how Helm reads a template; what is in the definition is not known here.

use anyhow::{Context as _, Result, ensure};

/// What stands before the definition's own text. The annotation keeps it, and every network with it, at uninstall.
const HEAD: &str = r"{{- /* Written by `cargo xtask generate`: the definition as in crds/generated, for Helm. */}}
{{- if .Values.crds.install }}
";

/// Takes the place of the definition's own `metadata`.
const METADATA: &str = r#"metadata: {{- include "sorcha-operator.metadata" (dict "root" . "name" "NAME" "component" "definition" "annotations" (dict "helm.sh/resource-policy" "keep")) | nindent 2 }}
"#;

/// The definition as a template that `crds.install` switches, with the chart's labels.
pub(crate) fn definition(text: &str) -> Result<String> {
    ensure!(
        !text.contains("{{"),
        "the definition holds '{{{{', which Helm would take for a template: write it in other words"
    );
    let (head, rest) = text.split_once("\nmetadata:\n").context("the definition has no metadata")?;
    let (name, rest) = rest.split_once('\n').context("the definition ends in its metadata")?;
    let name = name.trim().strip_prefix("name: ").context("the definition's metadata begins with no name")?;
    ensure!(
        rest.starts_with("spec:"),
        "the definition's metadata holds more than a name, which its template would lose"
    );
    Ok(format!("{HEAD}{head}\n{}{rest}{{{{- end }}}}\n", METADATA.replace("NAME", name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "apiVersion: v1\nkind: X\nmetadata:\n  name: a.b\nspec:\n  group: b\n";

    #[test]
    fn the_definition_becomes_a_template() {
        let template = definition(DEFINITION).expect("it is one");
        let lines: Vec<&str> = template.lines().collect();
        assert_eq!(lines[1], "{{- if .Values.crds.install }}");
        assert_eq!(lines[3], "kind: X");
        assert!(
            lines[4].contains(r#""name" "a.b""#) && lines[4].contains(r#""helm.sh/resource-policy" "keep""#)
        );
        assert_eq!(lines[5..], ["spec:", "  group: b", "{{- end }}"]);
    }

    #[test]
    fn what_a_template_would_lose_or_change_is_refused() {
        let check = |text: &str, says: &str| {
            let error = definition(text).expect_err("it cannot be one").to_string();
            assert!(error.contains(says), "{error}");
        };
        check(&DEFINITION.replace("group: b", "group: '{{ x }}'"), "take for a template");
        check(&DEFINITION.replace("  name: a.b\n", "  name: a.b\n  labels: {}\n"), "more than a name");
        check("spec: {}\n", "no metadata");
    }
}
