//! A manifest from YAML text, for people: what is wrong is said with its line, its path and the way out.
//!
//! Knows YAML and the schema's shape: which fields there are and of what type. Ranges, lengths and patterns are
//! [`crate::bounds`]; rules across fields are `sorcha-operator-plan`'s.

mod node;
mod shape;

use std::fmt;

use crate::{API_VERSION, KIND, SorchaPeerNetwork};
pub(crate) use node::excerpt;
use node::{Node, Value};

/// Longest manifest in bytes, as much as etcd takes by default.
pub(crate) const MANIFEST_BYTES_MAX: usize = 1_572_864;

/// Why a text is no manifest. Nothing was changed; correct the text and try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The text is longer than the API server would take.
    #[error("the manifest has {0} bytes; at most {MANIFEST_BYTES_MAX} are read.")]
    TooLong(usize),
    /// The text is not YAML.
    #[error("the manifest is not YAML: {0}")]
    Yaml(String),
    /// There is nothing in the text.
    #[error("the manifest is empty; crds/examples/quickstart.yaml shows one.")]
    Empty,
    /// More than one document, namespaces apart.
    #[error(
        "the manifest holds {0} documents divided by `---`; this command reads one network at a time: \
         put each into a file of its own."
    )]
    SeveralDocuments(usize),
    /// Some fields are wrong.
    #[error("{}", Problem::list(.0))]
    Fields(Vec<Problem>),
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `spec.limits.linksMax`.
    pub path: String,
    /// Line of the text, from 1, where the manifest was read from text.
    pub line: Option<u64>,
    /// What is wrong with which value, and the way out.
    pub message: String,
}

impl Problem {
    /// Without a line.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: None, message: message.into() }
    }

    pub(crate) fn at(line: u64, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: (line > 0).then_some(line), message: message.into() }
    }

    /// Problems as lines of text, one each.
    pub fn list(problems: &[Self]) -> String {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(out, "line {line}: ")?;
        }
        write!(out, "{}: {}", self.path, self.message)
    }
}

/// Reads one manifest; a Namespace beside it in the text is passed over. What is left out (or null) takes its default. Fields, types, `apiVersion` and `kind` are
/// right afterwards; ranges and rules are not checked yet.
pub fn load(text: &str) -> Result<SorchaPeerNetwork, ManifestError> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLong(text.len()));
    }
    let mut documents: Vec<Node> =
        serde_saphyr::from_multiple(text).map_err(|error| yaml_error(text, &error))?;
    documents.retain(|document| !matches!(document.value, Value::Null) && !is_namespace(document));
    let document = match documents.len() {
        0 => return Err(ManifestError::Empty),
        1 => documents.remove(0),
        count => return Err(ManifestError::SeveralDocuments(count)),
    };
    let problems = shape::problems(&document);
    if !problems.is_empty() {
        return Err(ManifestError::Fields(problems));
    }
    let json = document.into_json();
    serde_json::from_value(json)
        .map_err(|error| ManifestError::Fields(vec![Problem::new("manifest", format!("{error}."))]))
}

/// A file for `kubectl apply` may hold the namespace beside the network.
fn is_namespace(document: &Node) -> bool {
    let Value::Map(fields) = &document.value else { return false };
    let says = |name: &str, wanted: &str| {
        let is = |node: &Node| matches!(&node.value, Value::Text(text) if text == wanted);
        fields.iter().any(|(key, node)| key.name == name && is(node))
    };
    says("apiVersion", "v1") && says("kind", "Namespace")
}

/// The parser's sentence without its picture of the text.
fn yaml_error(text: &str, error: &serde_saphyr::Error) -> ManifestError {
    let error = error.without_snippet();
    if let serde_saphyr::Error::DuplicateMappingKey { location, .. } = error {
        let line = location.line();
        let written = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
        let key = written.and_then(|line| line.split(':').next()).unwrap_or_default();
        let path = key.trim_matches(|c: char| c.is_whitespace() || "-{\"'".contains(c));
        let path = if path.is_empty() { "manifest" } else { path };
        let message = "this field is given twice: take one of them away.";
        return ManifestError::Fields(vec![Problem::at(line, path, message)]);
    }
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default().trim_end_matches('.');
    ManifestError::Yaml(format!("{message}."))
}

/// `apiVersion` and `kind` that another tool would take for ours.
fn header_problems(document: &[(node::Key, Node)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match document.iter().find(|(key, _)| key.name == field).map(|(_, node)| node) {
            None => problems.push(Problem::new(field, format!("is missing; write `{field}: {wanted}`."))),
            Some(Node { value: Value::Text(text), .. }) if text == wanted => {}
            Some(node) => problems.push(Problem::at(
                node.line,
                field,
                format!("{} is not read here; write `{field}: {wanted}`.", node.value),
            )),
        }
    }
    problems
}
