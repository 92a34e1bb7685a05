//! The configuration of a node, validated as a whole before a port is bound or a file is touched.
//!
//! Precedence: flags, then the environment, then the cluster file, then the defaults. In a valid [`NodeConfig`] the
//! members have distinct ids and addresses, this process is one of them, and the topology is strongly connected. This
//! module depends on `process`, `access` and `tls` only; it does not know stores, sockets or the other commands.

mod address;
mod api;
mod archive;
mod auth;
mod clock;
pub mod cluster_file;
mod currency;
mod duration;
mod exposure;
mod fault;
mod limits;
mod options;
mod otel;
mod path;
mod plan;
mod size;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

pub use self::address::{check_address, reachable};
pub use self::api::{ApiBlock, ApiSettings};
pub use self::archive::{ArchiveBlock, ArchiveOptions, ArchiveSettings, SelfRestore, Shipping};
pub use self::auth::{AuthBlock, AuthOptions, ClientBlock};
pub use self::clock::{ClockSettings, WallClock};
pub use self::currency::{Currency, CurrencyBlock, CurrencyOptions};
pub use self::duration::{parse_age, parse_deadline, parse_duration, parse_interval, parse_span};
pub use self::exposure::Unprotected;
pub use self::fault::{ConfigError, Fault};
pub use self::limits::{LIMITS_DEFAULT, LimitsBlock, LimitsOptions};
pub use self::options::{NodeOptions, TlsOptions};
pub use self::otel::{OtelBlock, OtelOptions, OtelSettings, Sampling};
pub use self::plan::{Listen, NodePlan};
pub use self::size::{parse_size, show_size};
use crate::access::authority::Authority;
use crate::process::ids::ProcessId;
use crate::process::limits::Limits;
use crate::process::topology::Topology;
use crate::tls::node::Tls;

/// The name of the cluster if none is given.
pub const CLUSTER_DEFAULT: &str = "demo";

/// The parent of store directories if none is given, relative to the current directory.
pub const STORES_DEFAULT: &str = "data/store";

/// The configuration of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The name that all nodes and clients of the cluster give.
    pub cluster: String,
    /// The process that this node hosts; one of `members`.
    pub me: ProcessId,
    /// All processes of the cluster, sorted by id, this one included.
    pub members: Vec<Member>,
    /// The directed channels between the members.
    pub topology: Topology,
    /// The directory of this node's store, relative to the current directory.
    pub dir: PathBuf,
    /// The schedule and limits of snapshots.
    pub snapshot: SnapshotSettings,
    /// Limits of the disk under the store.
    pub store: StoreSettings,
    /// The retention of snapshots.
    pub history: HistorySettings,
    /// The limits of clocks that run ahead.
    pub clock: ClockSettings,
    /// The limits of what clients can make the process store.
    pub limits: Limits,
    /// The currency in which people read amounts; `None`: minor units without a name.
    pub currency: Option<Currency>,
    /// Where traces go; `None`: nowhere.
    pub otel: Option<OtelSettings>,
    /// The archive of the process; `None`: its disk is the only copy of its journal.
    pub archive: Option<ArchiveSettings>,
    /// What the node presents and trusts; `None`: without TLS.
    pub tls: Option<Tls>,
    /// The names that clients may use for the REST port.
    pub api: ApiSettings,
    /// Who may do what; `None`: anyone everything.
    pub auth: Option<Authority>,
    /// What the node lacks although other machines can reach it, and its operator accepts that.
    pub unprotected: Option<Unprotected>,
}

impl NodeConfig {
    /// The member that this node hosts.
    #[must_use]
    pub fn myself(&self) -> &Member {
        self.members
            .iter()
            .find(|member| member.id == self.me)
            .expect("a config is only made with `me` among its members")
    }
}

impl NodeConfig {
    /// Whether another program hosts the process ([`Transport::Unary`]).
    #[must_use]
    pub fn is_unary(&self, process: &ProcessId) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.id == *process && member.transport == Transport::Unary)
    }
}

/// A process of the cluster and its advertised addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Unique in the cluster.
    pub id: ProcessId,
    /// The gRPC address to connect to, `host:port`.
    pub grpc: String,
    /// The REST address to connect to, `host:port`, if known.
    pub rest: Option<String>,
    /// How messages reach the process.
    pub transport: Transport,
}

/// How messages reach a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One stream per channel, between nodes of this program.
    #[default]
    Native,
    /// Sequential `ReceiveMarker` and `SendMessage` calls, for a process that another program hosts.
    Unary,
    /// Unspecified, as without a cluster file. This node opens streams to the process as to a native one, and accepts
    /// unary calls from it until it opens a stream.
    #[serde(skip)]
    Unsaid,
}

/// The schedule and limits of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// The time between scheduled snapshots; `None`: snapshots start on request only.
    pub interval: Option<Duration>,
    /// When it expires, the assembler publishes what it has as a partial revision.
    pub deadline: Duration,
    /// The most snapshots that one node may have open at once.
    pub open_max: usize,
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(60)),
            deadline: Duration::from_secs(5),
            open_max: 256,
        }
    }
}

/// The retention of snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistorySettings {
    /// Which snapshots a node keeps.
    pub keep: Keep,
    /// Unpinned snapshots that began longer ago are deleted; `None`: no age limit.
    pub max_age: Option<Duration>,
    /// Unpinned snapshots beyond this number of newest ones are deleted; `None`: no limit.
    pub max_count: Option<usize>,
}

/// Which snapshots a node keeps in its history.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// All snapshots of the cluster, so that any live node answers questions about the past.
    #[default]
    All,
    /// The snapshots that the node initiated.
    Initiator,
}

/// Limits of the disk under the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Bytes. While the file system has less free space, new work of clients is refused; below a quarter of it,
    /// messages of peers wait as well.
    pub free_space_min: u64,
    /// A commit that takes longer stops the node.
    pub commit_deadline: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            // Sixteen segments of the log. A disk takes about 70 MB/s of turns, so the reserved quarter lasts about one
            // second, several times the interval between two checks of the free space.
            free_space_min: 256 << 20,
            commit_deadline: Duration::from_secs(30),
        }
    }
}
