//! Container images of the programs, made without a container engine: a static program and CA roots, nothing else.
//!
//! Knows what is in an image and how its program is built; `archive.rs` knows how images are written down.

mod archive;
mod tar;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::shell::{Workspace, human, run as run_command, say};
use archive::{Archives, Image};
use tar::{Owner, ROOT, Tar};

/// Build container images, as archives for `docker load`, `ctr images import` and registries' tools.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds static programs and writes, for each, an OCI archive and a docker-archive. No container engine is needed; the
same programs give the same bytes.

  docker load -i target/images/sorcha-peer.docker.tar
  ctr -n k8s.io images import target/images/sorcha-peer.oci.tar
  kind load image-archive target/images/sorcha-peer.docker.tar
  skopeo copy oci-archive:target/images/sorcha-peer.oci.tar docker://registry.example.org/sorcha-peer:0.1.0")]
pub(crate) struct Args {
    /// Which [default: both]
    program: Option<Program>,
    /// Directory to write to [default: images in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Tag of the images [default: the version]
    #[arg(long)]
    tag: Option<String>,
    /// Build nothing, take the static programs of this directory.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What there are images of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// sorcha-peer
    Peer,
    /// sorcha-operator
    Operator,
}

/// The programs' target: glibc, linked statically.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// In Go's words, as images name it.
const ARCHITECTURE: &str = "amd64";

/// Cargo's profile for them (Cargo.toml): nearly as fast as release, built in half the time.
const PROFILE: &str = "image";

/// User and group: "nobody" of distroless images, as in the pods' security context.
const USER: u32 = 65_532;

impl Program {
    pub(crate) const ALL: [Self; 2] = [Self::Peer, Self::Operator];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peer => "sorcha-peer",
            Self::Operator => "sorcha-operator",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Peer => "A peer of a Sorcha network",
            Self::Operator => "Builds networks of Sorcha peers from one manifest",
        }
    }

    /// Empty directories that the program writes to. An engine's new volume takes its owner from them.
    fn own_directories(self) -> &'static [&'static str] {
        match self {
            Self::Peer => &["var/lib/sorcha"],
            Self::Operator => &[],
        }
    }

    fn ports(self) -> &'static [&'static str] {
        match self {
            Self::Peer => &["7450/tcp", "7451/tcp", "7452/tcp"],
            Self::Operator => &["7461/tcp"],
        }
    }
}

/// Builds and writes the images.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let directory = match &args.output {
        Some(directory) => std::path::absolute(directory)?,
        None => directory(workspace)?,
    };
    let programs = args.program.map_or(Program::ALL.to_vec(), |program| vec![program]);
    match &args.programs {
        Some(built) => write_all(&programs, built, &directory, args.tag.as_deref()),
        None => build(workspace, &programs, &directory, args.tag.as_deref()),
    }
}

/// Where images are written unless the command line says otherwise.
pub(crate) fn directory(workspace: &Workspace) -> Result<PathBuf> {
    Ok(workspace.target_directory()?.join("images"))
}

/// Where the OCI archive of a program's image lies in a directory of images.
pub(crate) fn oci_archive(directory: &Path, program: Program) -> PathBuf {
    directory.join(format!("{}.oci.tar", program.name()))
}

/// The image of a program of another's making, as an OCI archive.
pub(crate) fn single(name: &str, tag: &str, binary: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Tar::default();
    layer.file("program", 0o755, binary)?;
    let image = Image {
        name: name.to_owned(),
        tag: tag.to_owned(),
        layer: layer.finish(),
        config: json!({"Entrypoint": ["/program"], "User": format!("{USER}:{USER}")}),
        architecture: ARCHITECTURE,
    };
    Ok(image.archives()?.oci)
}

/// Builds the programs and writes their images into the directory.
pub(crate) fn build(
    workspace: &Workspace,
    programs: &[Program],
    directory: &Path,
    tag: Option<&str>,
) -> Result<()> {
    let started = Instant::now();
    say("Building static programs (some minutes the first time).");
    let mut cargo = workspace.cargo(["build", "--profile", PROFILE, "--target", TARGET]);
    for program in programs {
        cargo.args(["--package", program.name(), "--bin", program.name()]);
    }
    cargo.env(flags_variable(), flags());
    run_command(&mut cargo)?;
    say(&format!("built in {}", human(started.elapsed())));
    write_all(programs, &workspace.target_directory()?.join(TARGET).join(PROFILE), directory, tag)
}

/// Writes the images of programs that are there.
fn write_all(programs: &[Program], built: &Path, directory: &Path, tag: Option<&str>) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    for program in programs {
        let path = built.join(program.name());
        let binary = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        ensure!(is_static(&binary), "{} needs a loader: it is not linked statically", path.display());
        let tag = tag.unwrap_or(env!("CARGO_PKG_VERSION"));
        let archives = image(*program, tag, &binary)?.archives()?;
        write(directory, *program, &archives)?;
        say(&format!("{}:{tag} sha256:{}", program.name(), archives.id));
    }
    say(&format!("image: {} images in {}", programs.len(), directory.display()));
    Ok(())
}

