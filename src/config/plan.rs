//! From options to the configuration of a node, in two steps: first everything that is known before a port is bound,
//! then the ids learnt from peers of which only the address is known.

use std::path::PathBuf;

use toml::Spanned;

use super::address::{
    advertised, check_address, check_reachable, host_of, is_wildcard, join, port_of,
};
use super::cluster_file::{Cluster, Source, TlsBlock};
use super::fault::{ConfigError, Fault};
use super::{
    ApiSettings, ArchiveSettings, AuthBlock, CLUSTER_DEFAULT, ClockSettings, Currency,
    HistorySettings, LIMITS_DEFAULT, Member, NodeConfig, NodeOptions, OtelSettings, STORES_DEFAULT,
    SnapshotSettings, StoreSettings, Transport, Unprotected, auth, exposure, parse_age,
    parse_duration, parse_interval, parse_size, tls,
};
use crate::access::authority::Authority;
use crate::process::ids::ProcessId;
use crate::process::limits::Limits;
use crate::process::topology::Topology;
use crate::tls::node::Tls;

const HOST_DEFAULT: &str = "127.0.0.1";
const REST_PORT_OFFSET: u16 = 100;

/// The addresses a node listens on. Its advertised addresses may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The gRPC address, `host:port`.
    pub grpc: String,
    /// The REST address, `host:port`.
    pub rest: String,
}

/// A valid configuration, except for the ids of `strangers`.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// The name that all nodes and clients of the cluster give.
    pub cluster: String,
    /// The process of this node, with its advertised addresses.
    pub me: Member,
    /// The addresses to listen on.
    pub listen: Listen,
    /// The gRPC addresses of processes whose ids are not yet known.
    pub strangers: Vec<String>,
    /// The directory of this node's store.
    pub dir: PathBuf,
    /// What the node presents and trusts; `None`: without TLS.
    pub tls: Option<Tls>,
    unprotected: Option<Unprotected>,
    // The table of the cluster file, until its files are read.
    table: Option<(Source, Spanned<TlsBlock>)>,
    others: Vec<Member>,
    // `None`: every ordered pair, resolved when all members are known.
    topology: Option<Topology>,
    snapshot: SnapshotSettings,
    store: StoreSettings,
    history: HistorySettings,
    clock: ClockSettings,
    limits: Limits,
    currency: Option<Currency>,
    otel: Option<OtelSettings>,
    archive: Option<ArchiveSettings>,
    api: ApiSettings,
    auth: Option<Authority>,
    auth_table: Option<AuthBlock>,
}

