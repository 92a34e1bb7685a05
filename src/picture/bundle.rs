//! Messages of one turn that arrive in one turn are one arrow. If there are too many arrows, those whose ends lie close together
//! are one, too. If there are still too many, because there are many channels, only the arrows of most weight are drawn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

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
    /// The number of messages without an arrow.
    pub(super) left_out: usize,
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
    let left_out = keep_heaviest(&mut all);
    Bundles {
        all,
        is_coarse,
        left_out,
    }
}

// Those across the cut first, then those of most messages; they stay in order. Returns the number of messages of the others.
fn keep_heaviest(all: &mut Vec<Bundle>) -> usize {
    if all.len() <= ARROWS_MAX {
        return 0;
    }
    let weight = |bundle: &Bundle| (!bundle.first.crosses, Reverse(bundle.count));
    let mut heaviest: Vec<usize> = (0..all.len()).collect();
    heaviest.sort_by_key(|index| weight(&all[*index]));
    let kept: BTreeSet<usize> = heaviest.into_iter().take(ARROWS_MAX).collect();
    let (mut index, mut left_out) = (0.., 0);
    all.retain(|bundle| {
        let is_kept = index.next().is_some_and(|index| kept.contains(&index));
        left_out += if is_kept { 0 } else { bundle.count };
        is_kept
    });
    left_out
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
    /// `2 msgs · 660.69` with the sum of both; nothing for one message without an amount.
    pub(super) fn label(&self, picture: &Picture) -> Option<String> {
        if self.amount == 0 {
            return (self.count > 1).then(|| format!("{} msgs", self.count));
        }
        let amount = picture.amounts.write(self.amount);
        Some(match self.count {
            1 => amount,
            count => format!("{count} msgs · {amount}"),
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
        assert_eq!(labels, ["2 msgs · 60,000", "30,000"]);
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
        assert_eq!((amount, found.left_out), (9000, 0));
    }

    // Without this the document grows with the square of the number of processes.
    #[test]
    fn arrows_of_many_channels_are_bounded_and_those_across_the_cut_come_first() {
        const LANES: usize = 50;
        let channels = (0..LANES).flat_map(|from| (0..LANES).map(move |to| (from, to)));
        let channels = channels.filter(|(from, to)| from != to).zip(0..);
        let messages = channels.flat_map(|((from, to), number)| {
            let message = Message {
                from,
                to,
                sent: Some(1),
                delivered: Some(900),
                amount: Some(1),
                crosses: number % 5 == 0,
            };
            std::iter::repeat_n(message, if number == 1 { 9 } else { 1 })
        });
        let picture = Picture {
            axis: Axis {
                from: 0,
                to: 1000,
                ..Axis::default()
            },
            messages: messages.collect(),
            ..Picture::default()
        };
        let found = bundles(&picture, 1000);
        assert_eq!(found.all.len(), ARROWS_MAX);
        let drawn: usize = found.all.iter().map(|bundle| bundle.count).sum();
        assert_eq!(drawn + found.left_out, picture.messages.len());
        let crossing = found.all.iter().filter(|bundle| bundle.first.crosses);
        assert_eq!(crossing.count(), LANES * (LANES - 1) / 5);
        assert!(
            found.all.iter().any(|bundle| bundle.count == 9),
            "the heaviest other"
        );
        let is_in_order = |pair: &[Bundle]| {
            (pair[0].first.from, pair[0].first.to) < (pair[1].first.from, pair[1].first.to)
        };
        assert!(found.all.windows(2).all(is_in_order));
        assert!(picture.svg().contains("messages have no arrow"));
    }
}
