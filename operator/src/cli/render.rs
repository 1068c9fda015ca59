//! `sorcha-operator render`: the objects that a cluster would be given for a manifest, without a cluster.
//!
//! Knows files and arguments; what the objects are is the plan's.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sorcha_operator_plan::check::check_network;
use sorcha_operator_plan::plan::plan;
use sorcha_operator_plan::{ObservedNetwork, render, validate};

use super::{Exit, Failure};

/// Arguments of `sorcha-operator render`.
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// The manifest; `-` reads standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: PathBuf,
    /// Namespace of the objects, where the manifest names none [default: default].
    #[arg(short = 'n', long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Image of the peers, where the manifest names none [default: the one of this version].
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Form of the output.
    #[arg(short = 'o', long = "output", value_name = "FORM", default_value = "yaml")]
    pub output: Form,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Documents divided by `---`.
    Yaml,
    /// One `List`.
    Json,
}

/// Prints the objects; says what is wrong with the manifest otherwise.
pub fn run(args: &RenderArgs) -> Result<(), Failure> {
    let text = rendered(&read(&args.file)?, args)?;
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|error| {
        Failure::new(Exit::Failed, anyhow::Error::new(error).context("the objects cannot be written"))
    })
}

fn usage(sentence: String) -> Failure {
    Failure::usage(anyhow::Error::msg(sentence))
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let outcome = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut open| open.read_to_string(&mut text))
    };
    match outcome {
        Ok(_) => Ok(text),
        Err(error) => Err(usage(format!(
            "{} cannot be read: {error}. Give a readable file with -f, or `-f -` for standard input.",
            file.display()
        ))),
    }
}

fn rendered(manifest: &str, args: &RenderArgs) -> Result<String, Failure> {
    let name = if args.file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        args.file.display().to_string()
    };
    let input = |error: &dyn std::fmt::Display| usage(format!("{name} is not a usable manifest.\n{error}"));
    let mut manifest = sorcha_crds::load(manifest).map_err(|error| input(&error))?;
    if let Some(namespace) = &args.namespace {
        let named = manifest.metadata.namespace.get_or_insert_with(|| namespace.clone());
        if named != namespace {
            return Err(usage(format!(
                "--namespace {namespace} contradicts metadata.namespace of the manifest, {named}: leave one away."
            )));
        }
    }
    if let (None, Some(image)) = (&manifest.spec.image, &args.image) {
        manifest.spec.image = Some(image.clone());
    }
    let network = validate(&manifest).map_err(|error| input(&error))?;
    let plan = plan(&network, &ObservedNetwork::empty(&network)).map_err(|error| input(&error))?;
    if let Some(broken) = check_network(&plan, &network).first() {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("the plan contradicts itself, a mistake of this program: {broken}"),
        ));
    }
    Ok(match args.output {
        Form::Yaml => render::to_yaml(&plan),
        Form::Json => render::to_json(&plan),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(namespace: Option<&str>, image: Option<&str>) -> RenderArgs {
        RenderArgs {
            file: PathBuf::from("network.yaml"),
            namespace: namespace.map(str::to_owned),
            image: image.map(str::to_owned),
            output: Form::Yaml,
        }
    }

    fn refusal(manifest: &str, args: &RenderArgs) -> String {
        let failure = rendered(manifest, args).expect_err("the input is wrong");
        assert_eq!(failure.exit, Exit::Usage);
        failure.to_string()
    }

    #[test]
    fn arguments_fill_what_the_manifest_leaves_open() {
        let text =
            rendered(sorcha_crds::QUICKSTART, &args(Some("ledger"), Some("a/b:1"))).expect("all is well");
        assert!(text.contains("namespace: ledger") && !text.contains("namespace: default"));
        assert!(text.contains("image: a/b:1"));
        let text = rendered(sorcha_crds::EVERYTHING, &args(None, Some("a/b:1"))).expect("all is well");
        assert!(!text.contains("a/b:1"), "the manifest's image comes first");
    }

    #[test]
    fn wrong_input_is_refused_with_sentences() {
        assert_eq!(
            refusal(&sorcha_crds::QUICKSTART.replace("replicas: 5", "replicas: -1"), &args(None, None)),
            "network.yaml is not a usable manifest.\n\
             spec.replicas: -1 is below 0: give a whole number from 0 to 10000."
        );
        assert_eq!(
            refusal(sorcha_crds::EVERYTHING, &args(Some("other"), None)),
            "--namespace other contradicts metadata.namespace of the manifest, ledger: leave one away."
        );
        let piped = RenderArgs { file: PathBuf::from("-"), ..args(None, None) };
        assert!(refusal("", &piped).starts_with("standard input is not a usable manifest."));
        let missing = read(Path::new("/nowhere/network.yaml")).expect_err("there is no such file");
        assert!(missing.to_string().starts_with("/nowhere/network.yaml cannot be read: "), "{missing}");
    }
}
