//! What can be wrong with a configuration, where it stands, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::process::ids::{Malformed, ProcessId};
use crate::process::topology::TopologyError;

/// A fault and its place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The cluster file cannot be read.
    #[error(
        "cannot read {}: {source}; name a cluster file that exists and may be read",
        path.display()
    )]
    Unreadable {
        /// The cluster file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line of the cluster file is wrong.
    #[error("{}:{line}: {fault}", path.display())]
    InFile {
        /// The cluster file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong.
        fault: Fault,
    },
    /// An option of the command line or the environment is wrong.
    #[error("{option}: {fault}")]
    InOption {
        /// The option as it is written on the command line.
        option: &'static str,
        /// What is wrong.
        fault: Fault,
    },
    /// The whole does not fit together.
    #[error(transparent)]
    Whole(#[from] Fault),
}

/// What is wrong, in a sentence that says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not TOML, or not the keys and types a cluster file has.
    #[error("{0}; see data/cluster.toml for an example")]
    Toml(String),
    /// An id that is none.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The cluster has no name.
    #[error("the cluster's name is empty; give every node and client the same name")]
    NoClusterName,
    /// Not `host:port`.
    #[error("`{0}` is no address; write host:port, for example 127.0.0.1:7101")]
    Address(String),
    /// An advertised address that is none.
    #[error("`{0}` is no address; write a host or host:port, for example n1.example.org")]
    Advertised(String),
    /// A wildcard where an address to connect to is needed.
    #[error(
        "`{0}` stands for every interface and names no host to connect to; write a host that others reach"
    )]
    Nowhere(String),
    /// A wildcard to listen on, and nothing that says where others reach the process.
    #[error(
        "`{listen}` listens on every interface and names no host that others reach; add {remedy}"
    )]
    Unadvertised {
        /// Where it listens.
        listen: String,
        /// What to add.
        remedy: &'static str,
    },
    /// Not a duration.
    #[error("`{0}` is no duration; write a whole number with a unit, for example 60s or 500ms")]
    Duration(String),
    /// No time at all.
    #[error("`{0}` is too short; give at least 1ms")]
    TooShort(String),
    /// The same of what can be switched off.
    #[error("`{0}` is too short; give at least 1ms, or off")]
    IntervalTooShort(String),
    /// Over a century.
    #[error("`{0}` is too long; give at most 36525d")]
    TooLong(String),
    /// A deadline of a snapshot that is too long.
    #[error("`{0}` is too long; give at most one hour, `1h`")]
    Deadline(String),
    /// Not a duration and not `off`.
    #[error(
        "`{0}` is no interval; write a whole number with a unit, for example 60s or 500ms, or off"
    )]
    Interval(String),
    /// Not an age and not `off`.
    #[error("`{0}` is no age; write a whole number with a unit, for example 15d or 12h, or off")]
    Age(String),
    /// Not a size.
    #[error(
        "`{0}` is no size; write a whole number with a unit, for example 256MiB, or 0B for none"
    )]
    Size(String),
    /// A bound that would allow nothing.
    #[error("no snapshot could ever be open with a bound of 0; give at least 1")]
    OpenMax,
    /// A history that would hold nothing.
    #[error("a history of 0 snapshots holds nothing; give at least 1, or leave it out to keep all")]
    MaxCount,
    /// One id for two processes.
    #[error("process {0} is named twice; give each process an id of its own")]
    DuplicateId(ProcessId),
    /// One address for two sockets.
    #[error(
        "address {address} of process {process} is taken already by {taken_by}; give each socket an address of its own"
    )]
    DuplicateAddress {
        /// The address.
        address: String,
        /// Who gives it second.
        process: ProcessId,
        /// Who gives it first.
        taken_by: ProcessId,
    },
    /// A channel is written as a pair.
    #[error("a channel is a pair of process ids; write [\"n1\", \"n2\"]")]
    ChannelPair,
    /// The channels make no topology.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The process to run is not in the file.
    #[error("process {me} is not in {}, which has {members}; give one of these with --id", path.display())]
    NotAMember {
        /// The process to run.
        me: ProcessId,
        /// The cluster file.
        path: PathBuf,
        /// Who is there.
        members: String,
    },
    /// The process to run is of another make.
    #[error(
        "process {0} has transport = \"unary\", so another program hosts it; run a process with the native transport"
    )]
    OtherMake(ProcessId),
    /// The process to run has no REST address.
    #[error(
        "process {0} has no REST address; add for example rest = \"127.0.0.1:7201\" to its block"
    )]
    NoRest(ProcessId),
    /// Neither of the two ways to say what a node is.
    #[error("nothing says where the node listens; give --config FILE, or --port with --peers")]
    NoForm,
    /// Both ways at once.
    #[error("the cluster file gives the addresses already; leave out either this or --config")]
    BothForms,
    /// The REST port that follows from the gRPC port is none.
    #[error("{0} + 100 is no port, so the REST port has to be given; add --rest-port")]
    RestPort(u16),
}

impl Fault {
    /// This fault in that option.
    #[must_use]
    pub fn of(self, option: &'static str) -> ConfigError {
        ConfigError::InOption {
            option,
            fault: self,
        }
    }
}
