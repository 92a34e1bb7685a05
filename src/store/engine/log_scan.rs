//! Finds the readable end of sled's log without sled.
//!
//! sled takes the first unreadable message for the torn end of its log and overwrites everything after it with zeros
//! when it opens. Scanning before allows a damaged store to be refused unchanged. The layout is that of sled 0.34,
//! which is pinned: segments of one size, each with a header, then messages with checksums.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::files::{self, LOG, SEGMENT_BYTES, failed};
use crate::store::error::StoreError;

/// Checksum, address, and the address up to which the log was whole when the segment was begun.
const SEGMENT_HEADER_BYTES: usize = 20;
/// No message begins with less space than this left in a segment.
const MESSAGE_HEADER_BYTES_MAX: usize = 32;
/// sled masks addresses with this, so that zeros are not a valid header.
const MASK: u64 = 0x7fff_ffff_ffff_ffff;
const SEGMENT: u64 = SEGMENT_BYTES as u64;

/// The end of the readable log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct LogEnd {
    /// The address in sled's terms, which count every byte ever written to the log.
    pub(in crate::store) end: u64,
    /// The offset in the file; unknown if the segment itself is not found.
    pub(in crate::store) offset: Option<u64>,
}

/// Reads the newest segments as sled would, up to the first damaged message. Writes nothing.
///
/// # Errors
/// [`StoreError::Io`].
pub(in crate::store) fn find(dir: &Path) -> Result<LogEnd, StoreError> {
    let path = dir.join(LOG);
    let from = snapshot_address(dir)?;
    let log = match File::open(&path) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let (end, offset) = (0, None);
            return Ok(LogEnd { end, offset });
        }
        Err(error) => return Err(failed("cannot open", &path)(error)),
    };
    newest_segments(&log, from).map_err(failed("cannot read", &path))
}

// Earlier data is in sled's snapshot of its page table, which is named after its end address.
fn snapshot_address(dir: &Path) -> Result<u64, StoreError> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) => return Err(failed("cannot list", dir)(error)),
    };
    let mut newest = 0;
    for entry in listed {
        let name = entry.map_err(failed("cannot list", dir))?.file_name();
        let name = name.to_string_lossy();
        let address = name.strip_prefix("snap.").unwrap_or_default();
        if !files::is_leftover(&name) {
            newest = u64::from_str_radix(address, 16).unwrap_or(0).max(newest);
        }
    }
    Ok(newest)
}

fn newest_segments(log: &File, from: u64) -> io::Result<LogEnd> {
    let (mut segments, mut whole_up_to) = (BTreeMap::new(), from);
    for offset in (0..log.metadata()?.len()).step_by(SEGMENT_BYTES) {
        if let Some(header) = SegmentHeader::read(log, offset)? {
            segments.insert(header.address, offset);
            whole_up_to = whole_up_to.max(header.whole_up_to);
        }
    }
    let mut bytes = vec![0; SEGMENT_BYTES];
    let mut reach = LogEnd {
        end: whole_up_to / SEGMENT * SEGMENT,
        offset: None,
    };
    while let Some(offset) = segments.get(&reach.end) {
        let size = read_up_to(log, &mut bytes, *offset)?;
        let (whole, is_full) = whole_messages(&bytes[..size], reach.end / SEGMENT);
        reach = LogEnd {
            end: reach.end + whole as u64,
            offset: Some(offset + whole as u64),
        };
        if !is_full {
            break;
        }
    }
    Ok(reach)
}

struct SegmentHeader {
    address: u64,
    whole_up_to: u64,
}

impl SegmentHeader {
    /// `None` if it is damaged, or the segment was never used.
    fn read(log: &File, offset: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        if read_up_to(log, &mut bytes, offset)? < bytes.len() {
            return Ok(None);
        }
        let (checksum, covered) = bytes.split_at(4);
        if checksum != (!crc32fast::hash(covered)).to_le_bytes() {
            return Ok(None);
        }
        let (address, whole_up_to) = covered.split_at(8);
        let unmasked = |masked: &[u8]| little_endian(masked) ^ MASK;
        // sled stores -1 for an empty log.
        let whole_up_to = i64::try_from(unmasked(whole_up_to)).unwrap_or(0);
        Ok(Some(Self {
            address: unmasked(address),
            whole_up_to: whole_up_to.unsigned_abs(),
        }))
    }
}

// The number of readable bytes of a segment, and whether the segment is complete.
fn whole_messages(segment: &[u8], number: u64) -> (usize, bool) {
    let mut at = SEGMENT_HEADER_BYTES;
    while at + MESSAGE_HEADER_BYTES_MAX <= SEGMENT_BYTES {
        match LogMessage::read(segment, at, number) {
            Some(LogMessage { is_last: true, .. }) => return (SEGMENT_BYTES, true),
            Some(LogMessage { bytes, .. }) => at += bytes,
            // If no further message fits, sled continues in a new segment.
            None if at + MESSAGE_HEADER_BYTES_MAX == SEGMENT_BYTES => break,
            None => return (at, false),
        }
    }
    (SEGMENT_BYTES, true)
}

