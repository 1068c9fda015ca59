//! The test vectors as somebody else reads them: another implementation of the protocol's arithmetic agrees with every value.

use std::path::Path;
use std::process::Command;

use sorcha_e2e::{programs, skip};

#[test]
fn another_implementation_agrees_with_the_vectors() -> anyhow::Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/vectors/check.py");
    // Big integers with an inverse modulo came with 3.8.
    let mut version = Command::new("python3");
    version.args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"]);
    if !programs::run(&mut version).is_ok_and(|said| said.code == Some(0)) {
        skip!("another_implementation_agrees_with_the_vectors", "python3 (3.8 or later) is missing");
    }
    let said = programs::run(Command::new("python3").arg(script))?.ok()?;
    assert!(said.text().lines().all(|line| line.ends_with("values agree")), "{}", said.text());
    assert!(said.text().lines().count() > 9, "{}", said.text());
    Ok(())
}
