//! Background threads: they write states, parts and indexes, and return free memory to the system.

pub(super) mod indexer;
pub(super) mod memory;
pub(super) mod part_writer;
pub(super) mod recorder;
pub(super) mod recorder_queue;
