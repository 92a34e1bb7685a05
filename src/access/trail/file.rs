//! The file of the audit trail. Lines that cannot be written wait in bounded memory and are written when it is possible
//! again; what exceeds it is lost and counted.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use crate::access::private_file::append_private;

/// The lines that wait at most, in bytes.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// The lines that are written together, in bytes.
const BATCH_BYTES: usize = 64 << 10;
/// The time between two attempts to write to a file that failed.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// The time between two reports of it.
const REPORT: Duration = Duration::from_secs(60);

pub(super) struct TrailFile {
    path: PathBuf,
    /// `None` after a failure.
    file: Option<File>,
    pending: Pending,
    failed: Option<Failed>,
    lost: Counter,
}

struct Failed {
    tried: Instant,
    reported: Instant,
    /// The lost lines before.
    lost: u64,
}

impl TrailFile {
    pub(super) fn open(path: &Path, lost: Counter) -> io::Result<Self> {
        let mut opened = Self {
            path: path.to_owned(),
            file: None,
            pending: Pending::default(),
            failed: None,
            lost,
        };
        opened.open_file()?;
        Ok(opened)
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.bytes.is_empty()
    }

    pub(super) fn write(&mut self, line: &str) {
        self.pending.add(line);
        if self.pending.bytes.len() >= BATCH_BYTES {
            self.flush();
        }
        if self.pending.bytes.len() > PENDING_BYTES_MAX {
            self.lost.inc_by(self.pending.drop_last());
        }
    }

    /// Writes what waits, unless that failed a moment ago.
    pub(super) fn flush(&mut self) {
        let failed = self.failed.as_ref();
        if failed.is_none_or(|failed| failed.tried.elapsed() >= RETRY) {
            self.flush_now();
        }
    }

    pub(super) fn flush_now(&mut self) {
        if !self.has_pending() {
            return;
        }
        match self.write_pending() {
            Ok(()) => self.recovered(),
            Err(error) => self.fail(&error),
        }
    }

    /// Opens the file again: it may have been renamed.
    pub(super) fn reopen(&mut self) {
        self.flush_now();
        self.file = None;
        match self.open_file() {
            Ok(()) => self.flush_now(),
            Err(error) => self.fail(&error),
        }
    }

    /// Writes what waits, or counts it as lost.
    pub(super) fn end(&mut self) {
        self.flush_now();
        self.lost.inc_by(self.pending.lines());
    }

    fn write_pending(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.open_file()?;
        }
        match &mut self.file {
            Some(file) => self.pending.write_to(file),
            None => Ok(()),
        }
    }

    fn open_file(&mut self) -> io::Result<()> {
        let file = append_private(&self.path)?;
        self.lost.inc_by(self.pending.go_on(ends_whole(&file)?));
        self.file = Some(file);
        Ok(())
    }

    fn recovered(&mut self) {
        if let Some(failed) = self.failed.take() {
            let (path, lost) = (self.path.display(), self.lost.get() - failed.lost);
            tracing::warn!(lost, "the audit trail {path} is written again");
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.file = None;
        let now = Instant::now();
        let known = self.failed.as_ref();
        let reported = known.map(|failed| failed.reported);
        let reported = reported.filter(|at| now.duration_since(*at) < REPORT);
        if reported.is_none() {
            let path = self.path.display();
            tracing::error!(
                %error,
                "the audit trail {path} cannot be written; lines wait, and are lost when there are more than 1 MiB of them"
            );
        }
        self.failed = Some(Failed {
            tried: now,
            reported: reported.unwrap_or(now),
            lost: known.map_or_else(|| self.lost.get(), |failed| failed.lost),
        });
    }
}

fn ends_whole(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// Lines that are not written yet.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Whether the beginning of the first line is written.
    is_torn: bool,
}

impl Pending {
    fn add(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }

    fn lines(&self) -> u64 {
        let ends = self.bytes.split(|byte| *byte == b'\n');
        let texts = ends.filter(|text| !text.is_empty());
        u64::try_from(texts.count()).unwrap_or(u64::MAX)
    }

    /// Drops the newest line; returns how many that are.
    fn drop_last(&mut self) -> u64 {
        let whole = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        let before = whole.iter().rposition(|byte| *byte == b'\n');
        self.bytes.truncate(before.map_or(0, |end| end + 1));
        1
    }

