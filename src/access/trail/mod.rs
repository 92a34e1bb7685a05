//! The audit trail: one line of JSON per call that reads or changes what the bank holds, and per refused log-in. It names who
//! did what; it never holds an amount, a balance, an account, a key or a token.
//!
//! Lines gather for a few milliseconds and are written by a thread of their own, so a slow disk delays no call. The queue is
//! bounded: what it cannot take is counted and reported, since a trail with holes must say so.

mod file;
mod line;

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use file::{RETRY, TrailFile};
pub use line::{Asked, Ended, Line, Outcome};

/// The lines that wait to be written at most, in bytes.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// The memory that is kept for them while none waits, in bytes.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// The time for which lines gather before they are written: a busy node does not wake the thread for each of them.
const GATHER: Duration = Duration::from_millis(5);
/// How long a flush waits.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Lines that wait for the thread, as text, so that a call leaves nothing behind that another thread must free.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Lines wait, or something is asked for.
    work: Condvar,
    /// What was asked for is done.
    done: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Each with its line end.
    lines: String,
    /// How much of `lines` belongs into the file before it is opened again.
    reopen: Option<usize>,
    /// How often the lines were asked to be written at once.
    asked: u64,
    /// Up to which of these it was done.
    written: u64,
    has_ended: bool,
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.is_patient()
    }

    fn is_patient(&self) -> bool {
        self.reopen.is_none() && self.asked == self.written && !self.has_ended
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, ask: impl FnOnce(&mut Waiting)) -> MutexGuard<'_, Waiting> {
        let mut waiting = self.lock();
        ask(&mut waiting);
        self.work.notify_one();
        waiting
    }

    /// Waits for work, for a limited time, and lets lines gather. Exchanges the lines that wait for `empty`.
    fn take(&self, patience: Duration, empty: String) -> Waiting {
        let gone = PoisonError::into_inner;
        let waiting = self.lock();
        let (waiting, _) = self
            .work
            .wait_timeout_while(waiting, patience, |waiting| waiting.is_idle())
            .unwrap_or_else(gone);
        let (mut waiting, _) = self
            .work
            .wait_timeout_while(waiting, GATHER, |waiting| waiting.is_patient())
            .unwrap_or_else(gone);
        Waiting {
            lines: std::mem::replace(&mut waiting.lines, empty),
            reopen: waiting.reopen.take(),
            ..*waiting
        }
    }
}

/// Where lines go.
pub struct Trail {
    queue: Arc<Queue>,
    /// `Some` until dropped.
    thread: Option<JoinHandle<()>>,
    lost: Counter,
}

