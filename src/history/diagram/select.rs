//! Which messages a diagram shows if there are more than its limit.

use std::collections::BTreeSet;

use super::Arrow;
use super::excerpt::TurnPlace;
use crate::history::global::GlobalState;
use crate::process::ids::ProcessId;

/// The shares of several claims in a total: each its claim if they fit, otherwise the smaller ones first and the rest evenly.
#[must_use]
pub fn shares(claims: &[u64], total: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by_key(|index| claims[*index]);
    let mut shares = vec![0; claims.len()];
    let mut left = total;
    for (done, index) in order.into_iter().enumerate() {
        let waiting = (claims.len() - done) as u64;
        let share = claims[index].min(left.div_ceil(waiting));
        shares[index] = share;
        left -= share;
    }
    shares
}

/// Keeps at most `limit` messages, in their order: those of recorded channels that cross the cut first, then the others that
/// cross it, then those nearest to it. Returns whether some were left out.
pub(super) fn nearest(messages: &mut Vec<Arrow>, state: &GlobalState, limit: usize) -> bool {
    if messages.len() <= limit {
        return false;
    }
    let parts = state.parts.values();
    let closed = parts.flat_map(|part| {
        let channels = part.channels.iter();
        channels.map(|channel| (&channel.from, &part.process))
    });
    let closed: BTreeSet<_> = closed.collect();
    let is_recorded =
        |arrow: &Arrow| arrow.crosses && closed.contains(&(&arrow.channel.from, &arrow.channel.to));
    let rank = |arrow: &Arrow| {
        let distance_us = distance_us(arrow, state);
        (!is_recorded(arrow), !arrow.crosses, distance_us)
    };
    let mut ranks: Vec<_> = messages.iter().map(rank).zip(0..).collect();
    ranks.sort_unstable();
    let mut is_kept = vec![false; messages.len()];
    for (_, index) in ranks.into_iter().take(limit) {
        is_kept[index] = true;
    }
    let mut kept = is_kept.into_iter();
    messages.retain(|_| kept.next().unwrap_or(false));
    true
}

// From the nearer end to the recording of its process; an end without a recording is farthest.
fn distance_us(arrow: &Arrow, state: &GlobalState) -> u64 {
    let of = |process: &ProcessId, place: Option<TurnPlace>| {
        let recorded = state.parts.get(process)?.state.time.wall_us();
        Some(place?.time.wall_us().abs_diff(recorded))
    };
    let ends = [
        of(&arrow.channel.from, arrow.sent),
        of(&arrow.channel.to, arrow.delivered),
    ];
    ends.into_iter().flatten().min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Without this a channel with a long backlog would displace the crossing messages of all others.
        #[test]
        fn small_claims_are_met_whole_and_nothing_is_wasted(
            claims in proptest::collection::vec(0u64..50, 0..12),
            total in 0u64..200,
        ) {
            let shares = shares(&claims, total);
            let wanted: u64 = claims.iter().sum();
            prop_assert_eq!(shares.iter().sum::<u64>(), wanted.min(total));
            let cut_off = shares.iter().zip(&claims).filter(|(share, claim)| share < claim);
            let least = cut_off.map(|(share, _)| *share).min().unwrap_or(u64::MAX);
            for (share, claim) in shares.iter().zip(&claims) {
                prop_assert!(share <= claim);
                prop_assert!(share == claim || *share <= least.saturating_add(1));
                prop_assert!(*share <= least.saturating_add(1));
            }
        }
    }
}
