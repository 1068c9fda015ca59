//! What can be wrong with bytes from another peer.

/// A frame, envelope or record that cannot be read. The text names field, value and bound; nothing was taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No protobuf message of the expected type.
    #[error("{what} is not a valid protobuf message: {detail}")]
    Malformed {
        /// Which message.
        what: &'static str,
        /// The decoder's words.
        detail: String,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Dotted name.
        field: &'static str,
    },
    /// A field of the wrong length.
    #[error("{field} has {actual} bytes, not {expected}")]
    Length {
        /// Dotted name.
        field: &'static str,
        /// Found.
        actual: usize,
        /// Required.
        expected: usize,
    },
    /// A list of fixed-size entries whose length is no multiple of their size.
    #[error("{field} has {actual} bytes, no multiple of {entry}")]
    Ragged {
        /// Dotted name.
        field: &'static str,
        /// Found.
        actual: usize,
        /// Size of an entry.
        entry: usize,
    },
    /// A field beyond its bound.
    #[error("{field} is {actual}, more than {max}")]
    TooLarge {
        /// Dotted name.
        field: &'static str,
        /// Found: a value, a number of bytes or of entries.
        actual: u64,
        /// Bound.
        max: u64,
    },
    /// Packed bytes that do not unpack to the plain ones that they stand for.
    #[error("{field}: {actual} packed bytes do not make the {plain} that they stand for: {detail}")]
    Garbled {
        /// Dotted name.
        field: &'static str,
        /// Packed bytes.
        actual: usize,
        /// Plain bytes that were to come of them.
        plain: u64,
        /// What stands in the way.
        detail: String,
    },
    /// A field with a value that makes no sense.
    #[error("{field} is '{actual}': {rule}")]
    Invalid {
        /// Dotted name.
        field: &'static str,
        /// Found, cut to 80 characters.
        actual: String,
        /// What it has to be.
        rule: &'static str,
    },
}
