//! snapledger: a cluster of bank processes with durable journals, Chandy-Lamport snapshots taken during operation, and a
//! history that can be audited exactly.
//!
//! The modules in reading order; each opens with what it may know and what must hold. ARCHITECTURE.md has the whole picture.
//!
//! Pure, without clock, randomness, sockets, files or tasks:
//!
//! - [`process`]: the deterministic participant. `decide` turns inputs into records, `apply` turns records into state;
//!   the marker rules of the snapshot algorithm are in [`process::snapshot`].
//! - [`history`]: what snapshots consist of: parts, global states, the certificate, differences, audits, and the
//!   assembly of a snapshot as a state machine.
//! - [`channel`]: both ends of a channel and the outbox window, as state machines without I/O.
//! - [`shipping`]: segments of a journal in an archive, and the writer that is fenced off by a later one.
//! - [`picture`]: space-time pictures of snapshots, as SVG and in the characters of a terminal.
//! - [`simulate`]: scenario files, executed by `process` in virtual time.
//!
//! The layers around them:
//!
//! - [`access`]: identities, and what they may do.
//! - [`archive`]: the client of the object storage that keeps journals.
//! - [`tls`]: certificates, and the configurations made of them.
//! - [`otel`]: traces for a collector, with the feature `otel`.
//! - [`offsite`]: what goes from a store to the archive, and back into a new store.
//! - [`store`]: journal, recorded states, chunks and history in sled; recovery, retention and backup.
//! - [`tables`]: history as Parquet files with Delta logs, for other engines.
//! - [`proto`]: the wire types, generated from `proto/`.
//! - [`transport`]: executes `channel` over gRPC streams.
//! - [`config`]: all options, validated before a port is bound.
//! - [`node`]: the threads and tasks of one node. It connects all of the above.
//! - [`cluster`]: questions to the processes of the whole cluster: audits, balances, statements, differences.
//! - [`api`]: gRPC and REST, with one table from failures to statuses.
//! - [`client`]: the client library.
//! - [`cli`]: the commands.
//! - [`mod@bench`]: the command `bench`, which measures this program.

pub mod access;
pub mod api;
pub mod archive;
pub mod bench;
pub mod channel;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod history;
pub mod node;
pub mod offsite;
pub mod otel;
pub mod picture;
pub mod process;
pub mod proto;
pub mod shipping;
pub mod simulate;
pub mod store;
pub mod tables;
pub mod tls;
pub mod transport;
#[doc(hidden)]
pub mod untrusted;