impl NodePlan {
    /// Validates the options. Reads the cluster file and the files of TLS if they are given, and touches nothing else.
    ///
    /// # Errors
    /// [`ConfigError`] for the first fault.
    pub fn new(options: &NodeOptions) -> Result<Self, ConfigError> {
        let id = ProcessId::parse(&options.id).map_err(|error| Fault::from(error).of("--id"))?;
        let mut plan = match (&options.config, options.port) {
            (Some(_), _) => Self::from_file(id, options)?,
            (None, Some(port)) => Self::from_peers(id, port, options)?,
            (None, None) => return Err(Fault::NoForm.into()),
        };
        if let Some(name) = &options.cluster_name {
            plan.cluster.clone_from(name);
        }
        if plan.cluster.is_empty() {
            return Err(Fault::NoClusterName.of("--cluster-name"));
        }
        if let Some(dir) = &options.dir {
            plan.dir.clone_from(dir);
        }
        override_snapshot(&mut plan.snapshot, options)?;
        override_store(&mut plan.store, options)?;
        override_history(&mut plan.history, options)?;
        if let Some(text) = &options.clock_ahead_max {
            let ahead_max = parse_duration(text).map_err(|f| f.of("--clock-ahead-max"))?;
            plan.clock.ahead_max = ahead_max;
        }
        options.limits.replace_in(&mut plan.limits)?;
        options.currency.replace_in(&mut plan.currency)?;
        options.otel.replace_in(&mut plan.otel)?;
        options.archive.replace_in(&mut plan.archive)?;
        let table = plan.table.take();
        let asked = tls::Asked {
            options: &options.tls,
            table: table.as_ref().map(|(source, table)| (source, table)),
        };
        plan.tls = asked.load(&plan.cluster, &plan.me.id)?;
        if let Some(settings) =
            auth::settings(&options.auth, plan.auth_table.as_ref(), &plan.me.id)?
        {
            let has_peers = !plan.others.is_empty() || !plan.strangers.is_empty();
            if has_peers && plan.tls.is_none() {
                return Err(Fault::AuthWithoutTls.into());
            }
            plan.auth = Some(Authority::open(settings, &plan.cluster)?);
        }
        plan.api.override_with(options)?;
        let listen = [&plan.listen.grpc, &plan.listen.rest];
        let own = listen
            .into_iter()
            .chain([&plan.me.grpc])
            .chain(&plan.me.rest);
        plan.api.add_own(own);
        let listen = [&*plan.listen.grpc, &*plan.listen.rest];
        plan.unprotected = exposure::lacking(listen, plan.tls.is_some(), plan.auth.is_some());
        if let Some(lacks) = plan.unprotected.filter(|_| !options.insecure) {
            let Member { id, grpc, .. } = &plan.me;
            return Err(exposure::refusal(listen, grpc, &plan.cluster, id, lacks).into());
        }
        Ok(plan)
    }

