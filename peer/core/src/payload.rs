//! Bytes of a body, or of a chunk of one, beside the form in which they travel (docs/design.md § 3.7).
//!
//! Knows both forms and which codings there are. Does not make one from the other: that takes a processor's time, which the
//! driver's loop has none of; `peer/wire` does it where frames are read and where bodies are taken in or loaded.

use bytes::Bytes;

/// A form in which bytes of bodies may travel, other than plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// One block of LZ4, without a frame and without a dictionary.
    Lz4Block,
}

/// The codings that somebody reads, beside plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Codings {
    lz4_block: bool,
}

impl Codings {
    /// Plain bytes alone: what a peer that says nothing reads.
    pub const NONE: Self = Self { lz4_block: false };
    /// All that this version knows.
    pub const ALL: Self = Self { lz4_block: true };

    /// With one more.
    #[must_use]
    pub fn with(self, coding: Coding) -> Self {
        match coding {
            Coding::Lz4Block => Self { lz4_block: true },
        }
    }

    /// What both read.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { lz4_block: self.lz4_block && other.lz4_block }
    }

    /// Whether this one is among them.
    pub fn contains(self, coding: Coding) -> bool {
        match coding {
            Coding::Lz4Block => self.lz4_block,
        }
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Coding> {
        self.lz4_block.then_some(Coding::Lz4Block).into_iter()
    }
}

/// Bytes of a body or a chunk; where they were packed, or came so, both forms. The packed one is the shorter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    plain: Bytes,
    packed: Option<(Coding, Bytes)>,
}

impl Payload {
    /// Both forms; it is the caller's word that the one makes the other.
    pub fn packed(plain: Bytes, coding: Coding, packed: Bytes) -> Self {
        Self { plain, packed: Some((coding, packed)) }
    }

    /// What ids, trees and applications see.
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// The form in which it travels, where that is not the plain one.
    pub fn coded(&self) -> Option<(Coding, &Bytes)> {
        self.packed.as_ref().map(|(coding, bytes)| (*coding, bytes))
    }

    /// Length of the plain bytes.
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// Whether the plain bytes are none.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// Bytes that travel.
    pub fn carried_len(&self) -> usize {
        self.packed.as_ref().map_or(self.plain.len(), |(_, bytes)| bytes.len())
    }

    /// Bytes that both forms take here.
    pub fn memory(&self) -> usize {
        self.plain.len() + self.packed.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    /// The same with its plain bytes kept elsewhere; it is the caller's word that they are the same.
    #[must_use]
    pub(crate) fn kept_in(self, plain: Bytes) -> Self {
        debug_assert_eq!(plain.len(), self.plain.len());
        Self { plain, ..self }
    }

    /// For somebody who reads these codings alone.
    #[must_use]
    pub fn for_reader_of(mut self, codings: Codings) -> Self {
        self.packed = self.packed.filter(|(coding, _)| codings.contains(*coding));
        self
    }
}

impl From<Bytes> for Payload {
    fn from(plain: Bytes) -> Self {
        Self { plain, packed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_the_coding_gets_plain_bytes() {
        let (plain, packed) = (Bytes::from_static(b"aaaaaaaa"), Bytes::from_static(b"a8"));
        let payload = Payload::packed(plain.clone(), Coding::Lz4Block, packed);
        assert_eq!((payload.len(), payload.carried_len(), payload.memory()), (8, 2, 10));
        assert_eq!(payload.clone().for_reader_of(Codings::ALL), payload);
        for codings in [Codings::NONE, Codings::ALL.and(Codings::NONE)] {
            assert_eq!(payload.clone().for_reader_of(codings), Payload::from(plain.clone()));
        }
        assert_eq!(Codings::NONE.with(Coding::Lz4Block).iter().collect::<Vec<_>>(), [Coding::Lz4Block]);
    }
}
