//! `sorcha-operator smoke` where it cannot succeed: no operator runs here, and no pod. What it does with both is the
//! cluster tier's matter.

use anyhow::ensure;
use sorcha_e2e::apiserver::ApiServer;
use sorcha_e2e::programs::{self, Said};

use crate::install::on_every_server_with_definition;

fn smoke(server: &ApiServer, namespace: &str, more: &[&str]) -> anyhow::Result<Said> {
    let kubeconfig = server.kubeconfig();
    let args = ["smoke", "--kubeconfig", &kubeconfig.to_string_lossy(), "--namespace", namespace];
    programs::operator(&[&args, more].concat())
}

#[test]
fn without_an_operator_it_says_so_in_time_and_leaves_nothing() -> anyhow::Result<()> {
    on_every_server_with_definition("without_an_operator_it_says_so", |server, namespace| {
        let said = smoke(server, namespace, &["--deadline", "10"])?;
        ensure!(said.code == Some(5), "{said:?}");
        ensure!(said.err.contains("not within 10 s: a network that is ready"), "{}", said.err);
        ensure!(said.err.contains("no operator looks after this namespace"), "{}", said.err);
        let left = server.kubectl(&["get", "spn", "-n", namespace, "-o", "name"])?.ok()?.text();
        ensure!(left.is_empty(), "left: {left}");
        Ok(())
    })
}

#[test]
fn a_network_of_somebody_is_left_alone() -> anyhow::Result<()> {
    on_every_server_with_definition("a_network_of_somebody", |server, namespace| {
        let manifest =
            "apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\nmetadata: {name: mine}\nspec: {}\n";
        server.kubectl_with(&["apply", "--server-side", "-n", namespace], manifest)?.ok()?;
        let said = smoke(server, namespace, &["--name", "mine", "--deadline", "10"])?;
        ensure!(said.code == Some(4), "{said:?}");
        ensure!(said.err.contains("has a network mine that no smoke test made"), "{}", said.err);
        server.kubectl(&["get", "spn/mine", "-n", namespace])?.ok()?;
        Ok(())
    })
}

#[test]
fn a_kubeconfig_that_is_not_there_is_named() -> anyhow::Result<()> {
    let nowhere = ["smoke", "--kubeconfig", "nowhere", "--namespace", "default"];
    let said = programs::operator(&nowhere)?;
    ensure!(said.code == Some(2) && said.err.contains("nowhere"), "{said:?}");
    Ok(())
}
