//! The small values that every room of the core shares: identities, times, bounds.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// A point on the peer's own monotonic clock: microseconds since an arbitrary start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(u64);

impl Time {
    /// The clock's start.
    pub const ZERO: Self = Self(0);

    /// A point `us` microseconds after the clock's start.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the clock's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The last multiple of `step` since the clock's start that is not after this.
    pub(crate) const fn rounded_down(self, step: Duration) -> Self {
        Self(self.0 - self.0 % step.as_micros() as u64)
    }

    /// How long after `earlier` this is; zero where it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A point of civil time: milliseconds since the Unix epoch, UTC. It may jump; never use it for timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct WallTime(u64);

impl WallTime {
    /// `ms` milliseconds after the Unix epoch.
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_ms(self) -> u64 {
        self.0
    }
}

/// Both clocks, read together by the driver for each input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For timers and measurements.
    pub time: Time,
    /// For what people and other peers are told.
    pub wall: WallTime,
}

macro_rules! id_of_32_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 32]);

        impl Ord for $name {
            /// By bytes. The first eight nearly always decide, and are compared as one number.
            #[inline]
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.prefix().cmp(&other.prefix()).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// From its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// From a slice, where it has exactly 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first 8 bytes as a number: for spreading, never for identity.
            #[inline]
            pub fn prefix(&self) -> u64 {
                u64::from_be_bytes([
                    self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5], self.0[6], self.0[7],
                ])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &hex::encode(&self.0[..4]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| NotAnId { text: text.chars().take(80).collect() })?;
                Ok(Self(bytes))
            }
        }
    };
}

id_of_32_bytes! {
    /// SHA-256 of a peer's SPIFFE URI.
    PeerId
}
id_of_32_bytes! {
    /// SHA-256 of `"sorcha-tx-v1"` and the header as it travels.
    TxId
}
id_of_32_bytes! {
    /// A SHA-256 value: a chunk-tree root, a node of its proof.
    Hash
}

/// A text that was meant to be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an id: write 64 hexadecimal digits")]
pub struct NotAnId {
    /// What was written, cut to 80 characters.
    pub text: String,
}

/// Domain separation of transaction signatures and ids.
pub const TX_DOMAIN: &[u8] = b"sorcha-tx-v1";
/// Domain separation of signatures over several transactions at once.
pub const BATCH_DOMAIN: &[u8] = b"sorcha-tx-batch-v1";
/// Domain separation of record signatures.
pub const RECORD_DOMAIN: &[u8] = b"sorcha-record-v1";

impl PeerId {
    /// The id of the peer with this SPIFFE URI.
    pub fn of_uri(uri: &str) -> Self {
        Self(Sha256::digest(uri.as_bytes()).into())
    }
}

impl TxId {
    /// The id of the transaction whose header travels as these bytes.
    pub fn of_header(signed: &[u8]) -> Self {
        Self(Sha256::new().chain_update(TX_DOMAIN).chain_update(signed).finalize().into())
    }
}

