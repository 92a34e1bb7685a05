//! Configuration errors: what is wrong, where, and how to correct it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::authority::AuthError;
use crate::process::ids::{Malformed, ProcessId};
use crate::process::requests::REQUESTS_KEPT_MAX;
use crate::process::topology::TopologyError;

/// A configuration error with its location.
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
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line of the cluster file is wrong.
    #[error("{}:{line}: {fault}", path.display())]
    InFile {
        /// The cluster file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// What is wrong with the line.
        fault: Fault,
    },
    /// An option of the command line or the environment is wrong.
    #[error("{option}: {fault}")]
    InOption {
        /// The option as written on the command line, for example `--id`.
        option: &'static str,
        /// What is wrong with its value.
        fault: Fault,
    },
    /// Authentication cannot be set up.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The configuration as a whole is inconsistent.
    #[error(transparent)]
    Whole(#[from] Fault),
}

/// What is wrong, in a sentence that says how to correct it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is not TOML, or a key is unknown, missing or of the wrong type.
    #[error("{0}; see data/cluster.toml for an example")]
    Toml(String),
    /// An id is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The name of the cluster is empty.
    #[error("the cluster's name is empty; give every node and client the same name")]
    NoClusterName,
    /// The text is not `host:port`.
    #[error("`{0}` is not a valid address; write host:port, for example 127.0.0.1:7101")]
    Address(String),
    /// The advertised address is neither a host nor `host:port`.
    #[error("`{0}` is not a valid address; write a host or host:port, for example n1.example.org")]
    Advertised(String),
    /// The text is not a host name.
    #[error(
        "`{0}` is not a host name; write a name without scheme and port, for example ledger.example.org"
    )]
    Host(String),
    /// A wildcard is given where an address to connect to is needed.
    #[error(
        "`{0}` means every interface and is not a host to connect to; write a host that peers can reach"
    )]
    Nowhere(String),
    /// The listening address is a wildcard and no advertised address is given.
    #[error(
        "`{listen}` listens on every interface and is not a host that peers can reach; add {remedy}"
    )]
    Unadvertised {
        /// The listening address.
        listen: String,
        /// The option or key to add.
        remedy: &'static str,
    },
    /// The text is not a duration.
    #[error(
        "`{0}` is not a valid duration; write a whole number with a unit, for example 60s or 500ms"
    )]
    Duration(String),
    /// The duration is zero.
    #[error("`{0}` is too short; give at least 1ms")]
    TooShort(String),
    /// The duration of an option that also accepts `off` is zero.
    #[error("`{0}` is too short; give at least 1ms, or off")]
    IntervalTooShort(String),
    /// The duration is over a century.
    #[error("`{0}` is too long; give at most 36525d")]
    TooLong(String),
    /// The deadline of a snapshot is over one hour.
    #[error("`{0}` is too long; give at most one hour, `1h`")]
    Deadline(String),
    /// The text is neither a duration nor `off`.
    #[error(
        "`{0}` is not a valid interval; write a whole number with a unit, for example 60s or 500ms, or off"
    )]
    Interval(String),
    /// The text is neither an age nor `off`.
    #[error(
        "`{0}` is not a valid age; write a whole number with a unit, for example 15d or 12h, or off"
    )]
    Age(String),
    /// The text is not a size.
    #[error(
        "`{0}` is not a valid size; write a whole number with a unit, for example 256MiB, or 0B for none"
    )]
    Size(String),
    /// The limit on open snapshots is 0.
    #[error("the limit of open snapshots is 0; give at least 1")]
    OpenMax,
    /// The limit on kept snapshots is 0.
    #[error("the limit of kept snapshots is 0; give at least 1, or leave it out to keep all")]
    MaxCount,
    /// The URL of the archive has another scheme.
    #[error(
        "`{0}` is not the address of an archive; write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or \
         file:///DIRECTORY"
    )]
    ArchiveUrl(String),
    /// There is no archive to which the option applies.
    #[error("there is no archive; give its URL (archive.url, --archive-url), or leave this out")]
    NoArchive,
    /// The number of puts in flight is out of range.
    #[error("{0} puts in flight are out of range; write a number from 1 to 64")]
    ArchiveWindow(u16),
    /// Segments wait for more turns longer than the archive may lag.
    #[error(
        "segments would wait {linger:?} for more turns, and new work is refused at a lag of {lag_max:?}; write a shorter archive.linger \
         or a longer archive.lag_max"
    )]
    ArchiveLinger {
        /// The time for which a segment waits.
        linger: Duration,
        /// The lag at which new work is refused.
        lag_max: Duration,
    },
    /// The text is not an age.
    #[error(
        "`{0}` is not an age; write a whole number with a unit, for example 365d or 12h, or forever"
    )]
    ArchiveKeep(String),
    /// The size of a segment is out of range.
    #[error("`{0}` is out of range for a segment; write a size from 1B to 64MiB")]
    ArchiveSegment(String),
    /// Tables are made of what the archive has.
    #[error(
        "tables are made of archived turns, and nothing is archived; set archive.journal to async, peers or sync, or \
         archive.tables to off"
    )]
    TablesWithoutJournal,
    /// Too many bytes of segments are in flight at once.
    #[error(
        "archive.window times archive.segment_max is over 512MiB, which is held in memory; give less of one"
    )]
    ArchiveInFlight,
    /// A limit of what clients can store is 0.
    #[error("the limit of {0} is 0; give at least 1, or leave it out for the default")]
    NoneAllowed(&'static str),
    /// More request ids are to be remembered than the store holds.
    #[error("{0} request ids are more than a process remembers; give at most {REQUESTS_KEPT_MAX}")]
    TooManyRequestIds(usize),
    /// The name of the currency cannot be shown.
    #[error(
        "`{0}` is not a name of a currency; give 1 to 16 characters without line breaks and outer spaces, for example EUR"
    )]
    CurrencyLabel(String),
    /// The minor part has more digits than an amount.
    #[error("{0} digits are more than an amount has; give at most 18")]
    CurrencyExponent(u8),
    /// The currency has a minor part and no name.
    #[error("the minor part belongs to no currency; add its label, for example EUR")]
    NoCurrencyLabel,
    /// Traces are asked for, and the program has no exporter.
    #[error(
        "this program was built without the feature otel; build it with --features otel, or remove [otel] and --otel-endpoint"
    )]
    WithoutOtel,
    /// The collector of traces is not an address.
    #[error(
        "`{0}` is not an OTLP endpoint; write http://host:port, for example http://127.0.0.1:4317"
    )]
    Collector(String),
    /// The CA of the collector does not fit its endpoint.
    #[error("a collector has a CA if its endpoint begins with https; {0}")]
    CollectorCa(&'static str),
    /// Traces have settings and no collector.
    #[error("traces have no collector; add its endpoint, for example http://127.0.0.1:4317")]
    NoCollector,
    /// The share of snapshots is not between 0 and 1.
    #[error("`{0}` is not a share; give a number from 0 to 1, for example 0.1")]
    Sample(String),
    /// Two processes have the same id.
    #[error("process {0} is named twice; give each process its own id")]
    DuplicateId(ProcessId),
    /// Two sockets have the same address.
    #[error(
        "address {address} of process {process} is already used by {taken_by}; give each socket its own address"
    )]
    DuplicateAddress {
        /// The address that is given twice.
        address: String,
        /// The process that gives it second.
        process: ProcessId,
        /// The process that gives it first.
        taken_by: ProcessId,
    },
    /// An entry of `channels` is not a pair of ids.
    #[error("a channel is a pair of process ids; write [\"n1\", \"n2\"]")]
    ChannelPair,
    /// The channels do not form a valid topology.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The process to run is not in the file.
    #[error("process {me} is not in {}, which has {members}; give one of these with --id", path.display())]
    NotAMember {
        /// The process to run.
        me: ProcessId,
        /// The cluster file.
        path: PathBuf,
        /// The ids in the file, separated by commas.
        members: String,
    },
    /// The process to run has transport `unary`, so another program hosts it.
    #[error(
        "process {0} has transport = \"unary\", so another program hosts it; run a process with the native transport"
    )]
    OtherMake(ProcessId),
    /// The process to run has no REST address.
    #[error(
        "process {0} has no REST address; add for example rest = \"127.0.0.1:7201\" to its block"
    )]
    NoRest(ProcessId),
    /// Neither a cluster file nor a port is given.
    #[error(
        "the listening address of the node is missing; give --config FILE, or --port with --peers"
    )]
    NoForm,
    /// A client of `[auth]` is wrong.
    #[error("{0}")]
    Client(String),
    /// JWTs are configured in part.
    #[error(
        "JWTs need a key set, an issuer and an audience; give jwt_keys, jwt_issuer and jwt_audience in [auth], or \
         --auth-jwt-keys, --auth-jwt-issuer and --auth-jwt-audience"
    )]
    JwtIncomplete,
    /// Clients are asked for tokens, but other processes prove nothing.
    #[error(
        "[auth] in a cluster of several processes needs [tls]: without certificates processes cannot prove who they are, and the \
         calls between them would be open to everyone; make certificates with `snapledger cert init` and `snapledger cert node`"
    )]
    AuthWithoutTls,
    /// Authentication is asked for without a way to log in.
    #[error(
        "no client could log in; give tokens = FILE (made by `snapledger token create`), jwt_keys or [[auth.client]] \
         blocks in [auth], or --auth-tokens FILE"
    )]
    NoLogin,
    /// Other machines can reach the node, and it is not protected.
    #[error(transparent)]
    Exposed(Box<Exposed>),
    /// A cluster file and addresses on the command line are both given.
    #[error("the cluster file already gives the addresses; leave out either this or --config")]
    BothForms,
    /// A file of TLS cannot be used.
    #[error("{0}")]
    Tls(String),
    /// TLS is asked for without all its files.
    #[error(
        "TLS needs a certificate, its key and a CA; add {0} to [tls], or give --tls-cert, --tls-key and --tls-ca"
    )]
    TlsIncomplete(String),
    /// The default REST port, the gRPC port + 100, exceeds 65535.
    #[error("{0} + 100 is not a valid port; give the REST port with --rest-port")]
    RestPort(u16),
}

/// A node that other machines can reach lacks protection.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "other machines can reach {address}, and this node lacks {lacks}; make what is missing with these commands, name the \
     files in [tls] and [auth] of the cluster file, as docs/security.md shows, or in --tls-cert, --tls-key, --tls-ca and \
     --auth-tokens, or accept the risk with --insecure:{commands}"
)]
pub struct Exposed {
    pub(super) address: String,
    pub(super) lacks: &'static str,
    /// Each on a line of its own, after a line break.
    pub(super) commands: String,
}

impl Fault {
    /// Locates this fault in an option.
    #[must_use]
    pub fn of(self, option: &'static str) -> ConfigError {
        ConfigError::InOption {
            option,
            fault: self,
        }
    }
}
