//! The table of targets: the claims of each, the measured figures, and whether they are met.

use serde_json::{Value, json};

use super::figures::Spread;

/// A figure with its unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) spread: Spread,
    pub(super) unit: &'static str,
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
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Reported only.
    None,
}

/// One claim of a target.
#[derive(Debug)]
pub(super) struct Claim {
    what: String,
    measured: ClaimFigures,
    bound: Bound,
}

/// A target.
pub(super) struct Row {
    pub(super) number: &'static str,
    pub(super) what: &'static str,
    pub(super) target: &'static str,
    /// The claims, or why they were not measured.
    pub(super) claims: Result<Vec<Claim>, String>,
}

pub(super) const HEADERS: &[&str] = &["#", "what", "target", "median (min – max)", "met"];

impl Claim {
    pub(super) fn alone(what: impl Into<String>, figure: Figure, bound: Bound) -> Self {
        Self {
            what: what.into(),
            measured: ClaimFigures::Alone(figure),
            bound,
        }
    }

    /// The ratio of two figures of the same unit.
    pub(super) fn ratio(what: impl Into<String>, [over, under]: [Figure; 2], bound: Bound) -> Self {
        Self {
            what: what.into(),
            measured: ClaimFigures::Ratio { over, under },
            bound,
        }
    }

    /// A claim that could not be measured here.
    pub(super) fn missing(what: impl Into<String>, bound: Bound) -> Self {
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

    fn json(&self) -> Value {
        let (over, under, unit) = match &self.measured {
            ClaimFigures::Alone(figure) => (figure.spread.json(), Value::Null, figure.unit),
            ClaimFigures::Ratio { over, under } => {
                (over.spread.json(), under.spread.json(), over.unit)
            }
            ClaimFigures::Missing => (Value::Null, Value::Null, ""),
        };
        let (at_least, at_most) = match self.bound {
            Bound::AtLeast(least) => (Some(least), None),
            Bound::AtMost(most) => (None, Some(most)),
            Bound::None => (None, None),
        };
        json!({
            "what": self.what,
            "unit": unit,
            "over": over,
            "under": under,
            "value": self.value(),
            "at_least": at_least,
            "at_most": at_most,
            "met": self.is_met(),
        })
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
    fn is_met(&self) -> Option<bool> {
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

    /// The cells of a terminal table.
    pub(super) fn cells(&self) -> Vec<String> {
        let texts = self.texts().join("\n");
        let cells = [self.number, self.what, self.target, &texts, self.met()];
        cells.map(str::to_owned).to_vec()
    }

    /// The row as JSON.
    pub(super) fn json(&self) -> Value {
        let claims = self.claims.as_ref();
        json!({
            "number": self.number,
            "what": self.what,
            "target": self.target,
            "claims": claims.map_or(Value::Null, |claims| claims.iter().map(Claim::json).collect()),
            "not_measured": claims.err(),
            "met": self.is_met(),
        })
    }

    /// A line of a Markdown table.
    pub(super) fn markdown(&self) -> String {
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
pub(super) fn markdown(rows: &[Row]) -> String {
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

/// A number with digit grouping: 1,234,567.8.
pub(super) fn grouped(figure: f64, decimals: usize) -> String {
    let text = format!("{figure:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-').len();
    let mut grouped = String::new();
    for (place, digit) in whole.trim_start_matches('-').chars().enumerate() {
        if place > 0 && (digits - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    format!("{sign}{grouped}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(median: f64) -> Figure {
        let (min, max) = (median, median);
        let spread = Spread { median, min, max };
        Figure { spread, unit: "ms" }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(-1234.56, 1), "-1,234.6");
        assert_eq!(grouped(999.0, 0), "999");
    }

    #[test]
    fn a_row_is_met_when_all_its_claims_are() {
        let claim = |over, bound| Claim::ratio("x", [figure(over), figure(100.0)], bound);
        let row = |claims| Row {
            number: "P0",
            what: "x",
            target: "y",
            claims,
        };
        let met = row(Ok(vec![
            claim(150.0, Bound::AtMost(1.5)),
            claim(150.0, Bound::AtLeast(1.5)),
        ]));
        assert_eq!(met.is_met(), Some(true));
        assert!(
            met.markdown()
                .contains("x: 150 (150 – 150) / 100 (100 – 100) ms = 1.50")
        );
        let missed = row(Ok(vec![
            claim(150.0, Bound::AtMost(1.5)),
            claim(149.0, Bound::AtLeast(1.5)),
        ]));
        assert_eq!(missed.is_met(), Some(false));
        assert_eq!(row(Err("no".to_owned())).is_met(), None);
        let half = |bound| {
            let missing = Claim::missing("y", Bound::AtLeast(1.0));
            row(Ok(vec![claim(150.0, bound), missing])).is_met()
        };
        assert_eq!(half(Bound::AtLeast(1.5)), None);
        assert_eq!(half(Bound::AtLeast(1.6)), Some(false));
    }
}
