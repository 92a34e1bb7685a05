//! The process: pure, deterministic, without clock, randomness, socket or file.

pub mod ids;
pub mod topology;
