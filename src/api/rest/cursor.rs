//! Page cursors. Opaque to clients. A cursor is valid only for the query that produced it: a position in one statement
//! means nothing in another, or in the same one in reverse order.

use super::super::error::Failure;
use crate::history::statement::EntryPlace;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, ProcessId, SnapshotId};

/// The position in a list after which the next page begins. Its text form separates fields by line breaks, which ids
/// cannot contain.
pub(in crate::api) trait PageStart: Sized {
    /// The position as text; the first word identifies the kind of list.
    fn text(&self) -> String;
    /// Parses the text.
    fn read(text: &str) -> Option<Self>;
}

/// In the history, newest first.
pub(in crate::api) type InHistory = (Hlc, SnapshotId);
/// In the balances of a snapshot. The next page reads the same revision even if a newer one is published; 0 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InBalances {
    pub(super) revision: u32,
    pub(super) account: (ProcessId, AccountId),
}
/// In the differences between two snapshots, or a snapshot and an instant. The next page compares the same revisions
/// and instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InDiff {
    /// 0 is none or an instant.
    pub(super) revisions: [u32; 2],
    /// The last clock value of the instant: `now` and `-5m` are resolved for the first page only.
    pub(super) instant: Option<Hlc>,
    pub(super) account: (ProcessId, AccountId),
}

/// In a list with bounds given as `now` or `-5m`, with the values resolved for the first page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Within<P> {
    pub(in crate::api) from: Option<Hlc>,
    pub(in crate::api) to: Option<Hlc>,
    pub(in crate::api) position: P,
}

/// The revision that the next page reads.
pub(in crate::api) fn going_on(revision: u32) -> Option<u32> {
    (revision > 0).then_some(revision)
}

impl PageStart for InHistory {
    fn text(&self) -> String {
        format!("history\n{}\n{}", self.0.0, self.1)
    }

    fn read(text: &str) -> Option<Self> {
        let (time, id) = text.strip_prefix("history\n")?.split_once('\n')?;
        Some((Hlc(time.parse().ok()?), SnapshotId::parse(id).ok()?))
    }
}

impl PageStart for InBalances {
    fn text(&self) -> String {
        let (process, account) = &self.account;
        format!("balances\n{}\n{process}\n{account}", self.revision)
    }

    fn read(text: &str) -> Option<Self> {
        let (revision, text) = text.strip_prefix("balances\n")?.split_once('\n')?;
        Some(Self {
            revision: revision.parse().ok()?,
            account: account(text)?,
        })
    }
}

impl PageStart for InDiff {
    fn text(&self) -> String {
        let (process, account) = &self.account;
        let [from, to] = self.revisions;
        match self.instant {
            Some(Hlc(instant)) => format!("until\n{from}\n{instant}\n{process}\n{account}"),
            None => format!("diff\n{from}\n{to}\n{process}\n{account}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (list, text) = text.split_once('\n')?;
        let (from, text) = text.split_once('\n')?;
        let (to, text) = text.split_once('\n')?;
        let from = from.parse().ok()?;
        let (revisions, instant) = match list {
            "diff" => ([from, to.parse().ok()?], None),
            "until" => ([from, 0], Some(Hlc(to.parse().ok()?))),
            _ => return None,
        };
        Some(Self {
            revisions,
            instant,
            account: account(text)?,
        })
    }
}

impl<P: PageStart> PageStart for Within<P> {
    fn text(&self) -> String {
        let bound =
            |bound: Option<Hlc>| bound.map_or_else(String::new, |Hlc(time)| time.to_string());
        let (from, to) = (bound(self.from), bound(self.to));
        format!("within\n{from}\n{to}\n{}", self.position.text())
    }

    fn read(text: &str) -> Option<Self> {
        let bound = |text: &str| match text {
            "" => Some(None),
            time => Some(Some(Hlc(time.parse().ok()?))),
        };
        let (from, text) = text.strip_prefix("within\n")?.split_once('\n')?;
        let (to, position) = text.split_once('\n')?;
        Some(Self {
            from: bound(from)?,
            to: bound(to)?,
            position: P::read(position)?,
        })
    }
}

fn account(text: &str) -> Option<(ProcessId, AccountId)> {
    let (process, account) = text.split_once('\n')?;
    let process = ProcessId::parse(process).ok()?;
    Some((process, AccountId::parse(account).ok()?))
}

impl PageStart for EntryPlace {
    fn text(&self) -> String {
        format!("statement\n{}\n{}", self.position, self.ordinal)
    }

    fn read(text: &str) -> Option<Self> {
        let (position, ordinal) = text.strip_prefix("statement\n")?.split_once('\n')?;
        Some(Self {
            position: Lsn(position.parse().ok()?),
            ordinal: ordinal.parse().ok()?,
        })
    }
}

/// A checksum of a query, which its cursors must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct QueryFingerprint(u32);

impl QueryFingerprint {
    /// Of the path and the parameters. No part contains a line break.
    pub(in crate::api) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let append = |sum, part: &str| {
            crc32c::crc32c_append(crc32c::crc32c_append(sum, part.as_bytes()), b"\n")
        };
        Self(parts.into_iter().fold(0, append))
    }
}

/// The cursor for a position.
pub(in crate::api) fn encode(
    QueryFingerprint(question): QueryFingerprint,
    position: &impl PageStart,
) -> String {
    hex::encode(format!("{question:08x}\n{}", position.text()))
}

/// The position of a cursor.
pub(in crate::api) fn decode<P: PageStart>(
    QueryFingerprint(question): QueryFingerprint,
    cursor: Option<&str>,
) -> Result<Option<P>, Failure> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let position = text_of(cursor).and_then(|text| {
        let text = text.strip_prefix(&format!("{question:08x}\n"))?;
        P::read(text)
    });
    let why = "is not a cursor of this list; give next_cursor of the previous page with the same address and filters, \
               or leave it out";
    position
        .map(Some)
        .ok_or_else(|| Failure::malformed("cursor", why))
}

