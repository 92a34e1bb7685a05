//! The environment of tests in this folder: process p, whose only peer q is never reached.

use std::sync::Arc;

use super::events::Events;
use super::in_progress::InProgress;
use super::parts::tests::{Alone, alone, process};
use crate::config::{
    ClockSettings, HistorySettings, Member, NodeConfig, SnapshotSettings, StoreSettings, Transport,
};
use crate::node::health::wall::Clock;
use crate::node::peers::{Peers, Remembered};
use crate::process::clock::Hlc;
use crate::process::topology::Topology;
use crate::transport::link::Links;

pub(super) struct Fixture {
    pub(super) config: Arc<NodeConfig>,
    pub(super) peers: Arc<Peers>,
    pub(super) events: Arc<Events>,
    pub(super) in_progress: Arc<InProgress>,
    pub(super) alone: Alone,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let alone = alone();
        let member = |id: &str| Member {
            id: process(id),
            grpc: "127.0.0.1:1".to_owned(),
            rest: None,
            transport: Transport::Native,
        };
        let config = Arc::new(NodeConfig {
            cluster: "c".to_owned(),
            me: process("p"),
            members: vec![member("p"), member("q")],
            topology: Topology::full(&[process("p"), process("q")]).expect("two processes"),
            dir: alone.dir.path().to_path_buf(),
            snapshot: SnapshotSettings::default(),
            store: StoreSettings::default(),
            history: HistorySettings::default(),
            clock: ClockSettings::default(),
        });
        let wall = Arc::new(Clock::new(&config.clock, Hlc::default()));
        let peers = Peers::new(
            &config,
            Remembered::default(),
            Links::default(),
            Arc::clone(&wall),
        );
        let peers = Arc::new(peers.expect("good addresses"));
        let events = Arc::new(Events::new(1, wall));
        let in_progress = InProgress::new(&config.topology, &peers, &alone.parts.store, &events);
        Self {
            config,
            peers,
            events,
            in_progress: Arc::new(in_progress),
            alone,
        }
    }
}
