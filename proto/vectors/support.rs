//! Reading, checking and writing the files beside this one, for the tests of the crates that make them.
//!
//! `SORCHA_WRITE_VECTORS=1` writes them anew (`cargo xtask generate` sets it); a change to them is a change of the protocol.

use std::path::PathBuf;

use serde_json::Value;

fn path(name: &str) -> PathBuf {
    // Each crate that has this module lies two folders below the root.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors").join(format!("{name}.json"))
}

/// The file as it is; `None` where there is none.
pub(crate) fn read(name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(path(name)).ok()?;
    Some(serde_json::from_str(&text).expect("a vector is JSON"))
}

/// Holds the file to what this version makes, or writes it.
pub(crate) fn check(name: &str, made: &Value) {
    if std::env::var_os("SORCHA_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(made).expect("JSON") + "\n";
        std::fs::write(path(name), text).expect("the vectors can be written");
    }
    let stored = read(name).expect("the vectors are there");
    assert_eq!(
        stored, *made,
        "proto/vectors/{name}.json is not what this version makes: is the protocol to change?"
    );
}
