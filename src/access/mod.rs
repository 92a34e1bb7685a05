//! Access: the identity of a connection's other end, and what it may do.
//!
//! An identity is a name that a certificate or a token proves. It knows ids of [`crate::process`] and nothing of
//! transports; [`crate::api`] and [`crate::node`] ask it before they act for a caller.
//!
//! A caller proves its name ([`authority`]) by a token, a JWT or a certificate, and calls in a [`role`]. The [`table`] says
//! what each call needs; the [`trail`] notes who did what.

pub mod authority;
pub mod caller;
pub mod connection;
pub mod expiry;
pub mod identity;
mod jwt;
pub mod peer;
pub mod private_file;
mod refusals;
pub mod role;
pub mod settings;
mod stale;
pub mod system_user;
pub mod table;
pub mod token;
pub mod token_file;
pub mod trail;

pub use jwt::KeySetError;
pub use refusals::LoginRefused;
