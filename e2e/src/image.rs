//! Images as `cargo xtask image` writes them: where they lie, and what is in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::programs;

/// Says why there is none, for [`crate::skip!`].
pub const MISSING: &str = "no image here: run `cargo xtask image`";

/// The archive of a program's image, of kind `oci` or `docker`, where one has been written.
pub fn archive(program: &str, kind: &str) -> Option<PathBuf> {
    let name = format!("images/{program}.{kind}.tar");
    let directory = programs::directory();
    directory.ancestors().map(|at| at.join(&name)).find(|path| path.is_file())
}

/// Unpacks with owners and modes where the caller is root.
pub fn untar(archive: &Path, into: &Path) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    programs::run(tar.arg("-xpf").arg(archive).arg("-C").arg(into))?.ok()?;
    Ok(())
}

/// Unpacks an OCI archive into `archive`, the files of its image into `root`; the image's configuration.
pub fn unpack(oci: &Path, archive: &Path, root: &Path) -> anyhow::Result<Value> {
    untar(oci, archive)?;
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        Ok::<_, anyhow::Error>(
            archive.join("blobs/sha256").join(digest.context("a descriptor has a digest")?),
        )
    };
    let read = |path: PathBuf| Ok::<Value, anyhow::Error>(serde_json::from_slice(&std::fs::read(path)?)?);
    let index = read(archive.join("index.json"))?;
    let manifest = read(blob(&index["manifests"][0])?)?;
    let layers = manifest["layers"].as_array().context("an image has layers")?;
    ensure!(!layers.is_empty(), "the image has no layer");
    for layer in layers {
        untar(&blob(layer)?, root)?;
    }
    read(blob(&manifest["config"])?)
}
