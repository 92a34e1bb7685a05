//! The options of one node from the command line and the environment, before validation.

use std::path::PathBuf;

use super::Keep;

/// What may be said about a node. Flags win over the environment; both win over the cluster file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct NodeOptions {
    /// The process this node hosts.
    #[arg(
        long = "id",
        visible_alias = "node-id",
        env = "SNAPLEDGER_ID",
        value_name = "ID"
    )]
    pub id: String,

    /// The cluster file; it gives the members, their addresses and the channels.
    #[arg(long, env = "SNAPLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Without a cluster file: the port for gRPC.
    #[arg(long, env = "SNAPLEDGER_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Without a cluster file: the other processes, as id=host:port, or host:port where the id is learnt at connect.
    #[arg(
        long,
        env = "SNAPLEDGER_PEERS",
        value_name = "PEER,PEER…",
        value_delimiter = ','
    )]
    pub peers: Vec<String>,

    /// Without a cluster file: the port for REST [default: the gRPC port + 100].
    #[arg(long, env = "SNAPLEDGER_REST_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub rest_port: Option<u16>,

    /// The address to listen on [default: 127.0.0.1, or as the cluster file says].
    #[arg(long, env = "SNAPLEDGER_HOST")]
    pub host: Option<String>,

    /// Where others reach this node's gRPC port, as host or host:port [default: where it listens, or as the cluster
    /// file says]. Needed where it listens on every interface, as with --host 0.0.0.0.
    #[arg(long, env = "SNAPLEDGER_ADVERTISE", value_name = "ADDRESS")]
    pub advertise: Option<String>,

    /// The same for its REST port [default: the host of --advertise and the port it listens on].
    #[arg(long, env = "SNAPLEDGER_ADVERTISE_REST", value_name = "ADDRESS")]
    pub advertise_rest: Option<String>,

    /// The directory of this node's store [default: data/store/ID].
    #[arg(long, env = "SNAPLEDGER_DIR")]
    pub dir: Option<PathBuf>,

    /// The name every node and client of the cluster gives [default: demo].
    #[arg(long, env = "SNAPLEDGER_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// Time between two snapshots this node starts by itself: 60s, 500ms, …, or off [default: 60s].
    #[arg(long, env = "SNAPLEDGER_SNAPSHOT_INTERVAL", value_name = "INTERVAL")]
    pub snapshot_interval: Option<String>,

    /// Time after which a snapshot is published as partial [default: 5s].
    #[arg(long, env = "SNAPLEDGER_SNAPSHOT_DEADLINE", value_name = "DURATION")]
    pub snapshot_deadline: Option<String>,

    /// How many snapshots may be open at once [default: 256].
    #[arg(long, env = "SNAPLEDGER_SNAPSHOTS_OPEN_MAX", value_name = "COUNT")]
    pub snapshots_open_max: Option<usize>,

    /// Whose snapshots this node keeps in its history [default: all].
    #[arg(long, env = "SNAPLEDGER_HISTORY_KEEP", value_name = "WHOSE")]
    pub history_keep: Option<Keep>,

    /// Age over which snapshots that are not pinned are deleted: 30d, 12h, …, or off [default: off].
    #[arg(long, env = "SNAPLEDGER_HISTORY_MAX_AGE", value_name = "AGE")]
    pub history_max_age: Option<String>,

    /// How many of the newest snapshots are kept; older ones that are not pinned are deleted [default: all].
    #[arg(long, env = "SNAPLEDGER_HISTORY_MAX_COUNT", value_name = "COUNT")]
    pub history_max_count: Option<usize>,

    /// Free space of the store's file system under which new work is refused: 256MiB, 1GiB, … [default: 256MiB].
    #[arg(long, env = "SNAPLEDGER_STORE_FREE_SPACE_MIN", value_name = "SIZE")]
    pub store_free_space_min: Option<String>,

    /// Time after which a commit that hangs stops the node [default: 30s].
    #[arg(
        long,
        env = "SNAPLEDGER_STORE_COMMIT_DEADLINE",
        value_name = "DURATION"
    )]
    pub store_commit_deadline: Option<String>,

    /// How far the clock of a peer may be ahead of the one here before its messages wait [default: 60s].
    #[arg(long, env = "SNAPLEDGER_CLOCK_AHEAD_MAX", value_name = "DURATION")]
    pub clock_ahead_max: Option<String>,
}
