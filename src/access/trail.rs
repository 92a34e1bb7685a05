//! The audit trail: one line of JSON per call that reads or changes what the bank holds, and per refused log-in. It names who
//! did what; it never holds an amount, a balance, an account, a key or a token.
//!
//! Lines are written by a thread of their own, so a slow disk delays no call. The queue is bounded: what it cannot take is
//! counted and reported, since a trail with holes must say so.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::{Serialize, Serializer};

use super::caller::{Caller, Grant, Notes, Via};
use super::role::Capacity;
use super::table::Rule;
use super::trail_file::{RETRY, TrailFile};
use crate::process::hidden::is_hidden;

/// Lines that wait to be written.
const QUEUE_MAX: usize = 16 << 10;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// How a call ended: the same word on REST and gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// A stream of operations began.
    Opened,
    /// The stream ended.
    Closed,
    /// It was refused because of what it asked for, and changed nothing.
    Refused,
    /// Some operations of a batch were refused.
    PartlyRefused,
    /// The node could not do it. What it asked for may have been done if time ran out.
    Failed,
    /// Its client left, or its time ran out, before the answer. What it asked for may have been done.
    Unanswered,
    /// Its caller has not the right.
    Forbidden,
    /// Its caller has not proven its name, or the proof has ended.
    Unauthenticated,
}

/// How a call ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{outcome:?}")]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Why, unless it was done. Never with an amount, a balance, an account or a key.
    pub reason: Option<String>,
}

impl Ended {
    /// An end that needs no reason.
    #[must_use]
    pub fn plainly(outcome: Outcome) -> Self {
        Self {
            outcome,
            reason: None,
        }
    }

    /// An end with its reason.
    #[must_use]
    pub fn because(outcome: Outcome, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self {
            outcome,
            reason: Some(reason),
        }
    }

    /// The end of a call that was answered: its operations may be refused all the same.
    #[must_use]
    pub fn answered(caller: &Caller) -> Self {
        let notes = caller.notes();
        let refused = notes.map_or(0, Notes::refused);
        let outcome = match notes.and_then(Notes::operations) {
            _ if refused == 0 => Outcome::Ok,
            Some(operations) if refused < operations => Outcome::PartlyRefused,
            _ => Outcome::Refused,
        };
        Self {
            outcome,
            reason: notes.and_then(Notes::refusal).map(str::to_owned),
        }
    }
}

/// What a call asks for, and where it comes from.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The call.
    pub rule: Rule,
    /// Where it comes from.
    pub address: Option<SocketAddr>,
    /// Its request id.
    pub request_id: Option<String>,
    /// The snapshot in its path.
    pub snapshot: Option<String>,
}

/// A line of the trail.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// When the call was answered, with six decimals, so that lines sort as text.
    #[serde(serialize_with = "with_six_decimals")]
    pub time: Timestamp,
    /// The name of the caller; `None` for a refused log-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its role, or `process`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// How it proved its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Where it called from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The method and the pattern of the route, or the method of gRPC.
    pub call: &'static str,
    /// What the call does.
    pub action: &'static str,
    /// How the call ended.
    pub outcome: Outcome,
    /// Why it ended so: a sentence for a caller without the right, otherwise the kind of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The number of operations of a batch or a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// How many of them were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// The newest journal position at which one of the call's own operations was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_position: Option<u64>,
    /// The request id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Refused log-ins of the address since the last line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also_refused: Option<u64>,
}

fn with_six_decimals<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

impl Line {
    /// The line of a call that has ended now.
    pub(super) fn of(asked: &Asked, caller: &Caller, ended: Ended) -> Self {
        Self::noted(asked, caller.grant(), caller.notes(), ended)
    }

    /// The same, of what was noted of it.
    pub(super) fn noted(
        asked: &Asked,
        grant: Option<&Grant>,
        notes: Option<&Notes>,
        ended: Ended,
    ) -> Self {
        // What a stream has done is said when it closes.
        let has_done = |_: &&Notes| ended.outcome != Outcome::Opened;
        let done = notes.filter(has_done);
        let operations = done.and_then(Notes::operations);
        let snapshot = notes.and_then(Notes::snapshot).map(str::to_owned);
        Self {
            time: Timestamp::now(),
            name: grant.map(|grant| grant.name.clone()),
            role: grant.map(|grant| match grant.capacity {
                Capacity::Role(role) => role.as_str(),
                Capacity::Process => "process",
            }),
            via: grant.map(|grant| grant.via),
            address: asked.address,
            call: asked.rule.call,
            action: asked.rule.action,
            outcome: ended.outcome,
            reason: ended.reason,
            snapshot: snapshot.or_else(|| asked.snapshot.clone()),
            operations,
            refused: operations.and(done.map(Notes::refused).filter(|count| *count > 0)),
            journal_position: done.and_then(Notes::position),
            request_id: asked.request_id.clone(),
            also_refused: None,
        }
    }
}

