//! Payment orders: those of a file, as `snapledger replay` reads them, or made ones. They are replayed in their order to each process,
//! and how far each has come is read from what the payers hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use snapledger::client::{AccountRef, ClientError, Ledger, Operation, Options, Reply};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::load::Book;
use crate::programs::IDS;
use crate::random::Random;

/// How often the payments of a file are repeated. The deposits of the shared file are those of twelve months.
const ROUNDS: usize = 12;
/// Small batches, so that a loss meets one in the middle.
const BATCH: usize = 16;
const IN_FLIGHT: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// One operation of a process.
#[derive(Debug, Clone)]
struct Order {
    account: String,
    amount: i64,
    /// Where it goes to; a deposit goes nowhere.
    to: Option<(&'static str, String)>,
}

/// The operations of each process in their order: first the deposits.
pub(crate) struct Orders {
    of_process: BTreeMap<&'static str, Arc<[Order]>>,
    deposits: BTreeMap<&'static str, usize>,
}

impl Orders {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("the file of orders can be read");
        let rows = text.lines().skip(1).map(|line| {
            let [op, process, account, to_process, to_account, amount] =
                line.split(',').collect::<Vec<_>>()[..]
            else {
                unreachable!("six fields: {line}");
            };
            let to = (op == "transfer").then(|| {
                let to_process = if to_process.is_empty() {
                    process
                } else {
                    to_process
                };
                (id(to_process), to_account.to_owned())
            });
            let order = Order {
                account: account.to_owned(),
                amount: minor(amount),
                to,
            };
            (id(process), order)
        });
        Self::of(rows.collect())
    }

    /// Makes orders like those of the file, fewer.
    pub(crate) fn made(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut rows = Vec::new();
        for process in &IDS[..3] {
            for account in 0..100 {
                let deposit = Order {
                    account: account.to_string(),
                    amount: 12 * 4 * 1000,
                    to: None,
                };
                rows.push((*process, deposit));
            }
        }
        for _ in 0..4 {
            for account in 0..100 {
                for process in &IDS[..3] {
                    let to = IDS[random.index(3)];
                    let amount = 1 + i64::try_from(random.below(1000)).expect("it is small");
                    let payment = Order {
                        account: account.to_string(),
                        amount,
                        to: Some((to, format!("YZ-{}", random.below(300)))),
                    };
                    rows.push((*process, payment));
                }
            }
        }
        Self::of(rows)
    }

    fn of(rows: Vec<(&'static str, Order)>) -> Self {
        let (deposits, payments): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, order)| order.to.is_none());
        let payers: BTreeSet<_> = deposits
            .iter()
            .map(|(id, order)| (*id, &*order.account))
            .collect();
        let receives = |(_, order): &(&str, Order)| {
            let (process, account) = order.to.as_ref().expect("a payment");
            payers.contains(&(*process, &**account))
        };
        assert!(!payments.iter().any(receives), "payers do not receive");
        let mut of_process = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for process in &IDS[..3] {
            let own = |rows: &[(&'static str, Order)]| {
                let own = rows.iter().filter(|(id, _)| id == process);
                own.map(|(_, order)| order.clone()).collect::<Vec<_>>()
            };
            let (deposits, payments) = (own(&deposits), own(&payments));
            counts.insert(*process, deposits.len());
            let repeated = std::iter::repeat_n(payments, ROUNDS).flatten();
            let all: Arc<[Order]> = deposits.into_iter().chain(repeated).collect();
            of_process.insert(*process, all);
        }
        Self {
            of_process,
            deposits: counts,
        }
    }

    /// The deposits of a process, by number.
    pub(crate) fn deposits(&self, process: &str) -> Range<usize> {
        0..self.deposits[process]
    }

    /// A stretch of its payments out of so many.
    pub(crate) fn stretch(&self, process: &str, number: usize, of: usize) -> Range<usize> {
        let (begin, end) = (self.deposits[process], self.of_process[process].len());
        let at = |number: usize| begin + (end - begin) * number / of;
        at(number)..at(number + 1)
    }

    /// The sum of all deposits.
    pub(crate) fn deposited(&self) -> i64 {
        let all = self.of_process.values().flat_map(|orders| orders.iter());
        all.filter(|order| order.to.is_none())
            .map(|order| order.amount)
            .sum()
    }

