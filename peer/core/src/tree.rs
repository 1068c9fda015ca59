//! The Merkle tree over a body's chunks (RFC 9162 § 2.1, SHA-256), so that each chunk is verifiable on its own.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::payload::Payload;
use crate::types::{Hash, bounds::CHUNK_BYTES};

/// A body with its leaves, computed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    payload: Payload,
    leaves: Vec<Hash>,
}

impl Body {
    /// Hashes every chunk; about 1 ms per MiB.
    pub fn new(bytes: Bytes) -> Self {
        Self::of(bytes.into())
    }

    /// The same, of bytes that may also be there as they travel.
    pub fn of(payload: Payload) -> Self {
        let bytes = payload.plain();
        let leaves =
            if bytes.is_empty() { vec![leaf(&[])] } else { bytes.chunks(CHUNK_BYTES).map(leaf).collect() };
        Self { payload, leaves }
    }

    /// A body whose chunks were verified one by one against the root of these leaves.
    pub fn from_verified(bytes: Bytes, leaves: Vec<Hash>) -> Self {
        Self { payload: bytes.into(), leaves }
    }

    /// The whole body.
    pub fn bytes(&self) -> &Bytes {
        self.payload.plain()
    }

    /// The whole body, and how it travels.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// One hash per chunk, in order; one for the empty body.
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// The root that the header carries.
    pub fn root(&self) -> Hash {
        root(&self.leaves)
    }
}

/// How many chunks a body of this length has: at least one.
pub fn chunk_count(body_bytes: u64) -> u64 {
    body_bytes.div_ceil(CHUNK_BYTES as u64).max(1)
}

/// Hash of a leaf: `SHA-256(0x00 || chunk)`.
pub fn leaf(chunk: &[u8]) -> Hash {
    Hash::from_bytes(Sha256::new().chain_update([0]).chain_update(chunk).finalize().into())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let digest = Sha256::new()
        .chain_update([1])
        .chain_update(left.as_bytes())
        .chain_update(right.as_bytes())
        .finalize();
    Hash::from_bytes(digest.into())
}

/// Root of the tree over `leaves` (RFC 9162 § 2.1.1).
///
/// # Panics
/// On an empty slice: a body always has a leaf.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => panic!("a chunk tree has at least one leaf"),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// Inclusion proof of leaf `index` (RFC 9162 § 2.1.3.1), leaf side first; `None` where there is no such leaf.
pub fn proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    collect(leaves, index, &mut path);
    Some(path)
}

fn collect(leaves: &[Hash], index: usize, path: &mut Vec<Hash>) {
    if leaves.len() <= 1 {
        return;
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    if index < at {
        collect(left, index, path);
        path.push(root(right));
    } else {
        collect(right, index - at, path);
        path.push(root(left));
    }
}

/// The whole tree by levels, leaves first, the root alone in the last: the parent of nodes `2i` and `2i + 1` is node `i`
/// of the next level, and a last node without a sibling rises unchanged. For those who keep the tree of a large
/// body, so that a proof costs a few reads (see [`proof_nodes`]).
pub fn levels(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let above = below.chunks(2).map(|pair| match pair {
            [left, right] => node(left, right),
            rest => rest[0],
        });
        levels.push(above.collect());
    }
    levels
}

/// Which nodes of [`levels`] the proof of leaf `index` of `count` consists of: (level, place in it), leaf side first.
pub fn proof_nodes(index: u64, count: u64) -> Vec<(u32, u64)> {
    let (mut at, mut length, mut level) = (index, count, 0);
    let mut nodes = Vec::new();
    while length > 1 {
        if at ^ 1 < length {
            nodes.push((level, at ^ 1));
        }
        (at, length, level) = (at >> 1, length.div_ceil(2), level + 1);
    }
    nodes
}

/// Whether `proof` shows that `leaf` stands at `index` of the tree of `count` leaves with this root
/// (RFC 9162 § 2.1.3.2).
pub fn verify(leaf: Hash, index: u64, count: u64, proof: &[Hash], expected: &Hash) -> bool {
    root_by_proof(leaf, index, count, proof).is_some_and(|root| root == *expected)
}

/// The root of the tree of `count` leaves where `leaf` stands at `index`, as `proof` has it (RFC 9162 § 2.1.3.2); `None`
/// where the proof is of another length, or there is no such place.
pub fn root_by_proof(leaf: Hash, index: u64, count: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let (mut at, mut last) = (index, count - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// The largest power of two smaller than `count` (`count` >= 2).
fn split(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_of_every_size_verifies_and_no_other_place_does() {
        for count in 1..=40_u64 {
            let leaves: Vec<Hash> = (0..count).map(|i| leaf(&i.to_le_bytes())).collect();
            let root = root(&leaves);
            for index in 0..count {
                let proof = proof(&leaves, index as usize).expect("the leaf exists");
                let leaf = leaves[index as usize];
                assert!(verify(leaf, index, count, &proof, &root), "{index} of {count}");
                assert!(count == 1 || !verify(leaf, (index + 1) % count, count, &proof, &root));
                assert!(!verify(self::leaf(b"other"), index, count, &proof, &root));
            }
        }
    }

    #[test]
    fn a_proof_is_read_off_the_levels() {
        for count in 1..=40_u64 {
            let leaves: Vec<Hash> = (0..count).map(|i| leaf(&i.to_le_bytes())).collect();
            let levels = levels(leaves.clone());
            assert_eq!(levels.last(), Some(&vec![root(&leaves)]));
            for index in 0..count {
                let nodes = proof_nodes(index, count);
                let read = nodes.iter().map(|(level, at)| levels[*level as usize][*at as usize]).collect();
                assert_eq!(proof(&leaves, index as usize), Some(read), "{index} of {count}");
            }
        }
    }

    #[test]
    fn the_empty_body_has_one_leaf() {
        assert_eq!(Body::new(Bytes::new()).leaves(), [leaf(&[])]);
        assert_eq!(chunk_count(0), 1);
    }

    #[test]
    fn a_body_is_cut_at_16_kib() {
        let body = Body::new(Bytes::from(vec![7; 2 * CHUNK_BYTES + 1]));
        assert_eq!(body.leaves().len(), 3);
        assert_eq!(chunk_count(body.bytes().len() as u64), 3);
    }
}
