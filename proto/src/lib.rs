//! The `.proto` files of the Sorcha Peer Network and the types generated from them, nothing else.
//!
//! Messages are always here; the gRPC clients and servers come with the feature `grpc`, so that the
//! simulator can count real bytes without an asynchronous runtime in its tree.

#[cfg(feature = "grpc")]
pub mod codec;

/// `sorcha.peer.v1`: envelopes, frames between peers, the local `Node` service, the operator's `Operate`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/sorcha.peer.v1.rs"));
}

/// The encoded `FileDescriptorSet` of all files, for gRPC server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
