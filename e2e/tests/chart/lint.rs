//! What Helm itself says of the chart.

use anyhow::ensure;
use sorcha_e2e::helm;

use crate::{KUBERNETES, matrix, read, with_every_helm};

#[test]
fn lint_has_nothing_to_say() -> anyhow::Result<()> {
    with_every_helm("lint_has_nothing_to_say", |helm| {
        let chart = helm::chart();
        for (name, more) in matrix()? {
            for kubernetes in KUBERNETES {
                let mut args = vec!["lint", "--strict", "--quiet", "--kube-version", kubernetes];
                args.extend(more.iter().map(String::as_str));
                let path = chart.to_string_lossy();
                args.push(&path);
                let said = helm.run(&args)?;
                ensure!(
                    said.code == Some(0) && said.text().trim().is_empty() && said.err.is_empty(),
                    "{name} for Kubernetes {kubernetes}: {}{}",
                    said.text(),
                    said.err
                );
            }
        }
        Ok(())
    })
}

#[test]
fn the_chart_has_the_version_of_the_programs() -> anyhow::Result<()> {
    let workspace = read("Cargo.toml")?;
    let version = workspace.lines().find_map(|line| line.strip_prefix("version = ")).unwrap_or_default();
    let chart = read("charts/sorcha-operator/Chart.yaml")?;
    for key in ["version", "appVersion"] {
        let line = format!("{key}: {}", version.trim_matches('"'));
        ensure!(chart.lines().any(|found| found == line), "Chart.yaml has no line `{line}`");
    }
    Ok(())
}

#[test]
fn an_older_kubernetes_is_refused() -> anyhow::Result<()> {
    with_every_helm("an_older_kubernetes_is_refused", |helm| {
        let Err(error) = helm.template("1.32.9", &[]) else { anyhow::bail!("1.32.9 is too old") };
        ensure!(format!("{error:#}").contains("requires kubeVersion: >=1.33.0"), "{error:#}");
        Ok(())
    })
}
