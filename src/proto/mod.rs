//! The wire types, generated from `proto/`, and their codec.

mod codec;

pub use codec::Contiguous;

/// Package `chandy_lamport`: the published interface.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod chandy_lamport {
    tonic::include_proto!("chandy_lamport");
}

/// Package `snapledger.v1`: the interface of this project.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod snapledger {
    tonic::include_proto!("snapledger.v1");
}

/// The encoded descriptors of both packages, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
