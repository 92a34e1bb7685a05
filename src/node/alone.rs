//! A node without its peers, for tests of code around a node.

use super::Node;
use crate::config::{
    ApiSettings, ClockSettings, HistorySettings, LIMITS_DEFAULT, Member, NodeConfig,
    SnapshotSettings, StoreSettings, Transport,
};
use crate::process::ids::ProcessId;
use crate::process::query::ProcessStatus;
use crate::process::topology::Topology;

impl Node {
    /// Starts the only node of its cluster.
    pub(crate) async fn alone(dir: &std::path::Path) -> Self {
        Self::without_peers(dir, &["n1"]).await
    }

    /// Starts the first of these nodes; the others are never reached.
    pub(crate) async fn without_peers(dir: &std::path::Path, ids: &[&str]) -> Self {
        let ids = ids
            .iter()
            .map(|id| ProcessId::parse(id).expect("a valid id"));
        let ids: Vec<_> = ids.collect();
        let me = ids[0].clone();
        let member = |id: &ProcessId| Member {
            id: id.clone(),
            grpc: "127.0.0.1:1".to_owned(),
            rest: None,
            transport: Transport::Native,
        };
        let config = NodeConfig {
            cluster: "c".to_owned(),
            me,
            members: ids.iter().map(member).collect(),
            topology: Topology::full(&ids).expect("different processes"),
            dir: dir.to_path_buf(),
            snapshot: SnapshotSettings::default(),
            store: StoreSettings::default(),
            history: HistorySettings::default(),
            clock: ClockSettings::default(),
            limits: LIMITS_DEFAULT,
            currency: None,
            otel: None,
            archive: None,
            tls: None,
            api: ApiSettings::default(),
            auth: None,
            unprotected: None,
        };
        let node = Self::start(config).await.expect("a new store");
        let begun = node.handle().query(ProcessStatus).await;
        begun.expect("the journal has begun");
        node
    }
}
