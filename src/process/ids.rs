//! Newtypes for every id, sequence number, journal position, amount and hash.
//!
//! Every value is valid: ids have 1 to 128 bytes without control characters, amounts are positive. Short ids are stored inline
//! and longer ones are shared, so a clone never allocates. Outside input goes through `parse` or `new`, which refuse it with a
//! sentence. The serde form (a plain string or number) is part of the store format and frozen.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smol_str::SmolStr;

/// The maximum length of an id in UTF-8 bytes.
pub const ID_BYTES_MAX: usize = 128;

/// Why a string is not a valid id. The sentence names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The id is empty.
    #[error("{0} is empty; give 1 to {ID_BYTES_MAX} bytes")]
    Empty(&'static str),
    /// The id has more than [`ID_BYTES_MAX`] bytes.
    #[error("{0} has {1} bytes; at most {ID_BYTES_MAX} are allowed")]
    TooLong(&'static str, usize),
    /// The id contains a control character.
    #[error("{0} contains a control character; use printable characters only")]
    Control(&'static str),
}

fn parse_id(field: &'static str, text: &str) -> Result<SmolStr, Malformed> {
    if text.is_empty() {
        return Err(Malformed::Empty(field));
    }
    if text.len() > ID_BYTES_MAX {
        return Err(Malformed::TooLong(field, text.len()));
    }
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_plain && text.chars().any(char::is_control) {
        return Err(Malformed::Control(field));
    }
    Ok(SmolStr::new(text))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks `text`: 1 to [`ID_BYTES_MAX`] bytes, no control characters.
            ///
            /// # Errors
            /// [`Malformed`] with a sentence that names the field.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                parse_id($field, text).map(Self)
            }

            /// The id as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{}", $field)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A participant of the cluster.
    ProcessId,
    "process id"
);
id!(
    /// An account of one process. The same id on two processes names two accounts.
    AccountId,
    "account id"
);
id!(
    /// A global snapshot.
    SnapshotId,
    "snapshot id"
);
id!(
    /// The id that a client gives to a request, which makes a retry idempotent.
    RequestId,
    "request id"
);
id!(
    /// A key of the key-value application.
    Key,
    "key"
);

/// A directed FIFO channel between two processes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The sending process.
    pub from: ProcessId,
    /// The receiving process.
    pub to: ProcessId,
}

impl ChannelId {
    /// The channel in the opposite direction.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
        }
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.from, self.to)
    }
}

/// A message's sequence number on its channel, from 1; 0 means none yet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A position in one process's journal: the number of a turn, from 1; 0 is the empty journal.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An amount of money in minor units, always positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Amount(i64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let units = i64::deserialize(deserializer)?;
        Self::new(units).ok_or_else(|| de::Error::custom("an amount is positive"))
    }
}

impl Amount {
    /// The amount; `None` unless `units` is positive.
    #[must_use]
    pub fn new(units: i64) -> Option<Self> {
        (units > 0).then_some(Self(units))
    }

    /// The amount in minor units, positive.
    #[must_use]
    pub fn units(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A BLAKE3 hash of a chunk, a part or a journal entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_refused_at_every_border() {
        assert_eq!(AccountId::parse(""), Err(Malformed::Empty("account id")));
        assert!(AccountId::parse(&"a".repeat(128)).is_ok());
        assert_eq!(
            AccountId::parse(&"a".repeat(129)),
            Err(Malformed::TooLong("account id", 129))
        );
        assert_eq!(
            AccountId::parse("a\nb"),
            Err(Malformed::Control("account id"))
        );
        for odd in ["../etc", "%2F", "🦀", " "] {
            assert!(AccountId::parse(odd).is_ok(), "{odd}");
        }
    }

    #[test]
    fn amounts_are_positive() {
        assert!(Amount::new(0).is_none());
        assert!(Amount::new(-1).is_none());
        assert_eq!(Amount::new(i64::MAX).map(Amount::units), Some(i64::MAX));
    }
}
