//! snapledger: a cluster of bank processes whose money never stops moving and whose past can be audited exactly.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod history;
pub mod node;
pub mod process;
pub mod simulate;
pub mod store;
pub mod transport;

/// The wire types, generated from `proto/`.
pub mod proto {
    /// Package `chandy_lamport`: the published interface.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod chandy_lamport {
        tonic::include_proto!("chandy_lamport");
    }
    /// Package `snapledger.v1`: our own.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod snapledger {
        tonic::include_proto!("snapledger.v1");
    }
    /// The encoded descriptors of both packages, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
