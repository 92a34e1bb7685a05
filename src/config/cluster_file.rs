//! cluster.toml: its keys and the rules between them.
//!
//! Every fault is reported with its line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::address::{advertised, check_address, host_of, is_wildcard};
use super::duration::{parse_age, parse_duration, parse_interval};
use super::fault::{ConfigError, Fault};
use super::size::parse_size;
use super::{
    ApiBlock, ApiSettings, ArchiveBlock, ArchiveSettings, AuthBlock, ClockSettings, Currency,
    CurrencyBlock, HistorySettings, Keep, LimitsBlock, Member, OtelBlock, OtelSettings,
    SnapshotSettings, StoreSettings, Transport,
};
use crate::process::ids::{ChannelId, ProcessId};
use crate::process::limits::Limits;
use crate::process::topology::Topology;

/// The file as written, before validation.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// The name that all nodes and clients of the cluster give; not empty.
    pub cluster: Spanned<String>,
    /// The directed channels, each a pair of process ids. If absent, every ordered pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Spanned<Vec<Spanned<Vec<String>>>>>,
    /// One `[[process]]` block per process.
    #[serde(rename = "process", default)]
    pub processes: Vec<ProcessBlock>,
    /// The `[snapshot]` table.
    #[serde(default)]
    pub snapshot: SnapshotBlock,
    /// The `[history]` table.
    #[serde(default)]
    pub history: HistoryBlock,
    /// The `[store]` table.
    #[serde(default)]
    pub store: StoreBlock,
    /// The `[clock]` table.
    #[serde(default)]
    pub clock: ClockBlock,
    /// The `[limits]` table.
    #[serde(default)]
    pub limits: LimitsBlock,
    /// The `[currency]` table.
    #[serde(default)]
    pub currency: CurrencyBlock,
    /// The `[otel]` table. If absent, traces go nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otel: Option<OtelBlock>,
    /// The `[archive]` table.
    #[serde(default)]
    pub archive: ArchiveBlock,
    /// The `[tls]` table. If absent, without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Spanned<TlsBlock>>,
    /// The `[api]` table.
    #[serde(default)]
    pub api: ApiBlock,
    /// The `[auth]` table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthBlock>,
}

/// A `[[process]]` block.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessBlock {
    /// The process id, unique in the file.
    pub id: Spanned<String>,
    /// The gRPC address to listen on, `host:port`.
    pub grpc: Spanned<String>,
    /// The REST address to listen on, `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Spanned<String>>,
    /// The gRPC address that others connect to, as a host or `host:port`. If absent, the listening address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Spanned<String>>,
    /// The REST address that others connect to, in the same form. If absent, the host of the gRPC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_rest: Option<Spanned<String>>,
    /// The directory of the store of this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// How messages reach this process. If absent, by native streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
}

/// The `[snapshot]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotBlock {
    /// The time between scheduled snapshots: a duration or `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Spanned<String>>,
    /// A duration of at most one hour; see [`SnapshotSettings::deadline`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Spanned<String>>,
    /// The most snapshots that one node may have open at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_max: Option<Spanned<usize>>,
}

/// The `[history]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryBlock {
    /// Which snapshots a node keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// A duration or `off`; older snapshots are deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Spanned<String>>,
    /// The number of newest snapshots to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<Spanned<usize>>,
}

/// The `[store]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StoreBlock {
    /// A size; see [`StoreSettings::free_space_min`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_space_min: Option<Spanned<String>>,
    /// A duration; see [`StoreSettings::commit_deadline`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_deadline: Option<Spanned<String>>,
}

/// The `[clock]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClockBlock {
    /// A duration; see [`ClockSettings::ahead_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead_max: Option<Spanned<String>>,
}

/// The `[tls]` table. `{id}` in a path stands for the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsBlock {
    /// The certificate of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// The key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The CAs whose processes are trusted as peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The CAs whose client certificates are accepted. If absent, those of `ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// The content of a valid file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The name that all nodes and clients of the cluster give.
    pub name: String,
    /// The processes of the cluster, sorted by id.
    pub members: Vec<Member>,
    /// The directed channels between the members.
    pub topology: Topology,
    /// Store directories, for the processes that have one in the file.
    pub dirs: BTreeMap<ProcessId, PathBuf>,
    /// The `[snapshot]` table, completed with defaults.
    pub snapshot: SnapshotSettings,
    /// The `[store]` table, completed with defaults.
    pub store: StoreSettings,
    /// The `[history]` table, completed with defaults.
    pub history: HistorySettings,
    /// The `[clock]` table, completed with defaults.
    pub clock: ClockSettings,
    /// The `[limits]` table, completed with defaults.
    pub limits: Limits,
    /// The `[currency]` table.
    pub currency: Option<Currency>,
    /// The `[archive]` table.
    pub archive: Option<ArchiveSettings>,
    /// The `[api]` table.
    pub api: ApiSettings,
}

