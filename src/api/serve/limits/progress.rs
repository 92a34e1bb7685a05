//! What a connection is doing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Counters of one connection.
pub(in crate::api) struct Progress {
    /// Requests whose answers are not complete.
    pub(super) requests: AtomicUsize,
    /// Answers and blocks of answers that wait for the client to read.
    pub(super) owed: AtomicUsize,
    /// The changes of both so far.
    pub(super) changes: AtomicU64,
    pub(super) is_ending: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            requests: AtomicUsize::new(0),
            owed: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        }
    }

    // Counts rather than reads a clock, because this is part of every request.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has begun.
    pub(super) fn request_begins(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Its answer is complete, or it was cancelled.
    pub(super) fn request_ends(&self) {
        self.changed();
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Something waits for the client to read.
    pub(super) fn owes(&self) {
        self.changed();
        self.owed.fetch_add(1, Ordering::Relaxed);
    }

    /// It was taken.
    pub(super) fn is_taken(&self) {
        self.changed();
        self.owed.fetch_sub(1, Ordering::Relaxed);
    }
}
