//! Random numbers, straight from the system call: a static program finds no other way to it where there is no `/dev`.

use ring::rand::{SecureRandom as _, SystemRandom};

/// Unpredictable bytes.
///
/// # Panics
///
/// Where the system has none to give.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// An unpredictable number.
pub(crate) fn number() -> u64 {
    u64::from_le_bytes(bytes())
}

/// Evenly between 0 and 1.
pub(crate) fn share() -> f64 {
    number() as f64 / u64::MAX as f64
}
