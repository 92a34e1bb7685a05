//! Every option, validated once, before a port is bound or a file is touched.
//!
//! Flags win over the environment, the environment over the file, the file over the defaults. A [`NodeConfig`] is valid
//! as a whole: its members have distinct ids and addresses, this process is one of them, and the topology is
//! strongly connected. Knows `process` and nothing of stores, sockets or the command line's other commands.

mod address;
mod clock;
pub mod cluster_file;
mod duration;
mod fault;
mod options;
mod plan;
mod size;

use std::path::PathBuf;
use std::time::Duration;

pub use self::address::{check_address, reachable};
pub use self::clock::{ClockSettings, WallClock};
pub use self::duration::{parse_age, parse_deadline, parse_duration, parse_interval, parse_span};
pub use self::fault::{ConfigError, Fault};
pub use self::options::NodeOptions;
pub use self::plan::{Listen, NodePlan};
pub use self::size::{parse_size, show_size};
use crate::process::ids::ProcessId;
use crate::process::topology::Topology;

/// The cluster's name where nobody gives one.
pub const CLUSTER_DEFAULT: &str = "demo";

/// Where stores live where nobody says otherwise: below the current directory.
pub const STORES_DEFAULT: &str = "data/store";

/// What one node has to know to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The name every node and client of the cluster gives.
    pub cluster: String,
    /// The process this node hosts; one of `members`.
    pub me: ProcessId,
    /// Every process of the cluster, this one included, sorted by id.
    pub members: Vec<Member>,
    /// The directed channels between the members.
    pub topology: Topology,
    /// The directory of this node's store; relative to the current directory.
    pub dir: PathBuf,
    /// When snapshots start by themselves, and how long they may take.
    pub snapshot: SnapshotSettings,
    /// What the disk under the store has to give.
    pub store: StoreSettings,
    /// What is kept of the past.
    pub history: HistorySettings,
    /// How far clocks may be ahead.
    pub clock: ClockSettings,
}

impl NodeConfig {
    /// The member this node is.
    #[must_use]
    pub fn myself(&self) -> &Member {
        self.members
            .iter()
            .find(|member| member.id == self.me)
            .expect("a config is only made with `me` among its members")
    }
}

impl NodeConfig {
    /// Whether a process is of another make.
    #[must_use]
    pub fn is_unary(&self, process: &ProcessId) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.id == *process && member.transport == Transport::Unary)
    }
}

/// A process of the cluster and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: ProcessId,
    /// Where it serves gRPC, `host:port`.
    pub grpc: String,
    /// Where it serves REST, `host:port`, where that is known.
    pub rest: Option<String>,
    /// How its channels are carried.
    pub transport: Transport,
}

/// How messages reach a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One stream per channel, between nodes of this program.
    #[default]
    Native,
    /// `ReceiveMarker` and `SendMessage` calls, one after another: a process of another make.
    Unary,
    /// Nobody said, as where there is no cluster file: streams are opened to it as to a node of this program, and it may
    /// call as long as it has opened none.
    #[serde(skip)]
    Unsaid,
}

/// When snapshots start by themselves, and what bounds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Between two snapshots a node starts by itself; `None`: only on request.
    pub interval: Option<Duration>,
    /// After this, what is there is published as partial.
    pub deadline: Duration,
    /// How many snapshots one node may have open at once.
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

/// What is kept of the past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistorySettings {
    /// Whose snapshots.
    pub keep: Keep,
    /// Snapshots that began longer ago are deleted, unless they are pinned; `None`: they stay.
    pub max_age: Option<Duration>,
    /// Snapshots beyond so many of the newest are deleted, unless they are pinned; `None`: they stay.
    pub max_count: Option<usize>,
}

/// Whose snapshots a node keeps in its history.
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
    /// Those of the whole cluster: any live node answers for the past.
    #[default]
    All,
    /// Those it started itself.
    Initiator,
}

/// What the disk under the store has to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// While the file system has less than this free, in bytes, new work of clients is refused; below a quarter of it
    /// the messages of peers wait as well.
    pub free_space_min: u64,
    /// A commit that takes longer stops the node.
    pub commit_deadline: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            // Sixteen segments of the log. A disk takes some 70 MB/s of turns, so that the quarter that is kept back lasts
            // for a second, which is several times the pause between two looks.
            free_space_min: 256 << 20,
            commit_deadline: Duration::from_secs(30),
        }
    }
}
