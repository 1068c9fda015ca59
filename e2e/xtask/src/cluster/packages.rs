//! What the node needs of the machine's distribution, installed where it is missing and can be.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::shell::{output, say};

/// A file that shows that a package of Debian is there, and the package.
const NEEDED: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// Directories of programs, also those that are in root's PATH alone.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Packages that are not there.
fn missing() -> Vec<&'static str> {
    NEEDED.iter().filter(|(file, _)| !is_there(file)).map(|(_, package)| *package).collect()
}

/// An error says what is missing and cannot be installed from here.
pub(super) fn check() -> Result<()> {
    let missing = missing();
    if !missing.is_empty() && !is_there("apt-get") {
        let list = missing.join(" ");
        bail!("a node needs programs that are missing here: install what Debian calls {list}");
    }
    Ok(())
}

/// Installs what is missing.
pub(super) fn ensure() -> Result<()> {
    check()?;
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("Installing {}", missing.join(" ")));
    let apt = |args: &[&str]| -> Result<String> {
        let mut apt = Command::new("apt-get");
        output(
            apt.args(["-qq", "-o", "Dpkg::Use-Pty=0"])
                .args(args)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null()),
        )
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())?;
    Ok(())
}

fn is_there(file: &str) -> bool {
    if file.starts_with('/') {
        return Path::new(file).exists();
    }
    DIRECTORIES.iter().any(|directory| Path::new(directory).join(file).exists())
}
