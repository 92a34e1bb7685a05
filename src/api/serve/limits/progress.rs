//! What a connection is doing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Counters of one connection.
pub(in crate::api) struct Progress {
    /// Requests whose answers are not complete.
    requests: AtomicUsize,
    /// Of these, streams that anyone may hold for any time.
    open: AtomicUsize,
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
            open: AtomicUsize::new(0),
            owed: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        }
    }

    // Counts rather than reads a clock, because this is part of every request.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether requests are in progress; with `is_crowded`, others than open streams.
    pub(super) fn is_working(&self, is_crowded: bool) -> bool {
        let requests = self.requests.load(Ordering::Relaxed);
        let open = match is_crowded {
            true => self.open.load(Ordering::Relaxed),
            false => 0,
        };
        requests > open
    }

    /// A request has begun; `is_open`: a stream that anyone may hold for any time.
    pub(super) fn request_begins(&self, is_open: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if is_open {
            self.open.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its answer is complete, or it was cancelled.
    pub(super) fn request_ends(&self, is_open: bool) {
        self.changed();
        if is_open {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
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
