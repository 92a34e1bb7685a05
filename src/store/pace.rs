//! Lets commits go ahead of what is written behind their backs: a chunk meets the same locks, buffers and disk, and a
//! snapshot writes many of them at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Somebody commits if a turn was committed within this time.
const BUSY: Duration = Duration::from_millis(10);
/// After a chunk its writer rests so many times as long as the chunk took,
const REST_TIMES: u32 = 3;
/// and no longer: a large state has thousands of them.
const REST_MAX: Duration = Duration::from_millis(1);

/// When the last turn was committed.
pub(super) struct Pace {
    began: Instant,
    /// Microseconds from the beginning, which counts as one.
    committed_us: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            committed_us: AtomicU64::new(0),
        }
    }
}

impl Pace {
    /// A turn is committed.
    pub(super) fn note(&self) {
        self.committed_us.store(self.now_us(), Ordering::Relaxed);
    }

    /// Writes a chunk, and rests.
    pub(super) fn behind_commits<R>(&self, write: impl FnOnce() -> R) -> R {
        let started = Instant::now();
        let written = write();
        let took = started.elapsed();
        let committed = self.committed_us.load(Ordering::Relaxed);
        let since = Duration::from_micros(self.now_us().saturating_sub(committed));
        let rest = rest(took, since);
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        written
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// How long to rest after a chunk that took so long, where the last turn was committed so long ago.
fn rest(took: Duration, since: Duration) -> Duration {
    match since < BUSY {
        true => (took * REST_TIMES).min(REST_MAX),
        false => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without the bound a large state takes four times as long under load.
    #[test]
    fn who_writes_a_chunk_rests_while_turns_are_committed_and_never_long() {
        let took = Duration::from_micros(200);
        assert_eq!(rest(took, BUSY), Duration::ZERO);
        assert_eq!(rest(took, Duration::ZERO), took * REST_TIMES);
        assert_eq!(rest(took * 100, Duration::ZERO), REST_MAX);
    }
}