enum Message {
    Line(Box<Line>),
    Reopen,
    Flush(SyncSender<()>),
}

/// Where lines go.
pub struct Trail {
    /// `Some` until dropped.
    queue: Option<SyncSender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let (queue, lines) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || write_all(&lines, sink))?;
        Ok(Self {
            queue: Some(queue),
            thread: Mutex::new(Some(thread)),
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
    pub fn add(&self, line: Line) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue().try_send(Message::Line(Box::new(line)))
            && self.lost.inc() == 0
        {
            tracing::error!(
                "the audit trail cannot keep up, and lines are lost; see the metric audit_lines_lost"
            );
        }
    }

    /// Opens the file again: it may have been renamed.
    pub fn reopen(&self) {
        let _full = self.queue().try_send(Message::Reopen);
    }

    /// Waits until the lines so far are written.
    pub fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue().send(Message::Flush(done)).is_ok() {
            let _stopped = is_done.recv_timeout(Duration::from_secs(5));
        }
    }

    fn queue(&self) -> &SyncSender<Message> {
        self.queue.as_ref().expect("only the end takes it")
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().map(Option::take);
        if let Ok(Some(thread)) = thread {
            let _panicked = thread.join();
        }
    }
}

enum Sink {
    Log,
    File(Box<TrailFile>),
}

fn write_all(messages: &Receiver<Message>, mut sink: Sink) {
    loop {
        let message = match messages.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                sink.flush();
                match messages.recv_timeout(sink.patience()) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        match (message, &mut sink) {
            (Message::Line(line), _) => sink.write(&line),
            (Message::Reopen, Sink::File(file)) => file.reopen(),
            (Message::Flush(done), _) => {
                sink.flush_now();
                let _gone = done.send(());
            }
            (Message::Reopen, Sink::Log) => {}
        }
    }
    if let Sink::File(mut file) = sink {
        file.end();
    }
}

impl Sink {
    fn write(&mut self, line: &Line) {
        let text = serde_json::to_string(line).expect("names and numbers can be written");
        let text = escaped(text);
        match self {
            Self::Log => tracing::info!(target: "audit", "{text}"),
            Self::File(file) => file.write(&text),
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

    // The time until what waits is tried again.
    fn patience(&self) -> Duration {
        match self {
            Self::File(file) if file.has_pending() => RETRY,
            _ => Duration::from_secs(3600),
        }
    }
}

// JSON keeps some characters as they are that end a line or reverse it where it is read, such as in an id that a client
// invents. They can only be within texts.
fn escaped(text: String) -> String {
    if !text.chars().any(is_hidden) {
        return text;
    }
    let mut escaped = String::with_capacity(2 * text.len());
    for letter in text.chars() {
        match is_hidden(letter) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(reason: &str) -> Line {
        Line {
            time: Timestamp::UNIX_EPOCH,
            name: Some("audit-2026".to_owned()),
            role: Some("auditor"),
            via: Some(Via::Token),
            address: None,
            call: "POST /v1/snapshots",
            action: "take snapshot",
            outcome: Outcome::Ok,
            reason: Some(reason.to_owned()),
            snapshot: Some("first".to_owned()),
            operations: None,
            refused: None,
            journal_position: None,
            request_id: None,
            also_refused: None,
        }
    }

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
        trail.add(line("one"));
        trail.flush();
        let old = dir.path().join("audit.jsonl.1");
        std::fs::rename(&path, &old).expect("it is ours");
        trail.add(line("two"));
        trail.reopen();
        trail.add(line("three"));
        drop(trail);
        assert_eq!(reasons(&old), ["one", "two"]);
        assert_eq!(reasons(&path), ["three"]);
    }

    #[test]
    fn what_a_client_invents_neither_ends_a_line_nor_reverses_it() {
        let invented = "a\n\u{2028}b\u{202e}\u{9b}\"\\";
        let line = Line {
            snapshot: Some(invented.to_owned()),
            ..line("ok")
        };
        let text = escaped(serde_json::to_string(&line).expect("a line"));
        assert!(!text.chars().any(is_hidden), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["snapshot"], invented);
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
        trail.add(line("one"));
        trail.flush();
        std::fs::remove_dir(&path).expect("it is empty");
        trail.add(line("two"));
        trail.flush();
        assert_eq!(reasons(&path), ["one", "two"]);
        assert_eq!(trail.lost.get(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_at_the_end_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let trail = unwritable(&dir.path().join("audit.jsonl"));
        trail.add(line("lost"));
        let lost = trail.lost.clone();
        drop(trail);
        assert_eq!(lost.get(), 1);
    }

    #[test]
    fn times_sort_as_text() {
        let shown = |nanosecond| {
            let time = Timestamp::from_nanosecond(nanosecond).expect("a time");
            let line = Line { time, ..line("") };
            let line = serde_json::to_value(line).expect("a line");
            line["time"].as_str().expect("a text").to_owned()
        };
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(1_200_000_999), "1970-01-01T00:00:01.200000Z");
    }
}
