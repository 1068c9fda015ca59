//! The configuration file as the verbs read it, and `config check`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use sorcha_peer_config::{Config, Loaded, Mode, Surroundings};

use crate::cli::cert;
use crate::cli::console::{Console, Failure, Format};

/// Where the file lies unless the command line says otherwise.
pub const FILE_DEFAULT: &str = "/etc/sorcha/peer.yaml";
/// Variables of the command line, which say nothing about the peer itself.
const OWN_VARIABLES: [&str; 2] = ["SORCHA_API", "SORCHA_ENDPOINTS"];

/// Reads a file with the environment over it; `name` goes before both. All problems at once, one per line.
pub fn load(file: &Path, name: Option<&str>, mode: Mode) -> Result<Loaded, Failure> {
    load_with_digest(file, name, mode).map(|(loaded, _)| loaded)
}

/// As [`load`], with the SHA-256 of the file as it was read.
pub fn load_with_digest(file: &Path, name: Option<&str>, mode: Mode) -> Result<(Loaded, [u8; 32]), Failure> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| {
        let name = match mode {
            Mode::Run => "with --config",
            Mode::Check => "after `config check`",
        };
        Failure::Usage(format!("{shown} cannot be read: {error}; name the configuration file {name}"))
    };
    let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
    let max = sorcha_peer_config::FILE_BYTES_MAX;
    if bytes > max as u64 {
        return Err(Failure::Usage(format!("{shown} has {bytes} bytes; a configuration has at most {max}")));
    }
    let yaml = std::fs::read_to_string(file).map_err(unreadable)?;
    let loaded = sorcha_peer_config::load(&yaml, &surroundings(name), mode).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(|problem| format!("{shown}: {problem}")).collect();
        Failure::Usage(lines.join("\n"))
    })?;
    Ok((loaded, Sha256::digest(yaml.as_bytes()).into()))
}

fn surroundings(name: Option<&str>) -> Surroundings {
    let ours = |key: &str| {
        let is_ours = key.starts_with("SORCHA_") && !OWN_VARIABLES.contains(&key);
        is_ours || sorcha_peer_config::VARIABLES.as_flattened().contains(&key)
    };
    let mut environment: std::collections::BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| ours(key))
        .collect();
    if let Some(name) = name {
        environment.insert("SORCHA_NAME".to_owned(), name.to_owned());
    }
    Surroundings { environment, host_name: host_name() }
}

/// The name of this machine or pod: the default of `name`.
pub(super) fn host_name() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
}

/// What `config check` found, where the file itself is sound.
#[derive(Debug, Serialize)]
struct Checked {
    file: PathBuf,
    uri: String,
    warnings: Vec<String>,
    /// As a sentence; `None` where the certificates lie elsewhere.
    certificate: Option<String>,
}

pub(super) fn check(file: &Path, format: Format, console: &mut Console<'_>) -> Result<(), Failure> {
    let Loaded { config, warnings } = load(file, None, Mode::Check)?;
    let certificate = certificate(&config)?;
    let warnings = warnings.iter().map(ToString::to_string).collect();
    let checked = Checked { file: file.to_owned(), uri: config.uri(), warnings, certificate };
    if format != Format::Table {
        return console.value(format, &checked);
    }
    for warning in &checked.warnings {
        writeln!(console.err, "{}: {}", file.display(), crate::cli::escape::text(warning))?;
    }
    writeln!(console.out, "{} is a sound configuration of {}", file.display(), checked.uri)?;
    let directory = config.tls_directory.display();
    match &checked.certificate {
        Some(certificate) => writeln!(console.out, "{certificate}")?,
        None => writeln!(console.out, "its certificates were not checked: there is no {directory} here")?,
    }
    Ok(())
}

/// Where the certificate directory is here, it must fit the configuration.
fn certificate(config: &Config) -> Result<Option<String>, Failure> {
    if !config.tls_directory.exists() {
        return Ok(None);
    }
    let checked = cert::check_directory(&config.tls_directory, &config.name)?;
    let (found, wanted) = (&checked.uri, config.uri());
    if *found != wanted {
        return Err(Failure::Usage(format!(
            "{} is the certificate of {found}, but the configuration is of {wanted}: issue one with `sorcha-peer cert issue --uri {wanted}`, or correct networkId, trustDomain and name",
            checked.certificate.display()
        )));
    }
    Ok(Some(format!("its certificate is valid until {:.0}", checked.not_after)))
}
