//! The options of one node from the command line and the environment, before validation.

use std::path::PathBuf;

use super::{ArchiveOptions, AuthOptions, CurrencyOptions, Keep, LimitsOptions, OtelOptions};

/// Options of a node. Flags override the environment; both override the cluster file.
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

    /// The cluster file with the members, their addresses and the channels.
    #[arg(long, env = "SNAPLEDGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Without a cluster file: the gRPC port.
    #[arg(long, env = "SNAPLEDGER_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Without a cluster file: the other processes, as id=host:port, or as host:port if the id is to be discovered at
    /// connect.
    #[arg(
        long,
        env = "SNAPLEDGER_PEERS",
        value_name = "PEER,PEER…",
        value_delimiter = ','
    )]
    pub peers: Vec<String>,

    /// Without a cluster file: the REST port [default: the gRPC port + 100].
    #[arg(long, env = "SNAPLEDGER_REST_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub rest_port: Option<u16>,

    /// The address to listen on [default: the value of the cluster file, or 127.0.0.1].
    #[arg(long, env = "SNAPLEDGER_HOST")]
    pub host: Option<String>,

    /// The address at which peers reach this node's gRPC port, as host or host:port [default: the value of the cluster
    /// file, or the listening address]. Required if the node listens on every interface, as with --host 0.0.0.0.
    #[arg(long, env = "SNAPLEDGER_ADVERTISE", value_name = "ADDRESS")]
    pub advertise: Option<String>,

    /// The same for the REST port [default: the host of --advertise and the listening port].
    #[arg(long, env = "SNAPLEDGER_ADVERTISE_REST", value_name = "ADDRESS")]
    pub advertise_rest: Option<String>,

    /// Further host names that clients may use for the REST port, for example behind a proxy [default: the value of the
    /// cluster file; loopback names, IP addresses and the node's own addresses are always accepted].
    #[arg(
        long,
        env = "SNAPLEDGER_API_HOSTS",
        value_name = "NAME,NAME…",
        value_delimiter = ','
    )]
    pub api_hosts: Vec<String>,

    /// The directory of this node's store [default: data/store/ID].
    #[arg(long, env = "SNAPLEDGER_DIR")]
    pub dir: Option<PathBuf>,

    /// The cluster name, the same for every node and client [default: demo].
    #[arg(long, env = "SNAPLEDGER_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// Interval of the scheduled snapshots of this node: 60s, 500ms, …, or off [default: 60s].
    #[arg(long, env = "SNAPLEDGER_SNAPSHOT_INTERVAL", value_name = "INTERVAL")]
    pub snapshot_interval: Option<String>,

    /// Time after which a snapshot is published as partial [default: 5s].
    #[arg(long, env = "SNAPLEDGER_SNAPSHOT_DEADLINE", value_name = "DURATION")]
    pub snapshot_deadline: Option<String>,

    /// Maximum number of open snapshots [default: 256].
    #[arg(long, env = "SNAPLEDGER_SNAPSHOTS_OPEN_MAX", value_name = "COUNT")]
    pub snapshots_open_max: Option<usize>,

    /// The snapshots this node keeps in its history, by initiator [default: all].
    #[arg(long, env = "SNAPLEDGER_HISTORY_KEEP", value_name = "WHOSE")]
    pub history_keep: Option<Keep>,

    /// Age after which unpinned snapshots are deleted: 30d, 12h, …, or off [default: off].
    #[arg(long, env = "SNAPLEDGER_HISTORY_MAX_AGE", value_name = "AGE")]
    pub history_max_age: Option<String>,

    /// Number of newest snapshots to keep; older unpinned ones are deleted [default: all].
    #[arg(long, env = "SNAPLEDGER_HISTORY_MAX_COUNT", value_name = "COUNT")]
    pub history_max_count: Option<usize>,

    /// Free space on the store's file system below which new work is refused: 256MiB, 1GiB, … [default: 256MiB].
    #[arg(long, env = "SNAPLEDGER_STORE_FREE_SPACE_MIN", value_name = "SIZE")]
    pub store_free_space_min: Option<String>,

    /// Time after which a stalled commit stops the node [default: 30s].
    #[arg(
        long,
        env = "SNAPLEDGER_STORE_COMMIT_DEADLINE",
        value_name = "DURATION"
    )]
    pub store_commit_deadline: Option<String>,

    /// The most a peer's clock may be ahead of this node's clock before its messages wait [default: 60s].
    #[arg(long, env = "SNAPLEDGER_CLOCK_AHEAD_MAX", value_name = "DURATION")]
    pub clock_ahead_max: Option<String>,

    /// Start although other machines can reach the node and TLS or authentication is missing.
    #[arg(
        long,
        env = "SNAPLEDGER_INSECURE",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub insecure: bool,

    /// What clients can make the process store.
    #[command(flatten)]
    pub limits: LimitsOptions,

    /// The currency in which amounts are shown.
    #[command(flatten)]
    pub currency: CurrencyOptions,

    /// Where traces go.
    #[command(flatten)]
    pub otel: OtelOptions,

    /// Where the journal is shipped to.
    #[command(flatten)]
    pub archive: ArchiveOptions,

    /// The files of TLS.
    #[command(flatten)]
    pub tls: TlsOptions,

    /// How clients prove who they are.
    #[command(flatten)]
    pub auth: AuthOptions,
}

/// The files of TLS. `{id}` in a path stands for the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct TlsOptions {
    /// The certificate of this node, in PEM. With it both ports speak TLS only; it needs --tls-key and --tls-ca.
    #[arg(long, env = "SNAPLEDGER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The key of the certificate, in PEM. Only its owner may read it.
    #[arg(long, env = "SNAPLEDGER_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// The CAs whose processes are trusted as peers, in PEM.
    #[arg(long, env = "SNAPLEDGER_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// The CAs whose client certificates are accepted, in PEM [default: those of --tls-ca].
    #[arg(long, env = "SNAPLEDGER_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
}
