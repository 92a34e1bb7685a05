//! A single node, for tests of code around a node.

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
        let me = ProcessId::parse("n1").expect("a valid id");
        let topology = Topology::full(std::slice::from_ref(&me));
        let member = Member {
            id: me.clone(),
            grpc: "127.0.0.1:1".to_owned(),
            rest: None,
            transport: Transport::Native,
        };
        let config = NodeConfig {
            cluster: "c".to_owned(),
            me,
            members: vec![member],
            topology: topology.expect("one process"),
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
