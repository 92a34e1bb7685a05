//! The schedule of fetching parts, with retries.

use std::collections::BTreeMap;

use super::Action;
use super::view::ClusterView;
use crate::process::ids::ProcessId;

const MS: u64 = 1_000;
/// How long a process may keep a stream open for an unfinished part. For a part that no published revision lacks, the deadline
/// of the snapshot is the effective limit. A late part makes way for others.
const EARLY_WAIT_US: u64 = 3_600_000 * MS;
const LATE_WAIT_US: u64 = 250 * MS;
/// The pause after a failed fetch; it doubles up to the maximum.
const PAUSE_MIN_US: u64 = 20 * MS;
const PAUSE_MAX_US: u64 = 1_000 * MS;

/// The fetches of one assembly: at most one per process at a time, until the finished part has arrived.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// Whether a revision without these parts has been published.
    is_late: bool,
    of: BTreeMap<ProcessId, Fetch>,
}

#[derive(Debug)]
struct Fetch {
    /// When the fetch begins; `None` while it is running.
    due_us: Option<u64>,
    pause_us: u64,
}

impl Fetches {
    /// Schedules a fetch from each of these processes, due at once.
    pub(super) fn new(processes: Vec<ProcessId>, is_late: bool, now_us: u64) -> Self {
        let fetch = |process| {
            let due = Fetch {
                due_us: Some(now_us),
                pause_us: PAUSE_MIN_US,
            };
            (process, due)
        };
        Self {
            is_late,
            of: processes.into_iter().map(fetch).collect(),
        }
    }

    /// Handles the end of a fetch: one that is not done is repeated after a pause.
    pub(super) fn ended(&mut self, process: &ProcessId, is_done: bool, now_us: u64) {
        if is_done {
            self.of.remove(process);
        } else if let Some(fetch) = self.of.get_mut(process) {
            fetch.pause(now_us);
        }
    }

    /// Starts the fetches that are due. Late parts are fetched only from processes that are up; the own part is read from the
    /// store.
    pub(super) fn begin_due(
        &mut self,
        me: &ProcessId,
        view: &ClusterView,
        now_us: u64,
    ) -> Vec<Action> {
        let mut begun = Vec::new();
        for (process, fetch) in &mut self.of {
            if fetch.due_us.is_none_or(|due_us| due_us > now_us) {
                continue;
            }
            if self.is_late && process != me && !view.is_up(process) {
                fetch.pause(now_us);
                continue;
            }
            fetch.due_us = None;
            begun.push(Action::Fetch {
                process: process.clone(),
                is_late: self.is_late,
                wait_us: match self.is_late {
                    true => LATE_WAIT_US,
                    false => EARLY_WAIT_US,
                },
            });
        }
        begun
    }

    /// When the next fetch is due; `None` if none is waiting.
    pub(super) fn next_due_us(&self) -> Option<u64> {
        self.of.values().filter_map(|fetch| fetch.due_us).min()
    }
}

impl Fetch {
    fn pause(&mut self, now_us: u64) {
        self.due_us = Some(now_us + self.pause_us);
        self.pause_us = (self.pause_us * 2).min(PAUSE_MAX_US);
    }
}