struct LogMessage {
    bytes: usize,
    is_last: bool,
}

impl LogMessage {
    /// `None` if it is torn, damaged, or left over from an earlier use of the segment.
    fn read(segment: &[u8], at: usize, number: u64) -> Option<Self> {
        const KIND_FILL: u8 = 2;
        const KIND_LAST: u8 = 11;
        let found = segment.get(at..)?;
        let (checksum, mut rest) = found.split_at_checked(4)?;
        let (kind, after) = rest.split_first()?;
        let is_known = (1..=KIND_LAST).contains(kind);
        rest = after;
        let length = usize::try_from(number_of(&mut rest)?).ok()?;
        let segment_number = number_of(&mut rest)?;
        number_of(&mut rest)?;
        let header = found.get(4..found.len() - rest.len())?;
        let body = rest.get(..length)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(body);
        hasher.update(header);
        let is_whole = (!hasher.finalize()).to_le_bytes() == *checksum;
        (is_known && is_whole && segment_number == number).then_some(Self {
            bytes: 4 + header.len() + length,
            is_last: *kind == KIND_FILL,
        })
    }
}

// sled's variable-length integers.
fn number_of(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let (value, used) = match *first {
        0..=240 => (u64::from(*first), 0),
        241..=248 => {
            let high = u64::from(*first) - 241;
            (240 + 256 * high + u64::from(*rest.first()?), 1)
        }
        249 => {
            let high = u64::from(*rest.first()?);
            (2288 + 256 * high + u64::from(*rest.get(1)?), 2)
        }
        250..=255 => {
            let used = usize::from(*first) - 247;
            (little_endian(rest.get(..used)?), used)
        }
    };
    *bytes = rest.get(used..)?;
    Some(value)
}

// Up to eight bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    let mut value = [0; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(value)
}

// Returns the number of bytes before the end of the file.
fn read_up_to(log: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match log.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than one segment holds, several times, so that segments are reused.
    const VALUES: u64 = 300;
    const VALUE_BYTES: usize = 60_000;
    const ROUNDS: u64 = 20;

    fn end(dir: &Path) -> LogEnd {
        find(dir).expect("it can be read")
    }

    fn engine(dir: &Path) -> sled::Db {
        files::await_release(dir).expect("nobody else has it");
        files::open_engine(dir, 0).expect("it is whole")
    }

    #[expect(clippy::disallowed_methods, reason = "no store is here")]
    fn write_round(db: &sled::Db, round: u64) -> u64 {
        let tree = db.open_tree("tree").expect("there is room");
        for key in 0..VALUES / 4 {
            let key = (key * 7 + round * 31) % VALUES;
            // Different from all earlier values.
            let mut bytes = vec![u8::try_from(round).expect("few"); VALUE_BYTES];
            bytes[..8].copy_from_slice(&(key ^ round).to_be_bytes());
            tree.insert(key.to_be_bytes(), bytes)
                .expect("there is room");
        }
        db.flush().expect("there is room");
        let last = db.context.pagecache.log.stable_offset();
        u64::try_from(last + 1).expect("something was written")
    }

    #[test]
    fn all_that_was_written_can_be_read_also_where_segments_are_used_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut db = engine(dir.path());
        let mut written = 0;
        for round in 0..ROUNDS {
            if round % 7 == 6 {
                drop(db);
                files::await_release(dir.path()).expect("nobody else has it");
                assert!(end(dir.path()).end >= written, "closed, round {round}");
                db = engine(dir.path());
            }
            written = write_round(&db, round);
            let reach = end(dir.path());
            assert!(
                reach.end >= written,
                "round {round}: {reach:?}, {written} written"
            );
        }
        let bytes = fs::metadata(dir.path().join(LOG)).expect("it is there");
        assert!(
            bytes.len() < written,
            "no segment was used again: the test is blind"
        );
    }

    #[test]
    fn it_ends_at_a_flipped_bit_and_nothing_is_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let db = engine(dir.path());
        let written = write_round(&db, 1);
        drop(db);
        files::await_release(dir.path()).expect("nobody else has it");
        let path = dir.path().join(LOG);
        let good = fs::read(&path).expect("it is readable");
        for place in [4, 30, 1000, 500_000, 2_000_000] {
            let mut damaged = good.clone();
            damaged[place] ^= 4;
            fs::write(&path, &damaged).expect("there is room");
            let reach = end(dir.path());
            let offset = reach.offset.unwrap_or_default();
            assert!(reach.end < written, "{reach:?}, {written} written");
            assert!(offset <= place as u64, "{reach:?} for byte {place}");
            assert_eq!(fs::read(&path).expect("it is readable"), damaged);
        }
    }
}
