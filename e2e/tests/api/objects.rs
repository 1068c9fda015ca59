//! The objects that `sorcha-operator render` prints, as an API server takes them.

use sorcha_e2e::programs;

use crate::{Space, crds, on_every_server};

#[test]
fn rendered_objects_are_taken_in_a_restricted_namespace() -> anyhow::Result<()> {
    on_every_server("rendered_objects_are_taken_in_a_restricted_namespace", |space: &Space| {
        for example in crate::examples()? {
            let file = crds(&format!("examples/{example}.yaml"));
            let text = programs::operator(&["render", "-f", &file.to_string_lossy()])?.ok()?.text();
            // An example may name a namespace of its own; here all go into that of the test.
            let text: String = text
                .lines()
                .map(|line| match line.strip_prefix("  namespace: ") {
                    Some(_) => format!("  namespace: {}\n", space.name),
                    None => format!("{line}\n"),
                })
                .collect();
            let said = space.apply_with(&["--dry-run=server", "-o", "name"], &text)?.ok()?;
            anyhow::ensure!(said.err.is_empty(), "{example}: the server warns: {}", said.err);
            let objects = text.lines().filter(|line| line.starts_with("kind: ")).count();
            anyhow::ensure!(said.text().lines().count() == objects, "{example}: {}", said.text());

            // Without --dry-run: a second time nothing is left to change.
            space.apply(&text)?.ok()?;
            let versions = |space: &Space| -> anyhow::Result<String> {
                let columns = "-o=custom-columns=K:.kind,N:.metadata.name,V:.metadata.resourceVersion";
                let kinds =
                    "serviceaccounts,configmaps,services,networkpolicies,poddisruptionbudgets,statefulsets";
                Ok(space.kubectl(&["get", kinds, columns])?.ok()?.text())
            };
            let before = versions(space)?;
            space.apply(&text)?.ok()?;
            anyhow::ensure!(before == versions(space)?, "{example}: applied again, something changed");
        }
        Ok(())
    })
}
