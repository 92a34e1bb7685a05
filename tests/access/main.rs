//! Roles and tokens on real sockets: every route and method with every role, accounts of tellers, tokens that are revoked or
//! expire, JWTs, the audit trail, and the commands. Without this a new route could be open to anyone.

mod accounts;
#[path = "../cluster/await_it.rs"]
mod await_it;
mod certified;
mod commands;
mod documented;
mod guarded;
mod hidden;
mod jwt;
mod lives;
mod outcomes;
mod repeats;
#[path = "../required/mod.rs"]
mod required;
mod strangers;
mod trail;
mod unread;
mod walk;
