//! The health of a node: clocks, disk space, a hanging disk, failures; and its metrics.

pub(super) mod clock_jump;
pub(super) mod clock_watch;
pub(super) mod disk_space;
pub(super) mod disk_space_watch;
pub(super) mod failures;
pub(super) mod metrics;
pub(super) mod wall;
pub(super) mod watchdog;
