//! The identity of a process: its store and the start of the store.

/// The number of boots that are added where copies of a store may have been started: more than any of them will have had.
pub const BOOTS_AHEAD: u64 = 1000;

/// The store on which a process runs, and the start of that store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// A random id, drawn when the store is created.
    pub store: [u8; 16],
    /// The number of starts, incremented durably at each.
    pub boot: u64,
    /// A random number drawn at each start, which tells two copies of one store with the same boot number apart. 0 for peers
    /// recorded under format 1, which had no run.
    pub run: u64,
}

impl Identity {
    /// The identity that refuses every start of this store, after an operator has given it up.
    #[must_use]
    pub fn given_up(self) -> Self {
        Self {
            boot: u64::MAX,
            ..self
        }
    }

    /// The identity of the store that replaces this lost one: its boot is higher than any copy of that will have had.
    #[must_use]
    pub fn successor(self, run: u64) -> Self {
        Self {
            boot: self.boot.saturating_add(BOOTS_AHEAD),
            run,
            ..self
        }
    }

    /// Whether this is a start of a store that replaced an earlier one and all its copies.
    #[must_use]
    pub fn is_ahead_of_copies_of(&self, earlier: Self) -> bool {
        self.boot >= earlier.boot.saturating_add(BOOTS_AHEAD)
    }

    /// The store id in hexadecimal, as messages show it.
    #[must_use]
    pub fn store_in_hexadecimal(&self) -> Box<str> {
        hex::encode(self.store).into()
    }

    /// Whether an operator has given this store up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.boot == u64::MAX
    }
}