/// Reads a text as a cursor of each list, and as the place within one.
pub(in crate::api) fn read_any(text: &str) {
    let _ = text_of(text);
    let _ = InHistory::read(text);
    let _ = InBalances::read(text);
    let _ = InDiff::read(text);
    let _ = EntryPlace::read(text);
    let _ = Within::<EntryPlace>::read(text);
}

fn text_of(cursor: &str) -> Option<String> {
    String::from_utf8(hex::decode(cursor).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question() -> QueryFingerprint {
        QueryFingerprint::of(["/v1/somewhere", "order", "oldest"])
    }

    // Whether a cursor decodes to its position, and is refused for another query.
    fn leads_back<P: PageStart + PartialEq>(position: &P) -> bool {
        let cursor = encode(question(), position);
        let other = QueryFingerprint::of(["/v1/somewhere", "order", "newest"]);
        let again = decode::<P>(question(), Some(&cursor)).ok().flatten();
        again.as_ref() == Some(position) && decode::<P>(other, Some(&cursor)).is_err()
    }

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_place(time: u64, id in "[^\\p{Cc}]{1,32}") {
            let in_history = (Hlc(time), SnapshotId::parse(&id).expect("a valid id"));
            prop_assert!(leads_back(&in_history));
            let process = ProcessId::parse(&id).expect("a valid id");
            let account = (process, AccountId::parse(&id).expect("a valid id"));
            let in_balances = InBalances { revision: 3, account: account.clone() };
            prop_assert!(leads_back(&in_balances));
            let cursor = encode(question(), &in_balances);
            prop_assert!(decode::<InDiff>(question(), Some(&cursor)).is_err());
            let in_diff = InDiff { revisions: [0, 1_000_001], instant: None, account };
            prop_assert!(leads_back(&in_diff));
            let until = InDiff { revisions: [2, 0], instant: Some(Hlc(time)), ..in_diff };
            prop_assert!(leads_back(&until));
            let in_statement = EntryPlace { position: Lsn(time), ordinal: 7 };
            prop_assert!(leads_back(&in_statement));
            let within = Within { from: Some(Hlc(time)), to: None, position: in_statement };
            prop_assert!(leads_back(&within));
            let cursor = encode(question(), &within);
            prop_assert!(decode::<EntryPlace>(question(), Some(&cursor)).is_err());
        }

        #[test]
        fn no_text_is_too_odd(cursor in ".{0,40}") {
            let _ = decode::<InHistory>(question(), Some(&cursor));
            let _ = decode::<InBalances>(question(), Some(&cursor));
            let _ = decode::<InDiff>(question(), Some(&cursor));
            let _ = decode::<Within<InHistory>>(question(), Some(&cursor));
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let position = (Hlc(1), SnapshotId::parse("s").expect("a valid id"));
        let cursor = encode(question(), &position);
        assert!(decode::<InBalances>(question(), Some(&cursor)).is_err());
        assert!(decode::<InHistory>(question(), Some("")).is_err());
        assert_eq!(decode::<InHistory>(question(), None).ok(), Some(None));
    }
}
