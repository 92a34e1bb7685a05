//! The history: global states, their parts, and the certificate that no money was lost.
//!
//! Pure: from facts to verdicts. This module does not know where facts are stored or how they are collected.

pub mod assembly;
pub mod audit;
pub mod diagram;
pub mod diff;
pub mod global;
mod joined;
pub mod known;
pub mod lineage;
pub mod movement;
pub mod part;
pub mod past;
pub mod pin;
pub mod process_totals;
pub mod reported;
pub mod series;
pub mod statement;
pub mod unattributed;
pub mod verify;
pub mod vitals;
