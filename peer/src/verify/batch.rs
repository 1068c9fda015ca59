//! One signature over several headers, so that a busy origin signs, and everybody checks, once for many transactions.
//!
//! Knows ids, trees and the bytes of the signature field; no keys. A header that is signed alone carries the DER of its
//! signature. Of several each carries, before the DER of the signature over the tree of their ids (RFC 9162 § 2.1), where
//! its own stands in it: `0x01 || count (2 bytes, big-endian) || index (2 bytes, big-endian) || inclusion proof`. DER
//! begins with 0x30, so the first byte tells the forms apart, and the proof's length follows from count and index. What
//! is signed is `BATCH_DOMAIN || count || root`. docs/protocol.md says the same to other implementations.

use bytes::{BufMut, Bytes, BytesMut};
use sorcha_peer_core::tree;
use sorcha_peer_core::types::{BATCH_DOMAIN, Hash, TxId};

/// Headers under one signature at most: a proof of eight hashes.
pub(super) const HEADERS_MAX: usize = sorcha_peer_core::types::bounds::HEADERS_PER_SIGNATURE_MAX;
/// First byte of the form with a proof.
const BATCH: u8 = 1;
const PREFIX_BYTES: usize = 5;
const HASH_BYTES: usize = 32;

/// What is to be signed for these headers, and where each stands in it.
pub(super) struct Tree {
    count: u16,
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Over `ids`, of which there are 2 to [`HEADERS_MAX`].
    pub(super) fn over(ids: impl IntoIterator<Item = TxId>) -> Self {
        let leaves: Vec<Hash> = ids.into_iter().map(|id| tree::leaf(id.as_bytes())).collect();
        let count = u16::try_from(leaves.len()).expect("at most HEADERS_MAX headers");
        Self { count, levels: tree::levels(leaves) }
    }

    /// The bytes that are signed.
    pub(super) fn message(&self) -> Vec<u8> {
        let root = self.levels.last().and_then(|top| top.first()).expect("a tree has a root");
        message(self.count, root)
    }

    /// The signature field of the header at `index`, where `der` signs [`Tree::message`].
    pub(super) fn field(&self, index: u16, der: &[u8]) -> Bytes {
        let nodes = tree::proof_nodes(u64::from(index), u64::from(self.count));
        let mut field = BytesMut::with_capacity(PREFIX_BYTES + nodes.len() * HASH_BYTES + der.len());
        field.put_u8(BATCH);
        field.put_u16(self.count);
        field.put_u16(index);
        for (level, place) in nodes {
            field.put_slice(self.levels[level as usize][place as usize].as_bytes());
        }
        field.put_slice(der);
        field.freeze()
    }
}

/// What a signature field says of the header with this id.
pub(super) enum Signed<'a> {
    /// The header itself is signed.
    Alone(&'a [u8]),
    /// A tree that it stands in: these bytes are signed, and this is their signature.
    Among { message: Vec<u8>, der: &'a [u8] },
    /// Neither form.
    Malformed,
}

/// Reads a signature field.
pub(super) fn read<'a>(id: &TxId, field: &'a [u8]) -> Signed<'a> {
    let Some((prefix, rest)) =
        field.split_first_chunk::<PREFIX_BYTES>().filter(|(prefix, _)| prefix[0] == BATCH)
    else {
        return Signed::Alone(field);
    };
    let count = u16::from_be_bytes([prefix[1], prefix[2]]);
    let index = u16::from_be_bytes([prefix[3], prefix[4]]);
    if !(2..=HEADERS_MAX).contains(&usize::from(count)) || index >= count {
        return Signed::Malformed;
    }
    let hashes = tree::proof_nodes(u64::from(index), u64::from(count)).len();
    let Some((proof, der)) = rest.split_at_checked(hashes * HASH_BYTES) else { return Signed::Malformed };
    let proof: Vec<Hash> = proof.as_chunks::<HASH_BYTES>().0.iter().copied().map(Hash::from_bytes).collect();
    match tree::root_by_proof(tree::leaf(id.as_bytes()), u64::from(index), u64::from(count), &proof) {
        Some(root) => Signed::Among { message: message(count, &root), der },
        None => Signed::Malformed,
    }
}

fn message(count: u16, root: &Hash) -> Vec<u8> {
    [BATCH_DOMAIN, &count.to_be_bytes(), root.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> TxId {
        TxId::from_bytes([number; 32])
    }

    #[test]
    fn every_header_of_a_tree_leads_to_what_is_signed() {
        for count in 2..=70_u8 {
            let tree = Tree::over((0..count).map(id));
            for index in 0..count {
                let field = tree.field(u16::from(index), b"0der");
                let Signed::Among { message, der } = read(&id(index), &field) else {
                    panic!("{index} of {count} is not read");
                };
                assert_eq!((message, der), (tree.message(), b"0der".as_slice()));
            }
        }
    }

    #[test]
    fn another_header_place_or_count_leads_elsewhere_or_nowhere() {
        let tree = Tree::over((0..9).map(id));
        let field = tree.field(4, b"0der");
        let leads_there = |id: &TxId, field: &[u8]| matches!(read(id, field), Signed::Among { message, der: b"0der" } if message == tree.message());
        assert!(leads_there(&id(4), &field));
        assert!(!leads_there(&id(5), &field), "another header");
        for at in 0..field.len() - 4 {
            let mut spoilt = field.to_vec();
            spoilt[at] ^= 1;
            assert!(!leads_there(&id(4), &spoilt), "byte {at}");
        }
        let alone = |field: &[u8]| matches!(read(&id(4), field), Signed::Alone(_));
        assert!(alone(b"0der") && alone(b"") && alone(&field[..4]));
        let malformed = |field: &[u8]| matches!(read(&id(4), field), Signed::Malformed);
        assert!(malformed(&field[..40]), "cut within the proof");
        for (count, index) in [(0_u16, 0_u16), (1, 0), (9, 9), (257, 0)] {
            let field = [&[1], count.to_be_bytes().as_slice(), &index.to_be_bytes(), &[0; 400]].concat();
            assert!(malformed(&field), "{index} of {count}");
        }
    }

    #[test]
    fn the_vectors_hold() {
        let file = include_str!("../../../proto/vectors/signatures.json");
        let file: serde_json::Value = serde_json::from_str(file).expect("JSON");
        let bytes =
            |value: &serde_json::Value| hex::decode(value.as_str().expect("a text")).expect("hexadecimal");
        let several = &file["several"];
        let list = |name: &str| several[name].as_array().expect("a list").iter().map(bytes);
        let ids: Vec<TxId> = list("ids").map(|id| TxId::from_slice(&id).expect("an id")).collect();
        let (tree, der) = (Tree::over(ids.iter().copied()), bytes(&several["der"]));
        assert_eq!(tree.message(), bytes(&several["message"]));
        for ((index, id), field) in (0..).zip(&ids).zip(list("fields")) {
            assert_eq!(tree.field(index, &der), field);
            assert!(matches!(read(id, &field), Signed::Among { message, .. } if message == tree.message()));
        }
    }

    #[test]
    fn the_longest_field_keeps_to_its_bound() {
        let tree = Tree::over((0..HEADERS_MAX).map(|number| TxId::of_header(&number.to_be_bytes())));
        let longest = (0..HEADERS_MAX as u16).map(|index| tree.field(index, &[0x30; 72]).len()).max();
        assert!(longest <= Some(sorcha_peer_core::types::bounds::SIGNATURE_BYTES_MAX), "{longest:?}");
    }
}