/// One link, as long as it lives; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One effect on its way; its answer carries the same token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// `host:port` as written by people, DNS names included; resolved by whoever dials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// Takes the text as it is; the dialler says what is wrong with it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Named bounds (ARCHITECTURE.md, invariant 6). Each says its policy at the bound.
pub mod bounds {
    /// Bytes of a body that travel within one push; larger ones are announced and fetched (docs/design.md § 3.5).
    pub const PUSH_BODY_BYTES_MAX: usize = 4 * 1024;
    /// Bytes of one chunk of a body; all but the last are exactly this.
    pub const CHUNK_BYTES: usize = 16 * 1024;
    /// Bytes of one encoded frame; a longer one is a protocol error of its sender.
    pub const FRAME_BYTES_MAX: usize = 64 * 1024;
    /// Bytes of a body at most, whatever the configuration says.
    pub const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;
    /// Bytes of a register label; longer ones are refused at submission and are evidence from a peer.
    pub const REGISTER_BYTES_MAX: usize = 128;
    /// Members that the roster holds; beyond it newcomers are not recorded.
    pub const ROSTER_MEMBERS_MAX: usize = 16_384;
    /// Addresses of one record; the rest is cut.
    pub const RECORD_ADDRESSES_MAX: usize = 8;
    /// Records in one `Records` frame.
    pub const RECORDS_PER_FRAME_MAX: usize = 32;
    /// Members in one frame that were not there.
    pub const MISSED_PER_FRAME_MAX: usize = 64;
    /// Records that one `RecordsRequest` says to know; where there are more it speaks of a part of all peers.
    pub const RECORD_MARKS_MAX: usize = 4096;
    /// Bits of the peers' ids that a `RecordsRequest` speaks of.
    pub const PART_BITS_MAX: u32 = 16;
    /// Ids in one `Fetch`, `Unavailable`, or `Sync` list.
    pub const IDS_PER_FRAME_MAX: usize = 512;
    /// Chunks asked for by one request.
    pub const CHUNKS_PER_REQUEST_MAX: u32 = 64;
    /// Chunks that follow a header unasked, at most. 64 KiB: as much as a receiver keeps of a transaction whose header is not
    /// checked yet, and as is little enough to send twice now and then.
    pub const CHUNKS_PUSHED_MAX: u32 = 4;
    /// Ranges in one `Sync` frame.
    pub const SYNC_RANGES_MAX: usize = 64;
    /// Bytes of one encoded transaction header; a longer one is a protocol error of its sender.
    pub const HEADER_BYTES_MAX: usize = 2 * 1024;
    /// Bytes of one encoded peer record: a URI and eight addresses fit.
    pub const RECORD_BYTES_MAX: usize = 6 * 1024;
    /// Headers under one signature at most: a proof of eight hashes.
    pub const HEADERS_PER_SIGNATURE_MAX: usize = 256;
    /// Bytes of a transaction's signature: ECDSA P-256 in DER takes 72, count, place and proof of a header among
    /// `HEADERS_PER_SIGNATURE_MAX` 261.
    pub const SIGNATURE_BYTES_MAX: usize = 384;
    /// Bytes of a record's signature.
    pub const RECORD_SIGNATURE_BYTES_MAX: usize = 128;
    /// Bytes of a certificate in DER: ours take about 600.
    pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
    /// Bytes of a SPIFFE URI (SPIFFE-ID § 2.3).
    pub const URI_BYTES_MAX: usize = 2048;
    /// Bytes of a network id: a DNS label.
    pub const NETWORK_BYTES_MAX: usize = 63;
    /// Bytes of one `host:port`: a DNS name of 253 and a port.
    pub const ADDRESS_BYTES_MAX: usize = 260;
    /// Bytes of the texts that a record carries for people (site, software); longer ones are refused.
    pub const LABEL_BYTES_MAX: usize = 128;
    /// Bytes of the detail of a goodbye; the sender cuts it.
    pub const DETAIL_BYTES_MAX: usize = 512;
    /// Short ids in one `Announce` or `Fetch`.
    pub const SHORT_IDS_PER_FRAME_MAX: usize = 1024;
    /// Ids listed in all ranges of one `Sync` together, so that it stays below `FRAME_BYTES_MAX`.
    pub const SYNC_IDS_MAX: usize = 1024;
    /// Rows of the grid: 16,384 members make 128.
    pub const ROWS_MAX: u32 = 1024;
    /// Bytes of an idempotency key.
    pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;
    /// Hashes of one inclusion proof: a tree over `BODY_BYTES_MAX` is 14 high.
    pub const PROOF_HASHES_MAX: usize = 32;
    /// How far ahead of the own clock a publication time may lie before the transaction is held back, ms.
    pub const PUBLISHED_AHEAD_MS_MAX: u64 = 5 * 60 * 1000;
}
