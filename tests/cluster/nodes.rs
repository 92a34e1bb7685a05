//! A cluster of nodes in this process, each with its own ports, which it keeps across restarts.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use snapledger::api::{Host, Sockets};
use snapledger::config::{
    ApiSettings, ClockSettings, HistorySettings, Keep, LIMITS_DEFAULT, Member, NodeConfig,
    SnapshotSettings, StoreSettings, Transport,
};
use snapledger::node::{Handle, NodeError};
use snapledger::process::ids::{ChannelId, ProcessId};
use snapledger::process::topology::Topology;
use snapledger::proto::chandy_lamport::DepositRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::store::StoreError;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::await_it::until;
use crate::rest::Rest;

pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Nodes by id, with their environment.
pub(crate) struct Cluster {
    members: Vec<Member>,
    topology: Topology,
    deadline: Duration,
    open_max: usize,
    store: StoreSettings,
    history: HistorySettings,
    interval: Option<Duration>,
    clocks: BTreeMap<String, ClockSettings>,
    api: ApiSettings,
    /// The parent directory of the stores.
    stores: PathBuf,
    sockets: BTreeMap<String, Sockets>,
    hosts: BTreeMap<String, Host>,
    mute: JoinSet<()>,
    _dir: TempDir,
}

pub(crate) fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

impl Cluster {
    /// Reserves ports for these nodes and starts none: connecting clients wait.
    pub(crate) fn planned(ids: &[&str]) -> Self {
        let processes: Vec<_> = ids.iter().map(|id| process(id)).collect();
        let topology = Topology::full(&processes).expect("distinct ids");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Self {
            members: Vec::new(),
            topology,
            deadline: DEADLINE,
            open_max: 64,
            store: StoreSettings::default(),
            history: HistorySettings::default(),
            interval: None,
            clocks: BTreeMap::new(),
            api: ApiSettings::default(),
            sockets: BTreeMap::new(),
            hosts: BTreeMap::new(),
            mute: JoinSet::new(),
            stores: dir.path().to_path_buf(),
            _dir: dir,
        };
        for id in ids {
            cluster.plan(id);
        }
        cluster
    }

    fn plan(&mut self, id: &str) {
        let sockets = Sockets {
            grpc: listen("127.0.0.1:0"),
            rest: listen("127.0.0.1:0"),
        };
        self.members.push(Member {
            id: process(id),
            grpc: address(&sockets.grpc).to_string(),
            rest: Some(address(&sockets.rest).to_string()),
            transport: Transport::Native,
        });
        self.clocks.insert(id.to_owned(), ClockSettings::default());
        self.sockets.insert(id.to_owned(), sockets);
    }

    /// With only these channels.
    pub(crate) fn with_channels(mut self, channels: &[(&str, &str)]) -> Self {
        let processes: Vec<_> = self.members.iter().map(|one| one.id.clone()).collect();
        let channels = channels.iter().map(|(from, to)| ChannelId {
            from: process(from),
            to: process(to),
        });
        self.topology = Topology::new(&processes, channels).expect("it is strongly connected");
        self
    }

    /// With this snapshot deadline.
    pub(crate) fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With this limit of open snapshots per node.
    pub(crate) fn with_open_max(mut self, open_max: usize) -> Self {
        self.open_max = open_max;
        self
    }

    /// With this choice of snapshots to keep.
    pub(crate) fn with_keep(mut self, keep: Keep) -> Self {
        self.history.keep = keep;
        self
    }

    /// With this limit of unpinned snapshots in the history.
    pub(crate) fn with_max_count(mut self, count: usize) -> Self {
        self.history.max_count = Some(count);
        self
    }

    /// Nodes started from now on know this process, too.
    pub(crate) fn with(&mut self, id: &str) {
        self.plan(id);
        self.connect_all();
    }

    /// Nodes started from now on do not know this process.
    pub(crate) fn without(&mut self, id: &str) -> &mut Self {
        self.members.retain(|member| member.id.as_str() != id);
        self.sockets.remove(id);
        self.connect_all();
        self
    }

    fn connect_all(&mut self) {
        let processes: Vec<_> = self.members.iter().map(|one| one.id.clone()).collect();
        self.topology = Topology::full(&processes).expect("distinct ids");
    }

