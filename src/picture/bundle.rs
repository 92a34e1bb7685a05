//! Messages of one turn that arrive in one turn are one arrow. If there are too many arrows, those whose ends lie close together
//! are one, too.

use std::collections::BTreeMap;

use super::{Message, Picture};

/// The most arrows of a picture.
const ARROWS_MAX: usize = 600;

/// An arrow with what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    /// The first of the messages.
    pub(super) first: Message,
    /// The number of messages.
    pub(super) count: usize,
    /// The sum of their amounts, minor units.
    pub(super) amount: i128,
}

/// The arrows of a picture whose line of time is `length` long.
pub(super) struct Bundles {
    /// In the order of their sending.
    pub(super) all: Vec<Bundle>,
    /// Whether arrows of different turns were joined.
    pub(super) is_coarse: bool,
}

pub(super) fn bundles(picture: &Picture, length: i64) -> Bundles {
    let mut all = joined(picture, |at| at);
    let mut step = 1;
    let is_coarse = all.len() > ARROWS_MAX;
    while all.len() > ARROWS_MAX && step <= length {
        step *= 2;
        all = joined(picture, |at| {
            picture.axis.place(at, length).div_euclid(step)
        });
    }
    Bundles { all, is_coarse }
}

type Ends = (Option<i64>, Option<i64>, usize, usize, bool);

fn joined(picture: &Picture, place: impl Fn(i64) -> i64) -> Vec<Bundle> {
    let mut by_ends: BTreeMap<Ends, Bundle> = BTreeMap::new();
    for message in &picture.messages {
        let [sent, delivered] = [message.sent, message.delivered].map(|at| at.map(&place));
        let ends = (sent, delivered, message.from, message.to, message.crosses);
        let bundle = by_ends.entry(ends).or_insert(Bundle {
            first: *message,
            count: 0,
            amount: 0,
        });
        bundle.count += 1;
        bundle.amount += i128::from(message.amount.unwrap_or(0));
    }
    by_ends.into_values().collect()
}

impl Bundle {
    /// `2 × 660.69`; nothing for messages without amounts.
    pub(super) fn label(&self, picture: &Picture) -> Option<String> {
        if self.amount == 0 {
            return (self.count > 1).then(|| format!("{} ×", self.count));
        }
        let amount = picture.amounts.write(self.amount);
        Some(match self.count {
            1 => amount,
            count => format!("{count} × {amount}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Axis;
    use super::*;

    #[test]
    fn messages_of_the_same_turns_are_one_arrow() {
        let message = Message {
            from: 0,
            to: 1,
            sent: Some(1),
            delivered: Some(5),
            amount: Some(30_000),
            crosses: true,
        };
        let later = Message {
            sent: Some(2),
            ..message
        };
        let picture = Picture {
            messages: vec![message, later, message],
            ..Picture::default()
        };
        let found = bundles(&picture, 1000);
        let labels = found.all.iter().map(|bundle| bundle.label(&picture));
        let labels: Vec<_> = labels.flatten().collect();
        assert_eq!(labels, ["2 × 60,000", "30,000"]);
        assert!(!found.is_coarse);
    }

    // Without this a burst of messages makes a document that freezes its reader.
    #[test]
    fn arrows_are_bounded_and_no_amount_is_lost() {
        let message = |at: i64| Message {
            from: 0,
            to: 1,
            sent: Some(at),
            delivered: Some(at + 7),
            amount: Some(1),
            crosses: at % 2 == 0,
        };
        let picture = Picture {
            axis: Axis {
                from: 0,
                to: 10_000,
                ..Axis::default()
            },
            messages: (0..9000).map(message).collect(),
            ..Picture::default()
        };
        let found = bundles(&picture, 9000);
        assert!(found.is_coarse && found.all.len() <= ARROWS_MAX);
        let amount: i128 = found.all.iter().map(|bundle| bundle.amount).sum();
        assert_eq!(amount, 9000);
    }
}