    pub(crate) fn count(&self) -> usize {
        self.of_process.values().map(|orders| orders.len()).sum()
    }

    /// What every account holds when all are done.
    pub(crate) fn balances(&self) -> Book {
        let mut book = Book::new();
        for (process, orders) in &self.of_process {
            for order in orders.iter() {
                let own = book.entry((*process, order.account.clone())).or_insert(0);
                match &order.to {
                    None => *own += order.amount,
                    Some((to, account)) => {
                        *own -= order.amount;
                        *book.entry((*to, account.clone())).or_insert(0) += order.amount;
                    }
                }
            }
        }
        book
    }

    /// How many orders a process has done, in their order without a gap, if its accounts hold this.
    pub(crate) fn done(&self, process: &str, book: &Book) -> usize {
        let orders = &self.of_process[process];
        let payers: BTreeSet<&str> = orders[self.deposits(process)]
            .iter()
            .map(|order| &*order.account)
            .collect();
        let held = book
            .iter()
            .filter(|((id, account), _)| *id == process && payers.contains(&**account));
        let held: i64 = held.map(|(_, balance)| balance).sum();
        let mut left: i64 = orders[self.deposits(process)]
            .iter()
            .map(|order| order.amount)
            .sum();
        let begin = self.deposits[process];
        let mut payments = orders[begin..].iter();
        let mut done = begin;
        while left > held {
            let payment = payments
                .next()
                .expect("the payers have not paid more than there is");
            left -= payment.amount;
            done += 1;
        }
        assert_eq!(
            left, held,
            "{process} has done its orders with a gap near {done}"
        );
        done
    }

    /// Sends a range of the orders of a process, in their order.
    pub(crate) fn feed(
        &self,
        process: &'static str,
        address: SocketAddr,
        range: Range<usize>,
    ) -> Feed {
        let acknowledged = Arc::new(AtomicUsize::new(range.start));
        let orders = Arc::clone(&self.of_process[process]);
        let counted = Arc::clone(&acknowledged);
        let task = tokio::spawn(send(process, address, orders, range, counted));
        Feed { acknowledged, task }
    }
}

/// Orders on their way to a process.
pub(crate) struct Feed {
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<Result<(), ClientError>>,
}

impl Feed {
    /// The number of the first order without an answer.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Leaves the others unanswered.
    pub(crate) fn stop(self) -> usize {
        self.task.abort();
        self.acknowledged()
    }

    /// Waits until all are answered.
    pub(crate) async fn end(self) {
        let ended = self.task.await.expect("the task goes on to its end");
        ended.expect("every order is accepted");
    }
}

async fn send(
    process: &'static str,
    address: SocketAddr,
    orders: Arc<[Order]>,
    range: Range<usize>,
    acknowledged: Arc<AtomicUsize>,
) -> Result<(), ClientError> {
    let options = Options {
        batch: BATCH,
        in_flight: IN_FLIGHT,
        patience: PATIENCE,
    };
    let ledger = Ledger::connect(&format!("http://{address}"), options)?;
    let (submitted, mut replies) = mpsc::channel::<Reply>(IN_FLIGHT);
    let submit = async {
        let submitted = submitted;
        for number in range {
            let reply = ledger
                .submit(operation(process, number, &orders[number]))
                .await?;
            if submitted.send(reply).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let count = async {
        while let Some(reply) = replies.recv().await {
            if let Err(error) = reply.await {
                replies.close();
                return Err(error);
            }
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    tokio::try_join!(submit, count).map(|_| ())
}

// The request id says which order it is, so repeating one does nothing.
fn operation(process: &str, number: usize, order: &Order) -> Operation {
    let operation = match &order.to {
        None => Operation::deposit(&order.account, order.amount),
        Some((process, account)) => {
            let to = AccountRef { process, account };
            Operation::transfer(&order.account, to, order.amount)
        }
    };
    operation.with_request_id(&format!("order-{process}-{number}"))
}

fn id(process: &str) -> &'static str {
    let mut ids = IDS.into_iter();
    ids.find(|id| *id == process)
        .expect("a process of the cluster")
}

// Units with two decimals, in hundredths.
fn minor(amount: &str) -> i64 {
    let (units, decimals) = amount.split_once('.').unwrap_or((amount, ""));
    format!("{units}{decimals:0<2}").parse().expect("an amount")
}
