//! Files of clients that cannot be used at present, so that those read before remain in use, and a revocation does not count.
//! The log says it at once and every minute; the status and a metric show it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The time between two lines in the log.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Whether the files are those in use.
#[derive(Default)]
pub(super) struct Stale {
    fault: Mutex<Option<Fault>>,
    gauge: Gauge,
}

struct Fault {
    since: Timestamp,
    why: String,
    said: Instant,
}

impl Stale {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "auth_files_stale",
            "1 while the token file or the key set cannot be used, and what was read before remains in use; should be 0",
            self.gauge.clone(),
        );
    }

    /// Notes that the files cannot be used. `None`: still for the same reason.
    pub(super) fn note(&self, why: Option<String>) {
        let now = Instant::now();
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *fault, why) {
            (None, None) => return,
            (Some(known), Some(why)) if known.why != why => {
                known.why = why;
                known.said = now;
            }
            (Some(known), _) => {
                if now.duration_since(known.said) < SAY_EVERY {
                    return;
                }
                known.said = now;
            }
            (None, Some(why)) => {
                *fault = Some(Fault {
                    since: Timestamp::now(),
                    why,
                    said: now,
                });
                self.gauge.set(1);
            }
        }
        if let Some(fault) = &*fault {
            tracing::warn!("{}", fault.sentence());
        }
    }

    /// Notes that the files are in use.
    pub(super) fn clear(&self) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.gauge.set(0);
    }

    /// What is wrong, while it is.
    pub(super) fn sentence(&self) -> Option<String> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.as_ref().map(Fault::sentence)
    }
}

impl Fault {
    fn sentence(&self) -> String {
        format!(
            "{}; since {:.0} the tokens and keys that were read before remain in use, revoked ones too",
            self.why, self.since
        )
    }
}