    fn write_to(&mut self, file: &mut impl Write) -> io::Result<()> {
        let (mut written, mut end) = (0, Ok(()));
        while written < self.bytes.len() && end.is_ok() {
            match file.write(&self.bytes[written..]) {
                Ok(0) => end = Err(ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => end = Err(error),
            }
        }
        if let Some(last) = written.checked_sub(1) {
            self.is_torn = self.bytes[last] != b'\n';
        }
        self.bytes.drain(..written);
        end
    }

    /// Goes on in a file that was opened now. Returns the number of lines that are lost by that.
    fn go_on(&mut self, ends_whole: bool) -> u64 {
        match (self.is_torn, ends_whole) {
            // The beginning of the line is in another file.
            (true, true) => {
                let end = self.bytes.iter().position(|byte| *byte == b'\n');
                self.bytes
                    .drain(..end.map_or(self.bytes.len(), |end| end + 1));
                self.is_torn = false;
                1
            }
            // A crash has left a part of a line; the next one begins its own.
            (false, false) if self.bytes.first() != Some(&b'\n') => {
                self.bytes.insert(0, b'\n');
                0
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for some bytes.
    struct Disk {
        held: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 && !bytes.is_empty() {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.held.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // Without this a full disk leaves a line that no program can read, together with the one after it.
    #[test]
    fn a_line_that_a_full_disk_has_cut_is_completed_when_there_is_room() {
        let text = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
        for room in 0..text.len() {
            let held = Vec::new();
            let mut disk = Disk { held, room };
            let mut pending = Pending::default();
            pending.add("{\"n\":1}");
            pending.add("{\"n\":2}");
            let full = room < text.len() - "{\"n\":3}\n".len();
            assert_eq!(pending.write_to(&mut disk).is_err(), full, "{room}");
            let ends_whole = disk.held.last().is_none_or(|byte| *byte == b'\n');
            assert_eq!(pending.go_on(ends_whole), 0, "{room}");
            pending.add("{\"n\":3}");
            disk.room = usize::MAX;
            pending.write_to(&mut disk).expect("there is room");
            assert_eq!(String::from_utf8_lossy(&disk.held), text, "{room}");
        }
    }

    #[test]
    fn the_rest_of_a_line_whose_beginning_was_renamed_is_lost_and_counted() {
        let (held, room) = (Vec::new(), 3);
        let mut disk = Disk { held, room };
        let mut pending = Pending::default();
        pending.add("{\"n\":1}");
        pending.add("{\"n\":2}");
        pending.write_to(&mut disk).expect_err("it is full");
        assert_eq!(pending.go_on(true), 1);
        let mut other = Vec::new();
        pending.write_to(&mut other).expect("there is room");
        assert_eq!(other, b"{\"n\":2}\n");
    }

    #[test]
    fn a_part_of_a_line_that_a_crash_has_left_stays_a_line_of_its_own() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("audit.jsonl");
        let mut file = append_private(&path).expect("it is new");
        file.write_all(b"{\"n\":1}\n{\"n\"").expect("there is room");
        let mut file = TrailFile::open(&path, Counter::default()).expect("it is ours");
        file.write("{\"n\":2}");
        file.end();
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, "{\"n\":1}\n{\"n\"\n{\"n\":2}\n");
        assert_eq!(file.lost.get(), 0);
    }

    #[test]
    fn the_lines_that_wait_are_bounded_and_the_others_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("audit.jsonl");
        let mut file = TrailFile::open(&path, Counter::default()).expect("it is new");
        std::fs::remove_file(&path).expect("it is ours");
        // A directory cannot be opened to append.
        std::fs::create_dir(&path).expect("the name is free");
        file.reopen();
        let line = "x".repeat(1023);
        let waiting = PENDING_BYTES_MAX / 1024;
        for _ in 0..waiting + 7 {
            file.write(&line);
        }
        assert_eq!(file.pending.bytes.len(), PENDING_BYTES_MAX);
        assert_eq!(file.lost.get(), 7);
        std::fs::remove_dir(&path).expect("it is empty");
        file.reopen();
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(text.lines().count(), waiting);
        assert!(!file.has_pending());
    }
}
