//! The axis of time: an interval, its unit, and its scale marks.

/// The most scale marks.
const MARKS_MAX: i64 = 9;
const MS: i64 = 1000;
const SECOND: i64 = 1_000_000;

/// The interval that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Axis {
    /// The first instant.
    pub from: i64,
    /// The last instant.
    pub to: i64,
    /// The instant that the marks count from.
    pub origin: i64,
    /// The unit of all instants.
    pub unit: Unit,
}

/// The unit of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Microseconds.
    #[default]
    Us,
    /// Steps of virtual time.
    Ticks,
}

/// A mark of the scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: i64,
    pub(super) label: String,
}

impl Axis {
    /// The place of an instant on a line of this length.
    pub(super) fn place(&self, at: i64, length: i64) -> i64 {
        let span = i128::from(self.to) - i128::from(self.from);
        let place = (i128::from(at) - i128::from(self.from)) * i128::from(length) / span.max(1);
        // Beyond the ends by no more than the length, so that no drawing leaves the range of its numbers.
        let place = place.clamp(-i128::from(length), 2 * i128::from(length));
        i64::try_from(place).unwrap_or(length)
    }

    /// The marks within the interval, at round distances from the origin.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let span = self.to.saturating_sub(self.from).max(1);
        let mut step = 1;
        for factor in [2, 5, 10].into_iter().cycle() {
            if span / step <= MARKS_MAX {
                break;
            }
            let decade = 10_i64.pow(step.ilog10());
            step = decade * factor;
        }
        let first = self.from.saturating_sub(self.origin).div_euclid(step) + 1;
        let marks = (first..).map(|number| self.origin.saturating_add(number * step));
        let within = marks.take_while(|at| *at <= self.to && *at < i64::MAX);
        within
            .map(|at| Mark {
                at,
                label: self.label(at - self.origin, step),
            })
            .collect()
    }

    fn label(&self, distance: i64, step: i64) -> String {
        if self.unit == Unit::Ticks {
            return match distance {
                0 => "tick 0".to_owned(),
                distance => distance.to_string(),
            };
        }
        if distance == 0 {
            return "start".to_owned();
        }
        let sign = if distance < 0 { '−' } else { '+' };
        let distance = distance.abs();
        match step {
            step if step % SECOND == 0 => format!("{sign}{} s", distance / SECOND),
            step if step % MS == 0 => format!("{sign}{} ms", distance / MS),
            _ => format!("{sign}{distance} µs"),
        }
    }

    /// A distance from the origin in words: `+3.6 ms`.
    #[must_use]
    pub fn distance(&self, at: i64) -> String {
        let distance = at.saturating_sub(self.origin);
        if self.unit == Unit::Ticks {
            return format!("tick {distance}");
        }
        let sign = if distance < 0 { '−' } else { '+' };
        let us = distance.unsigned_abs();
        match us {
            0..10_000_000 => format!("{sign}{}.{} ms", us / 1000, us % 1000 / 100),
            _ => format!("{sign}{} s", us / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(from: i64, to: i64) -> Vec<String> {
        let axis = Axis {
            from,
            to,
            origin: 0,
            unit: Unit::Us,
        };
        axis.marks().into_iter().map(|mark| mark.label).collect()
    }

    #[test]
    fn marks_are_round_and_few() {
        let wanted = ["−5 ms", "start", "+5 ms", "+10 ms", "+15 ms", "+20 ms"];
        assert_eq!(marks(-9_500, 24_500), wanted);
        assert_eq!(marks(-1, 3), ["start", "+1 µs", "+2 µs", "+3 µs"]);
        assert_eq!(marks(0, 3_600_000_000).len(), 7);
        assert_eq!(marks(0, 1)[0], "+1 µs");
        assert!(marks(i64::MIN / 4, i64::MAX / 4).len() <= 12);
    }

    #[test]
    fn places_stay_in_range() {
        let axis = Axis {
            from: 0,
            to: 100,
            ..Axis::default()
        };
        assert_eq!(axis.place(50, 1000), 500);
        assert_eq!(axis.place(i64::MAX, 1000), 2000);
        assert_eq!(axis.place(i64::MIN, 1000), -1000);
        assert_eq!(Axis::default().place(0, 1000), 0);
    }
}