/// The text of a cluster file, kept so that faults can name lines.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self {
                path: path.to_owned(),
                text,
            }),
            Err(source) => Err(ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Parses the keys and values. Rules between them are checked by [`Source::validate`].
    ///
    /// # Errors
    /// [`ConfigError::InFile`] if the text is not TOML, or a key is unknown, missing or of the wrong type.
    pub fn parse(&self) -> Result<ClusterFile, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let message = error.message().replace('\n', "; ");
            self.fault(error.span().unwrap_or(0..0), Fault::Toml(message))
        })
    }

    /// Validates the file as a whole.
    ///
    /// # Errors
    /// [`ConfigError::InFile`] for the first fault.
    pub fn validate(&self, file: &ClusterFile) -> Result<Cluster, ConfigError> {
        let name = file.cluster.get_ref();
        if name.is_empty() {
            return Err(self.fault(file.cluster.span(), Fault::NoClusterName));
        }
        if let Some(auth) = &file.auth {
            auth.check(|name, fault| self.fault(name.span(), fault))?;
        }
        let mut members = self.members(file)?;
        let topology = self.topology(file, &members)?;
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let dirs = file.processes.iter().filter_map(|block| {
            let id = ProcessId::parse(block.id.get_ref()).ok()?;
            Some((id, block.dir.clone()?))
        });
        Ok(Cluster {
            name: name.clone(),
            dirs: dirs.collect(),
            members,
            topology,
            snapshot: self.snapshot(&file.snapshot)?,
            store: self.store(&file.store)?,
            history: self.history(&file.history)?,
            clock: self.clock(&file.clock)?,
            limits: file
                .limits
                .settings(|span, fault| self.fault(span, fault))?,
            currency: file
                .currency
                .settings(|span, fault| self.fault(span, fault))?,
            archive: file
                .archive
                .settings(|span, fault| self.fault(span, fault))?,
            api: file
                .api
                .settings(|name, fault| self.fault(name.span(), fault))?,
        })
    }

    /// The `[otel]` table. Only nodes read it: other commands of a program without the feature accept the file.
    ///
    /// # Errors
    /// [`ConfigError::InFile`].
    pub fn otel(&self, file: &ClusterFile) -> Result<Option<OtelSettings>, ConfigError> {
        let settings = |table: &OtelBlock| table.settings(|span, fault| self.fault(span, fault));
        file.otel.as_ref().map(settings).transpose()
    }

    /// Locates `fault` at the line where `span` begins.
    pub(super) fn fault(&self, span: Range<usize>, fault: Fault) -> ConfigError {
        let before = self.text.bytes().take(span.start);
        ConfigError::InFile {
            path: self.path.clone(),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
            fault,
        }
    }

    fn at<T, U>(
        &self,
        value: &Spanned<T>,
        check: impl FnOnce(&T) -> Result<U, Fault>,
    ) -> Result<U, ConfigError> {
        check(value.get_ref()).map_err(|fault| self.fault(value.span(), fault))
    }

    fn members(&self, file: &ClusterFile) -> Result<Vec<Member>, ConfigError> {
        let mut members: Vec<Member> = Vec::new();
        let mut addresses: BTreeMap<String, ProcessId> = BTreeMap::new();
        for block in &file.processes {
            let id = self.at(&block.id, |id| {
                let id = ProcessId::parse(id)?;
                if members.iter().any(|member| member.id == id) {
                    return Err(Fault::DuplicateId(id));
                }
                Ok(id)
            })?;
            let (grpc, rest) = self.told(block)?;
            for (address, written) in
                std::iter::once((&grpc, &block.grpc)).chain(rest.iter().zip(&block.rest))
            {
                self.at(written, |_| claim(&mut addresses, address, &id))?;
            }
            members.push(Member {
                id,
                grpc,
                rest,
                transport: block.transport.unwrap_or_default(),
            });
        }
        Ok(members)
    }

    // The advertised gRPC and REST addresses of a process.
    fn told(&self, block: &ProcessBlock) -> Result<(String, Option<String>), ConfigError> {
        for address in std::iter::once(&block.grpc).chain(&block.rest) {
            self.at(address, |text| check_address(text))?;
        }
        let listen = block.grpc.get_ref();
        let grpc = match &block.advertise {
            Some(given) => self.at(given, |given| advertised(given, listen))?,
            None => self.at(&block.grpc, |listen| match is_wildcard(listen) {
                true => Err(Fault::Unadvertised {
                    listen: listen.clone(),
                    remedy: "advertise = \"HOST\" to the block",
                }),
                false => Ok(listen.clone()),
            })?,
        };
        let rest = match (&block.rest, &block.advertise_rest) {
            (None, _) => None,
            (Some(listen), Some(given)) => {
                Some(self.at(given, |given| advertised(given, listen.get_ref()))?)
            }
            (Some(listen), None) if block.advertise.is_some() || is_wildcard(listen.get_ref()) => {
                Some(self.at(listen, |listen| advertised(host_of(&grpc), listen))?)
            }
            (Some(listen), None) => Some(listen.get_ref().clone()),
        };
        Ok((grpc, rest))
    }

    fn topology(&self, file: &ClusterFile, members: &[Member]) -> Result<Topology, ConfigError> {
        let ids: Vec<ProcessId> = members.iter().map(|member| member.id.clone()).collect();
        let Some(written) = &file.channels else {
            return Topology::full(&ids).map_err(|error| self.fault(0..0, error.into()));
        };
        let channels = written
            .get_ref()
            .iter()
            .map(|pair| self.at(pair, |pair| channel(pair)));
        let channels = channels.collect::<Result<Vec<_>, _>>()?;
        Topology::new(&ids, channels).map_err(|error| self.fault(written.span(), error.into()))
    }

    fn snapshot(&self, block: &SnapshotBlock) -> Result<SnapshotSettings, ConfigError> {
        let mut settings = SnapshotSettings::default();
        if let Some(interval) = &block.interval {
            settings.interval = self.at(interval, |text| parse_interval(text))?;
        }
        if let Some(deadline) = &block.deadline {
            settings.deadline = self.at(deadline, |text| parse_duration(text))?;
        }
        if let Some(open_max) = &block.open_max {
            settings.open_max = self.at(open_max, |count| match count {
                0 => Err(Fault::OpenMax),
                count => Ok(*count),
            })?;
        }
        Ok(settings)
    }

    fn history(&self, block: &HistoryBlock) -> Result<HistorySettings, ConfigError> {
        let mut settings = HistorySettings {
            keep: block.keep.unwrap_or_default(),
            ..HistorySettings::default()
        };
        if let Some(age) = &block.max_age {
            settings.max_age = self.at(age, |text| parse_age(text))?;
        }
        if let Some(count) = &block.max_count {
            settings.max_count = self.at(count, |count| match count {
                0 => Err(Fault::MaxCount),
                count => Ok(Some(*count)),
            })?;
        }
        Ok(settings)
    }

    fn clock(&self, block: &ClockBlock) -> Result<ClockSettings, ConfigError> {
        let mut settings = ClockSettings::default();
        if let Some(ahead_max) = &block.ahead_max {
            settings.ahead_max = self.at(ahead_max, |text| parse_duration(text))?;
        }
        Ok(settings)
    }

    fn store(&self, block: &StoreBlock) -> Result<StoreSettings, ConfigError> {
        let mut settings = StoreSettings::default();
        if let Some(size) = &block.free_space_min {
            settings.free_space_min = self.at(size, |text| parse_size(text))?;
        }
        if let Some(deadline) = &block.commit_deadline {
            settings.commit_deadline = self.at(deadline, |text| parse_duration(text))?;
        }
        Ok(settings)
    }
}

/// Claims `address` for `process`, unless another process has it.
fn claim(
    addresses: &mut BTreeMap<String, ProcessId>,
    address: &str,
    process: &ProcessId,
) -> Result<(), Fault> {
    match addresses.insert(address.to_owned(), process.clone()) {
        None => Ok(()),
        Some(taken_by) => Err(Fault::DuplicateAddress {
            address: address.to_owned(),
            process: process.clone(),
            taken_by,
        }),
    }
}

fn channel(pair: &[String]) -> Result<ChannelId, Fault> {
    let [from, to] = pair else {
        return Err(Fault::ChannelPair);
    };
    Ok(ChannelId {
        from: ProcessId::parse(from)?,
        to: ProcessId::parse(to)?,
    })
}

#[cfg(test)]
#[path = "cluster_file_tests.rs"]
mod tests;