    /// Completes the configuration with the ids and addresses of the strangers.
    ///
    /// # Errors
    /// [`Fault::DuplicateId`] if a learnt id is that of another member.
    pub fn settle(self, learnt: Vec<Member>) -> Result<NodeConfig, ConfigError> {
        let me = self.me.id.clone();
        let mut members = self.others;
        members.push(self.me);
        members.extend(learnt);
        members.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(Fault::DuplicateId(pair[0].id.clone()).into());
        }
        let ids: Vec<ProcessId> = members.iter().map(|member| member.id.clone()).collect();
        if let Some(authority) = &self.auth {
            authority.set_members(&ids);
        }
        let topology = match self.topology {
            Some(topology) => topology,
            None => Topology::full(&ids).map_err(Fault::from)?,
        };
        Ok(NodeConfig {
            cluster: self.cluster,
            me,
            members,
            topology,
            dir: self.dir,
            snapshot: self.snapshot,
            store: self.store,
            history: self.history,
            clock: self.clock,
            limits: self.limits,
            currency: self.currency,
            otel: self.otel,
            archive: self.archive,
            tls: self.tls,
            api: self.api,
            auth: self.auth,
            unprotected: self.unprotected,
        })
    }

    /// The settings of the REST port.
    #[must_use]
    pub fn api(&self) -> &ApiSettings {
        &self.api
    }

    /// The ids in use, that of this process included.
    pub fn known(&self) -> impl Iterator<Item = &ProcessId> {
        std::iter::once(&self.me.id).chain(self.others.iter().map(|member| &member.id))
    }

    /// Over 70 lines: it fills one struct, key by key.
    fn from_file(id: ProcessId, options: &NodeOptions) -> Result<Self, ConfigError> {
        let path = options.config.as_deref().expect("the caller saw a file");
        refuse_addresses(options)?;
        let source = Source::read(path)?;
        let file = source.parse()?;
        let Cluster {
            name,
            members,
            topology,
            mut dirs,
            snapshot,
            store,
            history,
            clock,
            limits,
            currency,
            archive,
            api,
        } = source.validate(&file)?;
        let (mine, others): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.id == id);
        let Some(mut me) = mine.into_iter().next() else {
            let ids: Vec<&str> = others.iter().map(|member| member.id.as_str()).collect();
            return Err(Fault::NotAMember {
                me: id,
                path: path.to_owned(),
                members: ids.join(", "),
            }
            .into());
        };
        if me.transport == Transport::Unary {
            return Err(Fault::OtherMake(id).into());
        }
        let block = file
            .processes
            .iter()
            .find(|block| block.id.get_ref() == id.as_str());
        let block = block.expect("every member has its block");
        let rest = block
            .rest
            .as_ref()
            .ok_or_else(|| Fault::NoRest(id.clone()))?;
        let listen = listen(
            block.grpc.get_ref(),
            rest.get_ref(),
            options.host.as_deref(),
        )?;
        advertise(&mut me, &listen, options)?;
        Ok(Self {
            cluster: name,
            listen,
            me,
            strangers: Vec::new(),
            tls: None,
            unprotected: None,
            otel: source.otel(&file)?,
            table: file.tls.map(|table| (source, table)),
            others,
            topology: Some(topology),
            dir: dirs.remove(&id).unwrap_or_else(|| store_of(&id)),
            snapshot,
            store,
            history,
            clock,
            limits,
            currency,
            archive,
            api,
            auth: None,
            auth_table: file.auth,
        })
    }

    fn from_peers(id: ProcessId, port: u16, options: &NodeOptions) -> Result<Self, ConfigError> {
        let rest_port = match options.rest_port {
            Some(rest_port) => rest_port,
            None => port
                .checked_add(REST_PORT_OFFSET)
                .ok_or_else(|| Fault::RestPort(port).of("--port"))?,
        };
        let host = options.host.as_deref().unwrap_or(HOST_DEFAULT);
        let (grpc, rest) = (join(host, port), join(host, rest_port));
        check_address(&grpc).map_err(|fault| fault.of("--host"))?;
        let (others, strangers) = peers(&options.peers).map_err(|fault| fault.of("--peers"))?;
        let listen = Listen { grpc, rest };
        if is_wildcard(&listen.grpc) && options.advertise.is_none() {
            let fault = Fault::Unadvertised {
                listen: listen.grpc,
                remedy: "--advertise HOST",
            };
            return Err(fault.of("--host"));
        }
        let mut me = Member {
            id: id.clone(),
            grpc: listen.grpc.clone(),
            rest: Some(listen.rest.clone()),
            transport: Transport::Native,
        };
        advertise(&mut me, &listen, options)?;
        check_distinct(&me, &others)?;
        Ok(Self {
            cluster: CLUSTER_DEFAULT.to_owned(),
            dir: store_of(&id),
            me,
            listen,
            strangers,
            tls: None,
            unprotected: None,
            table: None,
            others,
            topology: None,
            snapshot: SnapshotSettings::default(),
            store: StoreSettings::default(),
            history: HistorySettings::default(),
            clock: ClockSettings::default(),
            limits: LIMITS_DEFAULT,
            currency: None,
            otel: None,
            archive: None,
            api: ApiSettings::default(),
            auth: None,
            auth_table: None,
        })
    }
}

/// Sets the advertised addresses from the options, if given.
fn advertise(me: &mut Member, listen: &Listen, options: &NodeOptions) -> Result<(), ConfigError> {
    if let Some(given) = &options.advertise {
        me.grpc = advertised(given, &listen.grpc).map_err(|fault| fault.of("--advertise"))?;
        let rest = advertised(host_of(&me.grpc), &listen.rest);
        me.rest = Some(rest.map_err(|fault| fault.of("--advertise"))?);
    }
    if let Some(given) = &options.advertise_rest {
        let rest = advertised(given, &listen.rest);
        me.rest = Some(rest.map_err(|fault| fault.of("--advertise-rest"))?);
    }
    Ok(())
}

fn store_of(id: &ProcessId) -> PathBuf {
    PathBuf::from(STORES_DEFAULT).join(id.as_str())
}