impl Trail {
    /// Opens the file, or writes to the log.
    ///
    /// # Errors
    /// That of the operating system; the file must be its owner's alone.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let lost = Counter::default();
        let sink = match path {
            None => Sink::Log,
            Some(path) => Sink::File(Box::new(TrailFile::open(path, lost.clone())?)),
        };
        let queue = Arc::<Queue>::default();
        let taken = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || write_all(&taken, sink))?;
        Ok(Self {
            queue,
            thread: Some(thread),
            lost,
        })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "audit_lines_lost",
            "Lines of the audit trail that could not be written; should be 0",
            self.lost.clone(),
        );
    }

    /// Adds a line.
    pub fn add(&self, line: &Line) {
        let text = line.text();
        let mut waiting = self.queue.lock();
        let (was_empty, length) = (waiting.lines.is_empty(), waiting.lines.len());
        if length + text.len() < QUEUE_BYTES_MAX {
            waiting.lines.push_str(&text);
            waiting.lines.push('\n');
            drop(waiting);
            if was_empty {
                self.queue.work.notify_one();
            }
        } else if self.lost.inc() == 0 {
            drop(waiting);
            tracing::error!(
                "the audit trail cannot keep up, and lines are lost; see the metric audit_lines_lost"
            );
        }
    }

    /// Opens the file again: it may have been renamed.
    pub fn reopen(&self) {
        let ask = |waiting: &mut Waiting| {
            let length = waiting.lines.len();
            waiting.reopen.get_or_insert(length);
        };
        drop(self.queue.ask(ask));
    }

    /// Waits until the lines so far are written.
    pub fn flush(&self) {
        let waiting = self.queue.ask(|waiting| waiting.asked += 1);
        let asked = waiting.asked;
        let is_missing = |waiting: &mut Waiting| waiting.written < asked;
        let _in_vain = self
            .queue
            .done
            .wait_timeout_while(waiting, FLUSH_MAX, is_missing);
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        drop(self.queue.ask(|waiting| waiting.has_ended = true));
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

enum Sink {
    Log,
    File(Box<TrailFile>),
}

fn write_all(queue: &Queue, mut sink: Sink) {
    let mut empty = String::new();
    loop {
        let taken = queue.take(sink.patience(), empty);
        let (before, after) = taken
            .lines
            .split_at(taken.reopen.unwrap_or(taken.lines.len()));
        sink.write(before);
        if taken.reopen.is_some() {
            sink.reopen();
        }
        sink.write(after);
        match taken.asked == taken.written {
            true => sink.flush(),
            false => sink.flush_now(),
        }
        if taken.has_ended {
            return sink.end();
        }
        queue.lock().written = taken.asked;
        queue.done.notify_all();
        empty = taken.lines;
        empty.clear();
        empty.shrink_to(KEPT_BYTES_MAX);
    }
}

impl Sink {
    fn write(&mut self, lines: &str) {
        for line in lines.split_terminator('\n') {
            match self {
                Self::Log => tracing::info!(target: "audit", "{line}"),
                Self::File(file) => file.write(line),
            }
        }
    }

    fn reopen(&mut self) {
        if let Self::File(file) = self {
            file.reopen();
        }
    }

    fn flush(&mut self) {
        if let Self::File(file) = self {
            file.flush();
        }
    }

    fn flush_now(&mut self) {
        if let Self::File(file) = self {
            file.flush_now();
        }
    }

    fn end(self) {
        if let Self::File(mut file) = self {
            file.end();
        }
    }

    // The time until what waits is tried again.
    fn patience(&self) -> Duration {
        match self {
            Self::File(file) if file.has_pending() => RETRY,
            _ => Duration::from_secs(3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::line::tests::line;
    use super::*;

    fn reasons(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("it is there");
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            line["reason"].as_str().expect("it has a reason").to_owned()
        });
        lines.collect()
    }

    #[test]
    fn a_renamed_file_is_opened_again_and_no_line_is_lost() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("audit.jsonl");
        let trail = Trail::open(Some(&path)).expect("it is new");
        trail.add(&line("one"));
        trail.flush();
        let old = dir.path().join("audit.jsonl.1");
        std::fs::rename(&path, &old).expect("it is ours");
        trail.add(&line("two"));
        trail.reopen();
        trail.add(&line("three"));
        drop(trail);
        assert_eq!(reasons(&old), ["one", "two"]);
        assert_eq!(reasons(&path), ["three"]);
    }

    // A trail whose file has become a directory, which cannot be opened to append.
    fn unwritable(path: &Path) -> Trail {
        let trail = Trail::open(Some(path)).expect("it is new");
        std::fs::remove_file(path).expect("it is ours");
        std::fs::create_dir(path).expect("the name is free");
        trail.reopen();
        trail
    }

    #[test]
    fn lines_that_cannot_be_written_wait_until_they_can() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("audit.jsonl");
        let trail = unwritable(&path);
        trail.add(&line("one"));
        trail.flush();
        std::fs::remove_dir(&path).expect("it is empty");
        trail.add(&line("two"));
        trail.flush();
        assert_eq!(reasons(&path), ["one", "two"]);
        assert_eq!(trail.lost.get(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_at_the_end_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let trail = unwritable(&dir.path().join("audit.jsonl"));
        trail.add(&line("lost"));
        let lost = trail.lost.clone();
        drop(trail);
        assert_eq!(lost.get(), 1);
    }
}
