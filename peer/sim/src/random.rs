//! Chance: one seed, and from it a generator or a hash for each thing that needs one.
//!
//! Every draw is named by what it is for, so that a further peer, link or frame shifts no other draw.
//! It knows nothing of what is drawn for.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// A generator of its own for object number `index` of this `kind`.
pub fn child(seed: u64, kind: &str, index: u64) -> ChaCha8Rng {
    let digest = Sha256::new()
        .chain_update(b"sorcha-sim-v1")
        .chain_update(seed.to_le_bytes())
        .chain_update(index.to_le_bytes())
        .chain_update(kind.as_bytes())
        .finalize();
    ChaCha8Rng::from_seed(digest.into())
}

/// What a hash is drawn for; part of the draw, so that no two purposes share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Base delay of a directed pair.
    PairDelay = 1,
    /// Jitter of one frame.
    Jitter = 2,
    /// Whether one frame is shed.
    Drop = 3,
    /// Whether one segment is lost.
    Loss = 4,
    /// When a stalled direction wakes after a partition.
    Wake = 5,
    /// Whether a commit under way at a crash has landed.
    Landed = 6,
    /// Seed of a peer's own generator.
    PeerSeed = 7,
}

/// A number from `[0, 1)` for draw number `draw` of the pair or direction (`a`, `b`).
pub fn unit(seed: u64, purpose: Purpose, a: u64, b: u64, draw: u64) -> f64 {
    // 53 bits fill a double's mantissa.
    (word(seed, purpose, a, b, draw) >> 11) as f64 / (1_u64 << 53) as f64
}

/// 64 bits for the same.
pub fn word(seed: u64, purpose: Purpose, a: u64, b: u64, draw: u64) -> u64 {
    let mut state = seed ^ 0x5851_f42d_4c95_7f2d;
    for part in [purpose as u64, a, b, draw] {
        state = mix(state ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    state
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), on a moved state.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn children_of_one_seed_differ_by_kind_and_index() {
        let draw = |seed, kind, index| child(seed, kind, index).random::<u64>();
        assert_eq!(draw(1, "peer", 0), draw(1, "peer", 0));
        assert_ne!(draw(1, "peer", 0), draw(1, "peer", 1));
        assert_ne!(draw(1, "peer", 0), draw(1, "disk", 0));
        assert_ne!(draw(1, "peer", 0), draw(2, "peer", 0));
    }

    #[test]
    fn units_fill_the_interval_evenly() {
        let mut tenths = [0_u32; 10];
        for draw in 0..10_000 {
            tenths[(unit(7, Purpose::Jitter, 3, 4, draw) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }
}
