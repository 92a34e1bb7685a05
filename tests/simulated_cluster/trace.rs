//! The trace of a run, line by line, for replaying a seed. Kept only on request.

/// The lines of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trace {
    /// The virtual time, microseconds.
    now: u64,
    /// `None` without a request: then no line is formatted.
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps every line.
    pub(crate) fn kept() -> Self {
        Self {
            now: 0,
            lines: Some(Vec::new()),
        }
    }

    /// Sets the time of the lines that follow.
    pub(crate) fn at(&mut self, now: u64) {
        self.now = now;
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let (ms, us) = (self.now / 1_000, self.now % 1_000);
            lines.push(format!("{ms:>6}.{us:03} ms  {}", line()));
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
