//! Decisions: what a person decides about the history. Each is a record, so that the journal says who decided what, and when.
//! It changes no money; the change itself is made where it belongs.

use super::ids::{ID_BYTES_MAX, ProcessId, SnapshotId};

/// A decision, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Who made it.
    pub actor: Actor,
    /// What was decided.
    pub change: Change,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A snapshot is pinned. Recorded before it takes effect.
    Pinned(SnapshotId),
    /// A snapshot is unpinned. Recorded before it takes effect.
    Unpinned(SnapshotId),
    /// The lost store of a peer is given up; [`Record::Forgotten`](super::record::Record::Forgotten) of the same turn settles
    /// its money.
    StoreForgotten(ProcessId),
    /// The limits of the history of this node.
    Limits {
        /// Older snapshots are deleted, in microseconds; `None`: no limit.
        max_age_us: Option<u64>,
        /// So many of the newest snapshots are kept; `None`: no limit.
        max_count: Option<u64>,
    },
    /// The store is the right one of several copies. Decided while its node was stopped, and recorded at the next start.
    Vouched {
        /// The number of boots to which it was raised.
        boot: u64,
    },
}

/// Who makes a decision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    /// The name, as far as it was proven.
    pub name: Name,
    /// The id of the request.
    pub request: Option<Box<str>>,
}

/// The name of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Name {
    /// Nobody proved a name: the node asks for none.
    #[default]
    Unproven,
    /// The name of a token or certificate.
    Client(Box<str>),
    /// The name of a user of the operating system.
    System(Box<str>),
}

impl Name {
    /// As people and programs see it: the name of a client, `os:` and that of a user of the operating system.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Unproven => None,
            Self::Client(name) => Some(name.to_string()),
            Self::System(name) => Some(format!("os:{name}")),
        }
    }
}

impl Actor {
    /// The actor of a request to a node, by the name that its token or certificate proves and the id of the request. Long
    /// texts are cut to the length of an id.
    #[must_use]
    pub fn of_request(name: Option<&str>, request: Option<&str>) -> Self {
        Self {
            name: name.map_or(Name::Unproven, |name| Name::Client(cut(name))),
            request: request.map(cut),
        }
    }

    /// A user of the operating system.
    #[must_use]
    pub fn of_system(user: &str) -> Self {
        Self {
            name: Name::System(cut(user)),
            request: None,
        }
    }
}

// A name must not make a record larger than an id does.
fn cut(text: &str) -> Box<str> {
    let end = (0..=ID_BYTES_MAX.min(text.len())).rev();
    let mut ends = end.filter(|end| text.is_char_boundary(*end));
    text[..ends.next().unwrap_or(0)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a header of a request could grow the journal without bound.
    #[test]
    fn a_long_name_is_cut_between_characters() {
        let actor = Actor::of_request(Some("ops"), Some(&"\u{e4}".repeat(1000)));
        assert_eq!(actor.name, Name::Client("ops".into()));
        let request = actor.request.expect("it has one");
        assert_eq!(request.len(), ID_BYTES_MAX);
        let odd = Actor::of_system(&format!("a{}", "\u{e4}".repeat(1000)));
        assert!(matches!(odd.name, Name::System(name) if name.len() == ID_BYTES_MAX - 1));
    }
}