    /// The history settings of nodes started from now on.
    pub(crate) fn history(&mut self) -> &mut HistorySettings {
        &mut self.history
    }

    /// The disk limits of nodes started from now on.
    pub(crate) fn store_settings(&mut self) -> &mut StoreSettings {
        &mut self.store
    }

    /// The clock settings of a node.
    pub(crate) fn clock(&mut self, id: &str) -> &mut ClockSettings {
        self.clocks.get_mut(id).expect("it is planned")
    }

    /// With scheduled snapshots at this interval.
    pub(crate) fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// With a unary process that listens and never answers.
    pub(crate) fn with_other_make(mut self, id: &str) -> Self {
        let other = self.members.iter_mut().find(|one| one.id.as_str() == id);
        other.expect("it is planned").transport = Transport::Unary;
        let sockets = self.sockets.remove(id);
        crate::mute::serve(&mut self.mute, sockets.expect("it is planned").grpc);
        self
    }

    /// As without a cluster file: the transport of peers is unspecified.
    pub(crate) fn with_peers_unsaid(mut self) -> Self {
        let members = self.members.iter_mut();
        members.for_each(|member| member.transport = Transport::Unsaid);
        self
    }

    /// With this name for the REST ports of all nodes.
    pub(crate) fn with_host_name(mut self, name: &str) -> Self {
        self.api.hosts.push(name.to_owned());
        self
    }

    /// Starts all planned nodes.
    pub(crate) async fn started(mut self) -> Self {
        for id in self.sockets.keys().cloned().collect::<Vec<_>>() {
            self.start(&id).await;
        }
        self
    }

    /// A running, connected cluster with a channel between every two processes.
    pub(crate) async fn up(ids: &[&str]) -> Self {
        let cluster = Self::planned(ids).started().await;
        cluster.connected().await;
        cluster
    }

    /// The same nodes on the same stores and ports.
    pub(crate) async fn started_again(mut self, ids: &[&str]) -> Self {
        for id in ids {
            self.start(id).await;
        }
        self
    }

    pub(crate) async fn start(&mut self, id: &str) {
        let started = self.try_start(id).await;
        started.unwrap_or_else(|error| unreachable!("{id}: {error}"));
    }

    /// Starts a node whose store may be refused.
    pub(crate) async fn try_start(&mut self, id: &str) -> Result<(), NodeError> {
        let mut sockets = self.sockets.remove(id);
        let what = format!("{id} started");
        let started = until(&what, async || {
            let sockets = match sockets.take() {
                Some(sockets) => sockets,
                None => self.ports_again(id)?,
            };
            match Host::start(self.config(id), sockets).await {
                // A thread of the previous instance may still hold the lock.
                Err(NodeError::Store(StoreError::InUse(_))) => None,
                started => Some(started),
            }
        });
        let host = started.await?;
        self.hosts.insert(id.to_owned(), host);
        Ok(())
    }

    /// Starts a second node with the same id on another store and other ports.
    pub(crate) async fn second(&self, id: &str, dir: &Path) -> (Host, Rest) {
        let sockets = Sockets {
            grpc: listen("127.0.0.1:0"),
            rest: listen("127.0.0.1:0"),
        };
        let mut config = self.config(id);
        config.dir = dir.to_path_buf();
        let rest = Rest::new(address(&sockets.rest));
        let member = config.members.iter_mut().find(|one| one.id.as_str() == id);
        let member = member.expect("it is planned");
        member.grpc = address(&sockets.grpc).to_string();
        member.rest = Some(address(&sockets.rest).to_string());
        let host = Host::start(config, sockets).await;
        (host.expect("the store opens"), rest)
    }

    // A port that was free a moment ago may be in use as the local end of another connection.
    fn ports_again(&self, id: &str) -> Option<Sockets> {
        let member = self.member(id);
        let bound = |address: &str| TcpListener::bind(address).ok();
        Some(Sockets {
            grpc: bound(&member.grpc)?,
            rest: bound(member.rest.as_deref()?)?,
        })
    }

    /// Closes the ports of a node that was never started.
    pub(crate) fn close(&mut self, id: &str) {
        self.sockets.remove(id);
    }

    /// The directory of a node's store.
    pub(crate) fn store(&self, id: &str) -> PathBuf {
        self.stores.join(id)
    }

