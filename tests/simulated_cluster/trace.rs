//! What happened in a run, line by line, for those who replay a seed. Kept only where somebody wants it.

/// The lines of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trace {
    /// Virtual time, microseconds.
    now: u64,
    /// `None` where nobody wants them: no line is even made then.
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

    /// What follows happens at this time.
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
