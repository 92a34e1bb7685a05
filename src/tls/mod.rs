//! TLS: certificates and keys, the rustls configurations made of them, and their reload.
//!
//! [`node::Tls`] holds what one node presents and trusts; its listeners and its connections to peers share it. Commands and
//! client programs use [`client`]. All configurations use ring explicitly, whatever other libraries install.
//!
//! A certificate of this program's clusters carries exactly one identity ([`crate::access::identity`]) as a URI among its
//! subject alternative names. Between nodes the identity is verified, never the host name: a process may move.

pub mod advice;
pub mod certificate;
pub mod client;
pub mod connector;
pub mod error;
pub mod files;
pub mod issue;
pub mod lasting;
mod material;
pub mod node;
pub mod refusals;
mod reload;
mod validity;
mod verify;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedProtocolVersion, version};

/// TLS 1.3 and 1.2; older versions are refused.
const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// The protocols offered to clients, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes ring the default of libraries that take the one of the program. Call it first thing in `main`.
pub fn install_provider() {
    // An error means that one is installed already; the configurations here name theirs.
    let _installed = ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
