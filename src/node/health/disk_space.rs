//! How much room the file system of the store has left, and who may still use it.
//!
//! A full disk ends a node, so work stops before. New work of clients is refused first. What peers send is durable on
//! their side and can wait without loss, yet each message that is taken brings money or a marker home: so it has a
//! reserve, a quarter of the minimum, that clients do not touch. Below that messages wait in the sender's journal.
//! Acknowledgements, parts of snapshots that run, and checkpoints always pass: they are bounded by what was taken before.

use crate::config::show_size;
use crate::node::error::Unavailable;
use crate::process::input::Input;

/// The share of the minimum that is kept for peers.
const RESERVE: u64 = 4;

/// The room at the last look, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct DiskSpace {
    pub(in crate::node) free: u64,
    pub(in crate::node) min: u64,
}

impl DiskSpace {
    /// Whether there is room for new work of clients.
    pub(in crate::node) fn for_clients(self) -> Result<(), Unavailable> {
        self.over(self.min)
    }

    /// Whether there is room for what peers send.
    pub(in crate::node) fn for_peers(self) -> Result<(), Unavailable> {
        self.over(self.min / RESERVE)
    }

    /// Whether there is room for this input.
    pub(in crate::node) fn for_input(self, input: &Input) -> Result<(), Unavailable> {
        match input {
            Input::Operation { .. } | Input::Initiate { .. } => self.for_clients(),
            Input::Called { .. } | Input::Arrived { .. } => self.for_peers(),
            _ => Ok(()),
        }
    }

    fn over(self, floor: u64) -> Result<(), Unavailable> {
        if self.free >= floor {
            return Ok(());
        }
        let (free, min) = (show_size(self.free), show_size(self.min));
        Err(Unavailable::NoRoom { free, min })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_refused_before_peers_wait() {
        let room = |free| DiskSpace { free, min: 400 };
        let allowed = |free| {
            (
                room(free).for_clients().is_ok(),
                room(free).for_peers().is_ok(),
            )
        };
        assert_eq!(allowed(400), (true, true));
        assert_eq!(allowed(399), (false, true));
        assert_eq!(allowed(100), (false, true));
        assert_eq!(allowed(99), (false, false));
        let none = DiskSpace { free: 0, min: 0 };
        assert!(none.for_clients().is_ok(), "no minimum, no guard");
    }
}
