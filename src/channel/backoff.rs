//! The pauses of a sending end between attempts to connect.

use super::Closed;

const PAUSE_MIN_MS: u64 = 50;
const PAUSE_MAX_MS: u64 = 1_000;

/// Exponential backoff between 50 ms and 1 s.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pause_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            pause_ms: PAUSE_MIN_MS,
        }
    }
}

impl Backoff {
    /// The pause in milliseconds after an attempt that ended with `why`. An attempt that delivered something resets the
    /// backoff; a stopped channel is tried once a second.
    pub fn pause_ms(&mut self, why: &Closed, has_delivered: bool) -> u64 {
        if has_delivered {
            self.pause_ms = PAUSE_MIN_MS;
        }
        if matches!(why, Closed::Stopped(_)) {
            self.pause_ms = PAUSE_MAX_MS;
        }
        let pause_ms = self.pause_ms;
        self.pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
        pause_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_something_is_delivered() {
        let mut backoff = Backoff::default();
        let broken = Closed::Broken("gone".to_owned());
        let pauses = [(); 6].map(|()| backoff.pause_ms(&broken, false));
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000]);
        assert_eq!(backoff.pause_ms(&broken, true), 50);
        let stopped = Closed::Stopped("they contradict".to_owned());
        assert_eq!(backoff.pause_ms(&stopped, true), 1000);
    }
}
