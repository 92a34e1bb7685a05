//! The identity of a process: its store, and which start of it.

/// The store a process runs on, and which opening of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the store was made.
    pub store: [u8; 16],
    /// Counted durably at every start.
    pub boot: u64,
    /// Drawn at every start: two copies of one store count the same boot, and draw differently. 0 where a peer was
    /// met under format 1, which had none.
    pub run: u64,
}

impl Identity {
    /// The store of a peer after an operator has given it up: no start of it will do.
    #[must_use]
    pub fn given_up(self) -> Self {
        Self {
            boot: u64::MAX,
            ..self
        }
    }

    /// Its store, as messages for people name it.
    #[must_use]
    pub fn store_in_hexadecimal(&self) -> Box<str> {
        hexadecimal(&self.store)
    }

    /// Whether an operator has given this store up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.boot == u64::MAX
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> Box<str> {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.into()
}