/// The variable by which cargo takes the flags for the target alone, not for build scripts and macros.
fn flags_variable() -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", TARGET.replace('-', "_").to_uppercase())
}

/// Static, and without the paths of the machine that built it.
fn flags() -> String {
    let mut flags = String::from("-C target-feature=+crt-static");
    let homes = [("CARGO_HOME", ".cargo", "cargo"), ("RUSTUP_HOME", ".rustup", "rustup")];
    for (variable, below_home, shown) in homes {
        let given = std::env::var_os(variable).map(PathBuf::from);
        let home = given.or_else(|| std::env::home_dir().map(|home| home.join(below_home)));
        if let Some(home) = home.filter(|home| !home.to_string_lossy().contains(' ')) {
            flags.extend([" --remap-path-prefix=", &home.to_string_lossy(), "=", shown]);
        }
    }
    flags
}

/// Whether an ELF file of 64 bits names no program interpreter (System V ABI, "Program Header": `PT_INTERP` is 3).
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let headers = || {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|at| number((start + at * size) as usize, 4)).collect::<Option<Vec<u64>>>()
    };
    elf.starts_with(b"\x7fELF\x02\x01") && headers().is_some_and(|kinds| !kinds.contains(&3))
}

/// Everything in it.
fn image(program: Program, tag: &str, binary: &[u8]) -> Result<Image> {
    let mut layer = Tar::default();
    layer.file(program.name(), 0o755, binary)?;
    for directory in ["etc", "etc/ssl", "etc/ssl/certs"] {
        layer.directory(directory, 0o755, ROOT)?;
    }
    layer.file("etc/ssl/certs/ca-certificates.crt", 0o644, roots().as_bytes())?;
    for directory in program.own_directories() {
        for (at, _) in directory.match_indices('/') {
            layer.directory(&directory[..at], 0o755, ROOT)?;
        }
        layer.directory(directory, 0o750, Owner(USER))?;
    }
    let ports: serde_json::Map<String, Value> =
        program.ports().iter().map(|port| ((*port).to_owned(), json!({}))).collect();
    let config = json!({
        "User": format!("{USER}:{USER}"),
        "WorkingDir": "/",
        // So that `kubectl exec POD -- sorcha-peer status` finds it.
        "Env": ["PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
        "Entrypoint": [format!("/{}", program.name())],
        "Cmd": ["run"],
        "ExposedPorts": ports,
        "Labels": {
            "org.opencontainers.image.title": program.name(),
            "org.opencontainers.image.description": program.description(),
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    });
    Ok(Image {
        name: program.name().to_owned(),
        tag: tag.to_owned(),
        layer: layer.finish(),
        config,
        architecture: ARCHITECTURE,
    })
}

/// Mozilla's roots as PEM (RFC 7468), lines of 64 characters.
fn roots() -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let encoded = base64::engine::general_purpose::STANDARD.encode(root);
        text += "-----BEGIN CERTIFICATE-----\n";
        for at in (0..encoded.len()).step_by(64) {
            text.extend([&encoded[at..encoded.len().min(at + 64)], "\n"]);
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

/// Written aside and moved, so that nobody loads half an image.
fn write(directory: &Path, program: Program, archives: &Archives) -> Result<()> {
    for (kind, bytes) in [("oci", &archives.oci), ("docker", &archives.docker)] {
        let path = directory.join(format!("{}.{kind}.tar", program.name()));
        let aside = path.with_extension("new");
        std::fs::write(&aside, bytes).with_context(|| format!("{} cannot be written", aside.display()))?;
        std::fs::rename(&aside, &path)?;
        say(&format!("{} ({} MiB)", path.display(), bytes.len() >> 20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_told_from_a_static_one() {
        let own = std::fs::read(std::env::current_exe().expect("it has a path")).expect("it can be read");
        assert!(!is_static(&own), "tests are linked dynamically");
        assert!(!is_static(b"#!/bin/sh\n"));
        assert!(!is_static(b"\x7fELF\x02\x01"), "cut off");
    }

    #[test]
    fn the_roots_are_certificates_in_pem() {
        let roots = roots();
        assert!(roots.matches("-----BEGIN CERTIFICATE-----\n").count() > 50);
        assert!(roots.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn an_image_has_the_program_roots_and_directories_and_nothing_else() {
        let image = image(Program::Peer, "1", b"program").expect("it fits");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("layer.tar");
        std::fs::write(&path, &image.layer).expect("it can be written");
        let listing = std::process::Command::new("tar").arg("-tf").arg(&path).output().expect("tar is there");
        let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
        let wanted = [
            "sorcha-peer",
            "etc/",
            "etc/ssl/",
            "etc/ssl/certs/",
            "etc/ssl/certs/ca-certificates.crt",
            "var/",
            "var/lib/",
            "var/lib/sorcha/",
        ];
        assert_eq!(listing.lines().collect::<Vec<_>>(), wanted);
        assert_eq!(image.config["User"], "65532:65532");
        assert_eq!(image.config["Entrypoint"], json!(["/sorcha-peer"]));
    }
}
