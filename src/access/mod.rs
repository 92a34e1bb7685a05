//! Access: the identity of a connection's other end, and what it may do.
//!
//! An identity is a name that a certificate or a token proves. It knows ids of [`crate::process`] and nothing of
//! transports; [`crate::api`] and [`crate::node`] ask it before they act for a caller.

pub mod connection;
pub mod identity;
pub mod peer;
pub mod private_file;
pub mod system_user;
