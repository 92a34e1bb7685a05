//! A recorded state in its working form; the frozen types of each format convert to and from it.

use crate::history::part::RecordedState;
use crate::process::registers::Registers;

/// A recorded state with its registers, from which a restart begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct StoredState {
    pub(in crate::store) registers: Registers,
    pub(in crate::store) recorded: RecordedState,
}
