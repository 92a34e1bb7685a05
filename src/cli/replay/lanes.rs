//! Lanes: what keeps one account's operations in order while many batches are on their way.
//!
//! Every (process, account) belongs to one lane, and a lane waits for the answer to a batch before it sends the next.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::orders::Order;
use crate::process::ids::ProcessId;

/// Operations of one process, in the file's order.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) process: ProcessId,
    pub(super) orders: Vec<Order>,
}

/// Deals `orders` into about `count` lanes, at least one per process.
pub(super) fn deal(orders: Vec<Order>, count: usize) -> Vec<Lane> {
    let mut by_process: BTreeMap<ProcessId, Vec<Order>> = BTreeMap::new();
    for order in orders {
        by_process
            .entry(order.process.clone())
            .or_default()
            .push(order);
    }
    let width = (count / by_process.len().max(1)).max(1) as u64;
    let mut lanes: BTreeMap<(ProcessId, u64), Vec<Order>> = BTreeMap::new();
    for (process, orders) in by_process {
        for order in orders {
            let mut hasher = DefaultHasher::new();
            order.account.hash(&mut hasher);
            let lane = (process.clone(), hasher.finish() % width);
            lanes.entry(lane).or_default().push(order);
        }
    }
    let lanes = lanes.into_iter();
    lanes
        .map(|((process, _), orders)| Lane { process, orders })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::orders::OrderKind;
    use super::*;
    use crate::process::ids::{AccountId, Amount};

    fn order(line: u64, process: u8, account: u8) -> Order {
        Order {
            line,
            process: ProcessId::parse(&format!("n{process}")).expect("an id"),
            account: AccountId::parse(&account.to_string()).expect("an id"),
            amount: Amount::new(1).expect("positive"),
            kind: OrderKind::Withdraw,
        }
    }

    proptest! {
        #[test]
        fn an_account_keeps_its_order_in_one_lane(
            rows in prop::collection::vec((0..3u8, 0..9u8), 0..200),
            count in 1..20usize,
        ) {
            let orders: Vec<Order> =
                rows.iter().zip(1..).map(|((p, a), line)| order(line, *p, *a)).collect();
            let lanes = deal(orders.clone(), count);
            prop_assert!(lanes.len() <= count.max(3));
            let mut owners = BTreeSet::new();
            let mut lines = BTreeSet::new();
            for lane in &lanes {
                prop_assert!(lane.orders.is_sorted_by_key(|order| order.line));
                let accounts: BTreeSet<_> = lane.orders.iter().map(|o| (&o.process, &o.account)).collect();
                prop_assert!(lane.orders.iter().all(|order| order.process == lane.process));
                for account in accounts {
                    prop_assert!(owners.insert(account), "an account in two lanes");
                }
                lines.extend(lane.orders.iter().map(|order| order.line));
            }
            prop_assert_eq!(lines.len(), orders.len());
        }
    }
}
