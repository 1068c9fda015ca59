//! An image as the two kinds of archive that container engines load, byte for byte the same for the same content.
//!
//! Knows the formats: OCI image layout 1.0 (what containerd, Podman and registries' tools take) and that of
//! `docker save` (Docker before 25 takes no other). What is in an image is known to `mod.rs`.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tar::Tar;

/// What an image is called and holds.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// With its registry where it has one: `sorcha-peer`.
    pub(super) name: String,
    /// Such as `0.1.0`.
    pub(super) tag: String,
    /// All of its files, as a tar archive.
    pub(super) layer: Vec<u8>,
    /// `config` of the image's configuration: user, entrypoint, labels (OCI image-spec 1.0, config.md).
    pub(super) config: Value,
    /// In Go's words, such as `amd64`.
    pub(super) architecture: &'static str,
}

/// Both archives of an image and its id.
#[derive(Debug, Clone)]
pub(super) struct Archives {
    /// Digest of the configuration: what `docker images` and `crictl images` show.
    pub(super) id: String,
    pub(super) oci: Vec<u8>,
    pub(super) docker: Vec<u8>,
}

/// SHA-256, hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Image {
    /// Both archives.
    pub(super) fn archives(&self) -> Result<Archives> {
        let layer = digest(&self.layer);
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            // Fixed, so that the same content is the same image.
            "created": "1970-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image"}],
        })
        .to_string();
        let id = digest(config.as_bytes());
        let oci = self.oci(&layer, &id, config.as_bytes())?;
        let docker = self.docker(&layer, &id, config.as_bytes())?;
        Ok(Archives { id, oci, docker })
    }

    fn oci(&self, layer: &str, id: &str, config: &[u8]) -> Result<Vec<u8>> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{id}"),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": format!("sha256:{layer}"),
                "size": self.layer.len(),
            }],
        })
        .to_string();
        let manifest_digest = digest(manifest.as_bytes());
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": format!("sha256:{manifest_digest}"),
                "size": manifest.len(),
                "platform": {"architecture": self.architecture, "os": "linux"},
                "annotations": {
                    "org.opencontainers.image.ref.name": self.tag,
                    // What containerd takes as the whole name.
                    "io.containerd.image.name": self.whole_name(),
                },
            }],
        })
        .to_string();
        let mut tar = Tar::default();
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar.file("index.json", 0o644, index.as_bytes())?;
        tar.directory("blobs", 0o755, super::tar::ROOT)?;
        tar.directory("blobs/sha256", 0o755, super::tar::ROOT)?;
        let blobs = [(manifest_digest.as_str(), manifest.as_bytes()), (id, config), (layer, &self.layer)];
        for (name, content) in blobs {
            tar.file(&format!("blobs/sha256/{name}"), 0o644, content)?;
        }
        Ok(tar.finish())
    }

    /// With the registry and the folder that stand for none.
    fn whole_name(&self) -> String {
        let registry = if self.name.contains('/') { "" } else { "docker.io/library/" };
        format!("{registry}{}:{}", self.name, self.tag)
    }

    fn docker(&self, layer: &str, id: &str, config: &[u8]) -> Result<Vec<u8>> {
        let manifest = json!([{
            "Config": format!("{id}.json"),
            "RepoTags": [format!("{}:{}", self.name, self.tag)],
            "Layers": [format!("{layer}/layer.tar")],
        }])
        .to_string();
        let mut tar = Tar::default();
        tar.file("manifest.json", 0o644, manifest.as_bytes())?;
        tar.file(&format!("{id}.json"), 0o644, config)?;
        tar.directory(layer, 0o755, super::tar::ROOT)?;
        tar.file(&format!("{layer}/layer.tar"), 0o644, &self.layer)?;
        Ok(tar.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn image() -> Image {
        let mut layer = Tar::default();
        layer.file("program", 0o755, b"content").expect("it fits");
        Image {
            name: "sorcha-peer".to_owned(),
            tag: "0.1.0".to_owned(),
            layer: layer.finish(),
            config: json!({"User": "65532:65532"}),
            architecture: "amd64",
        }
    }

    /// Unpacks it with the machine's tar.
    fn unpack(archive: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("archive.tar");
        std::fs::write(&path, archive).expect("it can be written");
        let tar =
            std::process::Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(directory.path()).status();
        assert!(tar.expect("tar is there").success());
        directory
    }

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("it is JSON")
    }

    #[test]
    fn every_digest_of_the_oci_archive_is_that_of_its_blob() {
        let archives = image().archives().expect("it fits");
        let at = unpack(&archives.oci);
        let blob = |descriptor: &Value| {
            let named = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
            let named = named.expect("a descriptor has a digest");
            let path = at.path().join("blobs/sha256").join(named);
            let content = std::fs::read(&path).expect("the blob is there");
            assert_eq!(digest(&content), named);
            assert_eq!(descriptor["size"], content.len());
            path
        };
        let index = read(&at.path().join("index.json"));
        let manifest = read(&blob(&index["manifests"][0]));
        let config = read(&blob(&manifest["config"]));
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(std::fs::read(layer).expect("it is there"), image().layer);
        assert_eq!(manifest["config"]["digest"], format!("sha256:{}", archives.id));
        assert_eq!(config["config"]["User"], "65532:65532");
    }

    #[test]
    fn the_docker_archive_names_what_it_holds() {
        let archives = image().archives().expect("it fits");
        let at = unpack(&archives.docker);
        let manifest = read(&at.path().join("manifest.json"));
        assert_eq!(manifest[0]["RepoTags"][0], "sorcha-peer:0.1.0");
        let path = |value: &Value| at.path().join(value.as_str().expect("it is a path"));
        let config = std::fs::read(path(&manifest[0]["Config"])).expect("it is there");
        assert_eq!(digest(&config), archives.id);
        let layer = std::fs::read(path(&manifest[0]["Layers"][0])).expect("it is there");
        let config: Value = serde_json::from_slice(&config).expect("it is JSON");
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest(&layer)));
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let (one, other) = (image().archives().expect("it fits"), image().archives().expect("it fits"));
        assert!(one.oci == other.oci && one.docker == other.docker);
    }
}
