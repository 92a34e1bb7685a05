//! The table of targets: the claims of each, the measured figures, and whether they are met.

use super::measured::{Spread, grouped};

/// A figure with its unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) spread: Spread,
    pub(crate) unit: &'static str,
}

/// The figures that are compared with a bound.
#[derive(Debug, Clone, Copy)]
enum ClaimFigures {
    Alone(Figure),
    /// The ratio of the medians.
    Ratio {
        over: Figure,
        under: Figure,
    },
    /// Not measured, since the system to compare with is not available.
    Missing,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Reported only.
    None,
}

/// One claim of a target.
#[derive(Debug)]
pub(crate) struct Claim {
    what: String,
    measured: ClaimFigures,
    bound: Bound,
}

/// A target.
pub(crate) struct Row {
    pub(crate) number: &'static str,
    pub(crate) what: &'static str,
    pub(crate) target: &'static str,
    /// The claims, or why they were not measured.
    pub(crate) claims: Result<Vec<Claim>, String>,
}

const HEADERS: &[&str] = &["#", "what", "target", "median (min – max)", "met"];

impl Claim {
    pub(crate) fn alone(what: impl Into<String>, figure: Figure, bound: Bound) -> Self {
        Self {
            what: what.into(),
            measured: ClaimFigures::Alone(figure),
            bound,
        }
    }

    /// The ratio of two figures of the same unit.
    pub(crate) fn ratio(what: impl Into<String>, [over, under]: [Figure; 2], bound: Bound) -> Self {
        Self {
            what: what.into(),
            measured: ClaimFigures::Ratio { over, under },
            bound,
        }
    }

    /// A claim that could not be measured here.
    pub(crate) fn missing(what: impl Into<String>, bound: Bound) -> Self {
        Self {
            what: what.into(),
            measured: ClaimFigures::Missing,
            bound,
        }
    }

    fn value(&self) -> Option<f64> {
        match self.measured {
            ClaimFigures::Alone(figure) => Some(figure.spread.median),
            ClaimFigures::Ratio { over, under } => Some(over.spread.median / under.spread.median),
            ClaimFigures::Missing => None,
        }
    }

    // `None` if not measured.
    fn is_met(&self) -> Option<bool> {
        let value = self.value()?;
        Some(match self.bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
            Bound::None => true,
        })
    }

    fn text(&self) -> String {
        let what = &self.what;
        match &self.measured {
            ClaimFigures::Alone(figure) => format!("{what}: {} {}", figure.text(), figure.unit),
            ClaimFigures::Ratio { over, under } => format!(
                "{what}: {} / {} {} = {:.2}",
                over.text(),
                under.text(),
                over.unit,
                over.spread.median / under.spread.median
            ),
            ClaimFigures::Missing => format!("{what}: not measured"),
        }
    }
}

impl Figure {
    fn text(&self) -> String {
        let Spread { median, min, max } = self.spread;
        let decimals = decimals(median);
        let [median, min, max] = [median, min, max].map(|figure| grouped(figure, decimals));
        format!("{median} ({min} – {max})")
    }
}

impl Row {
    /// `None` if not measured.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let claims = self.claims.as_ref().ok()?;
        let met: Vec<Option<bool>> = claims.iter().map(Claim::is_met).collect();
        // One missed claim misses the target, whatever is unknown.
        match met.contains(&Some(false)) {
            true => Some(false),
            false => met.into_iter().collect::<Option<Vec<bool>>>().map(|_| true),
        }
    }

    fn met(&self) -> &'static str {
        match self.is_met() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not measured",
        }
    }

    fn texts(&self) -> Vec<String> {
        match &self.claims {
            Ok(claims) => claims.iter().map(Claim::text).collect(),
            Err(why) => vec![why.clone()],
        }
    }

    /// A line of a Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let texts = self
            .texts()
            .join("<br>")
            .replace('|', "\\|")
            .replace('\n', " ");
        let Self {
            number,
            what,
            target,
            ..
        } = self;
        format!(
            "| {number} | {what} | {target} | {texts} | {} |\n",
            self.met()
        )
    }
}

/// A Markdown table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let head = format!(
        "| {} |\n|{}\n",
        HEADERS.join(" | "),
        "---|".repeat(HEADERS.len())
    );
    rows.iter()
        .map(Row::markdown)
        .fold(head, |text, row| text + &row)
}

// Three significant digits.
fn decimals(figure: f64) -> usize {
    match figure.abs() {
        small if small < 1.0 => 4,
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    }
}