    /// Stopped nodes will start on stores in another directory.
    pub(crate) fn move_to(&mut self, stores: &Path) {
        self.stores = stores.to_path_buf();
    }

    /// Removes the store of a stopped node.
    pub(crate) fn wipe(&self, id: &str) {
        std::fs::remove_dir_all(self.store(id)).expect("the node is stopped and had a store");
    }

    pub(crate) async fn stop(&mut self, id: &str) {
        self.hosts.remove(id).expect("the node runs").stop().await;
    }

    /// Stops all running nodes, one after the other.
    pub(crate) async fn stop_all(&mut self) {
        while let Some((_, host)) = self.hosts.pop_last() {
            host.stop().await;
        }
    }

    pub(crate) fn handle(&self, id: &str) -> &Handle {
        self.hosts[id].handle()
    }

    pub(crate) fn rest(&self, id: &str) -> Rest {
        let rest = self.member(id).rest.as_ref();
        Rest::new(rest.expect("every member has one"))
    }

    /// A gRPC connection, established at its first use.
    pub(crate) fn grpc(&self, id: &str) -> Channel {
        connection(&self.member(id).grpc)
    }

    pub(crate) fn grpc_address(&self, id: &str) -> String {
        self.member(id).grpc.clone()
    }

    pub(crate) fn bank(&self, id: &str) -> BankServiceClient<Channel> {
        BankServiceClient::new(self.grpc(id))
    }

    pub(crate) async fn deposit(&self, id: &str, account_id: &str, amount: i64) {
        let account_id = account_id.to_owned();
        let request = DepositRequest { account_id, amount };
        let answer = self.bank(id).deposit(request).await;
        let answer = answer.expect("the node answers").into_inner();
        assert!(answer.success, "{}", answer.error);
    }

    /// Waits until every channel between running nodes is open and nothing is in progress.
    pub(crate) async fn connected(&self) {
        for (id, host) in &self.hosts {
            let handle = host.handle();
            let runs = |end: &ProcessId| self.hosts.contains_key(end.as_str());
            let channels = self.topology.channels();
            let own: Vec<_> = channels
                .filter(|channel| runs(&channel.from) && runs(&channel.to))
                .filter(|channel| channel.from.as_str() == id || channel.to.as_str() == id)
                .collect();
            until(&format!("open channels at {id}"), async || {
                let open = |channel: &ChannelId| handle.link(channel).as_str() == "open";
                own.iter().all(open).then_some(())
            })
            .await;
        }
    }

    /// Waits until every running node has this snapshot, complete. A node has what another has published a moment later.
    pub(crate) async fn has_everywhere(&self, id: &str) {
        for of in self.hosts.keys() {
            let rest = self.rest(of);
            rest.snapshot_from_elsewhere(id, "complete").await;
        }
    }

    /// The running nodes.
    pub(crate) fn running(&self) -> Vec<String> {
        self.hosts.keys().cloned().collect()
    }

    /// The gRPC and REST addresses of a node.
    pub(crate) fn addresses(&self, id: &str) -> (String, String) {
        let member = self.member(id);
        let rest = member.rest.as_deref();
        (member.grpc.clone(), rest.unwrap_or_default().to_owned())
    }

    fn member(&self, id: &str) -> &Member {
        let member = self.members.iter().find(|one| one.id.as_str() == id);
        member.expect("it is planned")
    }

    fn config(&self, id: &str) -> NodeConfig {
        NodeConfig {
            cluster: "tested".to_owned(),
            me: process(id),
            members: self.members.clone(),
            topology: self.topology.clone(),
            dir: self.stores.join(id),
            snapshot: SnapshotSettings {
                interval: self.interval,
                deadline: self.deadline,
                open_max: self.open_max,
            },
            store: self.store.clone(),
            history: self.history.clone(),
            clock: self.clocks[id].clone(),
            limits: LIMITS_DEFAULT,
            currency: None,
            otel: None,
            archive: None,
            tls: None,
            api: self.api.clone(),
            auth: None,
            unprotected: None,
        }
    }
}

pub(crate) fn connection(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint.expect("an address makes a URI").connect_lazy()
}

pub(crate) fn listen(address: &str) -> TcpListener {
    TcpListener::bind(address).expect("a free port")
}

pub(crate) fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("it is bound")
}
