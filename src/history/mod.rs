//! The history: global states that are kept, what they are made of, and the certificate that no money was lost.
//!
//! Pure: facts in, verdict out. Where the facts are stored and how they are gathered is not known here.

pub mod assembly;
pub mod audit;
pub mod diff;
pub mod global;
pub mod lineage;
pub mod movement;
pub mod part;
pub mod process_totals;
pub mod reported;
pub mod statement;
pub mod verify;
