//! Finding the peer's program.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::error::LocalError;

/// The program's file name.
const NAME: &str = "sorcha-peer";

/// The flag's file; else `sorcha-peer` beside this program; else the first on `PATH`.
pub(super) fn find(
    flag: Option<&Path>,
    own_program: Option<&Path>,
    path: Option<&OsStr>,
) -> Result<PathBuf, LocalError> {
    if let Some(flag) = flag {
        return if is_executable(flag) {
            std::path::absolute(flag).map_err(LocalError::state("finding the path of", flag))
        } else {
            Err(LocalError::NotExecutable(flag.to_owned()))
        };
    }
    let beside = own_program.and_then(Path::parent).map(|directory| directory.join(NAME));
    let on_path = path.into_iter().flat_map(std::env::split_paths).map(|directory| directory.join(NAME));
    beside.clone().into_iter().chain(on_path).find(|candidate| is_executable(candidate)).ok_or_else(|| {
        let place = beside
            .as_deref()
            .and_then(Path::parent)
            .map_or_else(String::new, |directory| format!("in {} nor ", directory.display()));
        LocalError::NoPeer(format!(
            "the program {NAME} is neither {place}on PATH; build it with `cargo build --release -p {NAME}` or \
             name it with --peer-binary"
        ))
    })
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(directory: &Path, mode: u32) -> PathBuf {
        fs::create_dir_all(directory).expect("made");
        let path = directory.join(NAME);
        fs::write(&path, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
        path
    }

    #[test]
    fn the_peer_is_found_by_flag_then_beside_then_on_the_path() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let by_flag = program(&root.path().join("flag"), 0o755);
        let beside = program(&root.path().join("bin"), 0o755);
        let on_path = program(&root.path().join("path"), 0o755);
        let own = root.path().join("bin/sorcha-operator");
        let path = on_path.parent().expect("a directory").as_os_str().to_owned();
        assert_eq!(find(Some(&by_flag), Some(&own), Some(&path)).expect("found"), by_flag);
        assert_eq!(find(None, Some(&own), Some(&path)).expect("found"), beside);

        program(&root.path().join("bin"), 0o644);
        assert_eq!(find(None, Some(&own), Some(&path)).expect("found"), on_path);
    }

    #[test]
    fn a_missing_peer_is_a_sentence_that_names_the_way_out() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let own = root.path().join("sorcha-operator");
        let sentence = find(None, Some(&own), None).expect_err("nothing there").to_string();
        let expected = format!("the program sorcha-peer is neither in {} nor on PATH", root.path().display());
        assert!(sentence.starts_with(&expected), "{sentence}");
        assert!(sentence.contains("--peer-binary"), "{sentence}");

        let named = root.path().join("nothing");
        let sentence = find(Some(&named), None, None).expect_err("nothing there").to_string();
        assert_eq!(sentence, format!("--peer-binary {} is not an executable file", named.display()));
    }
}
