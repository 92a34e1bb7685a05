//! Cuts as text, so that a client can request a cut again. Opaque to clients.

use std::collections::BTreeMap;

use super::error::Failure;
use crate::cluster::audit::Cut;
use crate::history::past::JournalPosition;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};

impl Cut {
    /// The token for clients. The checksum covers `cluster`, so a token of another cluster is rejected.
    pub(super) fn token(&self, cluster: &str) -> String {
        let at = self.at.map_or_else(String::new, |at| at.0.to_string());
        let mut text = format!("cut\n{at}");
        for (process, place) in &self.places {
            let journal = hex::encode(&place.journal);
            text.push_str(&format!("\n{process}\n{} {journal}", place.position));
        }
        let checksum = checksum(&text, cluster);
        hex::encode(text) + &hex::encode(checksum)
    }

    /// Parses a token from a client.
    pub(super) fn read(token: &str, cluster: &str) -> Result<Self, Failure> {
        let why = "is not a cut of this cluster; give cut.token of an earlier answer";
        read(token, cluster).ok_or_else(|| Failure::malformed("cut", why))
    }
}

fn read(token: &str, cluster: &str) -> Option<Cut> {
    let bytes = hex::decode(token).ok()?;
    let (text, stored) = bytes.split_last_chunk::<4>()?;
    let text = std::str::from_utf8(text).ok()?;
    match *stored == checksum(text, cluster) {
        true => parse(text),
        false => None,
    }
}

fn parse(text: &str) -> Option<Cut> {
    let mut lines = text.strip_prefix("cut\n")?.split('\n');
    let at = match lines.next()? {
        "" => None,
        at => Some(Hlc(at.parse().ok()?)),
    };
    let mut places = BTreeMap::new();
    while let Some(process) = lines.next() {
        let (position, journal) = lines.next()?.split_once(' ')?;
        let place = JournalPosition {
            position: Lsn(position.parse().ok()?),
            journal: hex::decode(journal).ok()?,
        };
        places.insert(ProcessId::parse(process).ok()?, place);
    }
    Some(Cut { at, places })
}

/// Reads a text as a token, and as what a token encodes.
pub(super) fn read_any(text: &str) {
    let _ = read(text, "");
    let _ = parse(text);
}

// Ids contain no line breaks, so the text cannot run into the cluster name.
fn checksum(text: &str, cluster: &str) -> [u8; 4] {
    let sum = crc32c::crc32c(text.as_bytes());
    let sum = crc32c::crc32c_append(sum, b"\n\n");
    crc32c::crc32c_append(sum, cluster.as_bytes()).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cut_comes_back_and_any_other_is_refused(
            at: Option<u64>,
            places in prop::collection::btree_map("[^\\p{Cc}]{1,20}", any::<(u64, [u8; 8])>(), 0..4),
            place in any::<prop::sample::Index>(),
        ) {
            let places = places.iter().map(|(process, (position, journal))| {
                let place = JournalPosition { position: Lsn(*position), journal: journal.to_vec() };
                (ProcessId::parse(process).expect("a valid id"), place)
            });
            let cut = Cut { at: at.map(Hlc), places: places.collect() };
            let token = cut.token("demo");
            prop_assert_eq!(read(&token, "demo"), Some(cut));
            prop_assert_eq!(read(&token, "other"), None);
            let mut other = token.into_bytes();
            let place = place.index(other.len());
            other[place] = if other[place] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).expect("digits");
            prop_assert_eq!(read(&other, "demo"), None);
        }

        #[test]
        fn no_text_is_too_odd(token in ".{0,40}") {
            let _ = read(&token, "demo");
        }
    }
}
