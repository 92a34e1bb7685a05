//! How a snapshot was started, as the process that started it recorded it.

use super::clock::Hlc;

/// The start of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// What started it.
    pub by: StartedBy,
    /// The time from the start until what is present is published, microseconds.
    pub deadline_us: u64,
}

/// What started a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartedBy {
    /// A client requested it.
    Request,
    /// The schedule of the node.
    Interval,
}

impl StartedBy {
    /// Both, in the order in which they are documented.
    pub const ALL: [Self; 2] = [Self::Request, Self::Interval];

    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Interval => "interval",
        }
    }

    /// Parses a name; `None` if there is no such name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == name)
    }
}

impl Start {
    /// The instant of the deadline, for a snapshot started at this time by the same clock.
    #[must_use]
    pub fn deadline(&self, initiated_at: Hlc) -> Hlc {
        Hlc::at(initiated_at.wall_us().saturating_add(self.deadline_us))
    }
}
