//! What leaves a process only after the archive has the turn that it depends on.

use crate::process::input::Input;

/// Who receives what leaves a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A client of this process.
    Client,
    /// Other processes, or everybody through a snapshot: they come to depend on it.
    Processes,
}

/// What waits for the archive, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Waits {
    /// Nothing.
    Nothing,
    /// What other processes come to depend on.
    Processes,
    /// Everything.
    Everything,
}

impl Audience {
    /// Who receives the replies to inputs that a client submits. Processes ask each other about instants, and a snapshot that
    /// has begun is published, whatever becomes of it.
    #[must_use]
    pub fn of(inputs: &[Input]) -> Self {
        let is_for_client = |input: &Input| matches!(input, Input::Operation { .. });
        match inputs.iter().all(is_for_client) {
            true => Self::Client,
            false => Self::Processes,
        }
    }
}

impl Waits {
    /// What waits with this value of `archive.journal`; `None` if nothing is shipped or the value is unknown.
    #[must_use]
    pub fn named(journal: &str) -> Option<Self> {
        let all = [Self::Nothing, Self::Processes, Self::Everything];
        all.into_iter().find(|waits| waits.name() == journal)
    }

    /// The value of `archive.journal`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "async",
            Self::Processes => "peers",
            Self::Everything => "sync",
        }
    }

    /// Whether what this audience receives waits until the archive has the turn. Messages, markers, acknowledgements, recorded
    /// states and parts are for [`Audience::Processes`].
    #[must_use]
    pub fn holds(self, audience: Audience) -> bool {
        match (self, audience) {
            (Self::Nothing, _) | (Self::Processes, Audience::Client) => false,
            (Self::Processes, Audience::Processes) | (Self::Everything, _) => true,
        }
    }

    /// Whether a process shows its recovered journal to others only once the archive has all of it: they would depend on turns
    /// that a second loss could take.
    #[must_use]
    pub fn holds_start(self) -> bool {
        self.holds(Audience::Processes)
    }

    /// Whether new work is refused at this lag of the archive.
    #[must_use]
    pub fn refuses<D: PartialOrd>(self, lag: D, lag_max: D) -> bool {
        self.holds(Audience::Processes) && lag > lag_max
    }
}
