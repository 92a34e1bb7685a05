//! The figures that a task reads from the running node once a second: peers, channels, the queue, and snapshots.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::config::NodeConfig;
use crate::process::ids::{ChannelId, ProcessId};

type Labels = Vec<(&'static str, String)>;
type Seconds = Gauge<f64, AtomicU64>;

/// The gauges. A figure that is not known has no series.
#[derive(Debug, Default)]
pub(in crate::node) struct Standing {
    peer_up: Family<Labels, Gauge>,
    peer_last_seen: Family<Labels, Seconds>,
    channel_stopped: Family<Labels, Gauge>,
    channel_messages: Family<Labels, Gauge>,
    channel_oldest: Family<Labels, Seconds>,
    queue_depth: Gauge,
    no_room: Gauge,
    in_progress: Gauge,
    open: Gauge,
    last_complete: Family<Labels, Seconds>,
}

/// The figures of the node as a whole.
pub(super) struct NodeFigures {
    /// Inputs that wait for a turn.
    pub(super) queue_depth: usize,
    /// Whether new work is refused because the disk is nearly full.
    pub(super) no_room: bool,
    /// Snapshots without a revision.
    pub(super) in_progress: usize,
    /// Snapshots that are not complete.
    pub(super) open: usize,
    /// The start of the newest complete snapshot, microseconds since the Unix epoch.
    pub(super) last_complete_us: Option<u64>,
}

impl Standing {
    /// Adds the gauges, and the settings with which alerts compare them.
    pub(super) fn register(&self, registry: &mut Registry, config: &NodeConfig) {
        self.register_peers(registry);
        registry.register(
            "queue_depth",
            "Inputs that wait for a turn",
            self.queue_depth.clone(),
        );
        registry.register(
            "no_room",
            "1 while new work is refused because the disk is nearly full, else 0",
            self.no_room.clone(),
        );
        registry.register(
            "snapshots_in_progress",
            "Snapshots that this node assembles and that have no revision yet",
            self.in_progress.clone(),
        );
        registry.register(
            "snapshots_open",
            "Snapshots that this node assembles and that are not complete",
            self.open.clone(),
        );
        registry.register(
            "last_complete_timestamp_seconds",
            "Start of the newest complete snapshot in this history, Unix time",
            self.last_complete.clone(),
        );
        let free_space_min: Gauge = Gauge::default();
        free_space_min.set(whole(config.store.free_space_min));
        registry.register(
            "store_free_space_min_bytes",
            "The setting store.free_space_min",
            free_space_min,
        );
        if let Some(interval) = config.snapshot.interval {
            let gauge = Seconds::default();
            gauge.set(interval.as_secs_f64());
            let help = "The setting snapshot.interval; absent if no snapshots are scheduled";
            registry.register("snapshot_interval_seconds", help, gauge);
        }
    }

    fn register_peers(&self, registry: &mut Registry) {
        registry.register(
            "peer_up",
            "1 if the peer answers greetings, else 0",
            self.peer_up.clone(),
        );
        registry.register(
            "peer_last_seen_timestamp_seconds",
            "When the peer last answered, Unix time; absent if it never has",
            self.peer_last_seen.clone(),
        );
        registry.register(
            "channel_stopped",
            "1 if the channel is stopped until an operator decides, else 0",
            self.channel_stopped.clone(),
        );
        registry.register(
            "channel_in_flight_messages",
            "Messages of an outgoing channel that the receiver has not acknowledged",
            self.channel_messages.clone(),
        );
        registry.register(
            "channel_oldest_seconds",
            "Age of the oldest message that the receiver has not acknowledged; 0 if there is none",
            self.channel_oldest.clone(),
        );
    }

    /// Sets the figures of a peer. `last_seen_us`: microseconds since the Unix epoch.
    pub(super) fn peer(&self, peer: &ProcessId, is_up: bool, last_seen_us: Option<u64>) {
        let labels = vec![("peer", peer.to_string())];
        self.peer_up.get_or_create(&labels).set(is_up.into());
        if let Some(us) = last_seen_us {
            let gauge = self.peer_last_seen.get_or_create(&labels);
            gauge.set(seconds(us));
        }
    }

    /// Sets whether a channel of this process is stopped.
    pub(super) fn channel(&self, channel: &ChannelId, is_stopped: bool) {
        let gauge = self.channel_stopped.get_or_create(&of(channel));
        gauge.set(is_stopped.into());
    }

    /// Sets the figures of an outgoing channel. `oldest_us`: the age of its oldest message, microseconds; `None` if unknown.
    pub(super) fn outgoing(&self, channel: &ChannelId, in_flight: u64, oldest_us: Option<u64>) {
        let labels = of(channel);
        let messages = self.channel_messages.get_or_create(&labels);
        messages.set(whole(in_flight));
        match oldest_us {
            Some(us) => _ = self.channel_oldest.get_or_create(&labels).set(seconds(us)),
            None => _ = self.channel_oldest.remove(&labels),
        }
    }

    /// Sets the figures of the node as a whole.
    pub(super) fn node(&self, figures: &NodeFigures) {
        self.queue_depth.set(whole(figures.queue_depth as u64));
        self.no_room.set(figures.no_room.into());
        self.in_progress.set(whole(figures.in_progress as u64));
        self.open.set(whole(figures.open as u64));
        if let Some(us) = figures.last_complete_us {
            let gauge = self.last_complete.get_or_create(&Labels::new());
            gauge.set(seconds(us));
        }
    }
}

fn of(channel: &ChannelId) -> Labels {
    vec![
        ("from", channel.from.to_string()),
        ("to", channel.to.to_string()),
    ]
}

fn whole(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}