/// Refuses address options beside a cluster file: all members must agree on addresses, so the file is their only
/// source.
fn refuse_addresses(options: &NodeOptions) -> Result<(), ConfigError> {
    let given = [
        ("--port", options.port.is_some()),
        ("--rest-port", options.rest_port.is_some()),
        ("--peers", !options.peers.is_empty()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Fault::BothForms.of(option)),
        None => Ok(()),
    }
}

fn listen(grpc: &str, rest: &str, host: Option<&str>) -> Result<Listen, ConfigError> {
    let listen = match host {
        None => Listen {
            grpc: grpc.to_owned(),
            rest: rest.to_owned(),
        },
        Some(host) => Listen {
            grpc: join(host, port_of(grpc)),
            rest: join(host, port_of(rest)),
        },
    };
    check_address(&listen.grpc).map_err(|fault| fault.of("--host"))?;
    Ok(listen)
}

fn peers(entries: &[String]) -> Result<(Vec<Member>, Vec<String>), Fault> {
    let mut named = Vec::new();
    let mut strangers = Vec::new();
    // An empty environment variable arrives as one empty entry.
    let entries = entries.iter().map(|entry| entry.trim());
    for entry in entries.filter(|entry| !entry.is_empty()) {
        // Split from the right: an id may contain `=`, an address may not.
        match entry.rsplit_once('=') {
            None => {
                check_reachable(entry)?;
                strangers.push(entry.to_owned());
            }
            Some((id, address)) => {
                let (id, address) = (id.trim_end(), address.trim_start());
                check_reachable(address)?;
                named.push(Member {
                    id: ProcessId::parse(id)?,
                    grpc: address.to_owned(),
                    rest: None,
                    transport: Transport::Unsaid,
                });
            }
        }
    }
    Ok((named, strangers))
}

fn check_distinct(me: &Member, others: &[Member]) -> Result<(), ConfigError> {
    let mut seen = vec![me];
    for member in others {
        for before in &seen {
            if before.id == member.id {
                return Err(Fault::DuplicateId(member.id.clone()).of("--peers"));
            }
            if before.grpc == member.grpc {
                let fault = Fault::DuplicateAddress {
                    address: member.grpc.clone(),
                    process: member.id.clone(),
                    taken_by: before.id.clone(),
                };
                return Err(fault.of("--peers"));
            }
        }
        seen.push(member);
    }
    Ok(())
}

fn override_snapshot(
    settings: &mut SnapshotSettings,
    options: &NodeOptions,
) -> Result<(), ConfigError> {
    if let Some(text) = &options.snapshot_interval {
        settings.interval = parse_interval(text).map_err(|f| f.of("--snapshot-interval"))?;
    }
    if let Some(text) = &options.snapshot_deadline {
        settings.deadline = parse_duration(text).map_err(|f| f.of("--snapshot-deadline"))?;
    }
    match options.snapshots_open_max {
        Some(0) => return Err(Fault::OpenMax.of("--snapshots-open-max")),
        Some(open_max) => settings.open_max = open_max,
        None => {}
    }
    Ok(())
}

fn override_history(
    settings: &mut HistorySettings,
    options: &NodeOptions,
) -> Result<(), ConfigError> {
    if let Some(keep) = options.history_keep {
        settings.keep = keep;
    }
    if let Some(text) = &options.history_max_age {
        settings.max_age = parse_age(text).map_err(|f| f.of("--history-max-age"))?;
    }
    match options.history_max_count {
        Some(0) => return Err(Fault::MaxCount.of("--history-max-count")),
        Some(count) => settings.max_count = Some(count),
        None => {}
    }
    Ok(())
}

fn override_store(settings: &mut StoreSettings, options: &NodeOptions) -> Result<(), ConfigError> {
    if let Some(text) = &options.store_free_space_min {
        settings.free_space_min = parse_size(text).map_err(|f| f.of("--store-free-space-min"))?;
    }
    if let Some(text) = &options.store_commit_deadline {
        settings.commit_deadline =
            parse_duration(text).map_err(|f| f.of("--store-commit-deadline"))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
