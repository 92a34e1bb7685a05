//! The history: global states that are kept, what they are made of, and the certificate that no money was lost.
//!
//! Pure: facts in, verdict out. Where the facts are stored and how they are gathered is not known here.

pub mod assembly;
pub mod audit;
pub mod diff;
pub mod global;
pub mod kinship;
pub mod movement;
pub mod part;
pub mod share;
pub mod statement;
pub mod told;
pub mod verify;
