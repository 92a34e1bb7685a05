//! A bound teller may pay into any account of the process and learns nothing of it. Without this it finds the balance of a
//! foreign account by payments at the edge of what fits, which were refused.

use serde_json::{Value, json};
use snapledger::access::role::Role;
use snapledger::proto::chandy_lamport::TransferRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Operation, Payment};

use crate::guarded::{Guarded, add_token, with_token};

const OWN: &str = "branch-7/alice";
const FULL: &str = "bob";
const MOST: i64 = i64::MAX;

struct Probed {
    node: Guarded,
    bound: String,
}

impl Probed {
    // `FULL` holds as much as an account can, and the account of the teller 100.
    async fn start() -> Self {
        let mut bound = String::new();
        let node = Guarded::start_with(|dir, _| {
            bound = add_token(&dir.join("tokens.toml"), "till-7", Role::Teller, |stored| {
                stored.accounts = vec!["branch-7/".to_owned()];
            });
        });
        let probed = Self {
            node: node.await,
            bound,
        };
        for (account, amount) in [(FULL, MOST), ("branch-7%2Falice", 100)] {
            let path = format!("/v1/accounts/{account}/deposits");
            let body = json!({"amount": amount});
            let paid = probed.operator("POST", &path, Some(body)).await;
            assert_eq!(paid["balance"], amount, "{paid}");
        }
        probed
    }

    async fn operator(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let token = self.node.token(Role::Operator);
        self.node.send(method, path, Some(token), body).await.body
    }

    // The answer to a payment over REST, without what differs between any two.
    async fn pay(&self, to: &str) -> Value {
        let body = json!({"from_account": OWN, "to_account": to, "amount": 1});
        let (path, token) = ("/v1/transfers", Some(&*self.bound));
        let answer = self.node.send("POST", path, token, Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut shown = answer.body;
        for field in ["transfer_id", "from_balance", "journal_position", "time"] {
            assert!(shown[field].take() != Value::Null, "{field}");
        }
        shown
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_does_not_fit_is_answered_as_one_that_does() {
    let probed = Probed::start().await;
    assert_eq!(probed.pay(FULL).await, probed.pay("anyone").await);

    let mut bank = BankServiceClient::new(probed.node.channel());
    let mut paid = Vec::new();
    for to in [FULL, "anyone"] {
        let transfer = TransferRequest {
            from_account: OWN.to_owned(),
            to_account: to.to_owned(),
            amount: 1,
            to_process: String::new(),
        };
        let answer = bank.transfer(with_token(&probed.bound, transfer)).await;
        paid.push(answer.expect("it is answered").into_inner());
    }
    let left: Vec<_> = paid
        .iter_mut()
        .map(|answer| std::mem::take(&mut answer.from_balance))
        .collect();
    assert_eq!(left, [97, 96]);
    assert_eq!(paid[0], paid[1]);

    let payment = |to: &str| Operation {
        request_id: String::new(),
        body: Some(Body::Payment(Payment {
            from_account: OWN.to_owned(),
            to_account: to.to_owned(),
            amount: 1,
            to_process: String::new(),
        })),
    };
    let mut ledger = LedgerServiceClient::new(probed.node.channel());
    let operations = vec![payment(FULL), payment("anyone")];
    let applied = ledger
        .apply(with_token(&probed.bound, ApplyRequest { operations }))
        .await;
    let results = applied.expect("it is answered").into_inner().results;
    let shown = results
        .iter()
        .map(|result| (result.success, result.balance, result.to_balance));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [(true, 95, None), (true, 94, None)]
    );

    probed.statements_name_what_was_meant().await;
    probed.node.stop().await;
}

impl Probed {
    // The teller reads the account that it named; the money is in suspense, and its statement says for whom.
    async fn statements_name_what_was_meant(&self) {
        let own = "/v1/accounts/branch-7%2Falice/history";
        let own = self
            .node
            .send("GET", own, Some(&self.bound), None)
            .await
            .body;
        let entries = own["entries"].as_array().expect("entries");
        let named = entries
            .iter()
            .filter_map(|entry| entry["counterparty"].as_str());
        let named: Vec<_> = named.collect();
        assert_eq!(
            named.iter().filter(|account| **account == FULL).count(),
            3,
            "{named:?}"
        );
        assert!(!own.to_string().contains("suspense"), "{own}");
        let aside = self.operator("GET", "/v1/accounts/suspense", None).await;
        assert_eq!(aside["balance"], 3, "{aside}");
        let aside = self
            .operator("GET", "/v1/accounts/suspense/history", None)
            .await;
        let newest = &aside["entries"][0];
        assert_eq!(
            (&newest["meant_for"], &newest["counterparty"]),
            (&json!(FULL), &json!(OWN))
        );
        let metrics = self.operator("GET", "/metrics", None).await.to_string();
        assert!(metrics.contains("credits_to_suspense_total 3"), "{metrics}");
        let audit = self.operator("GET", "/v1/audit", None).await;
        assert_eq!(audit["verification"]["conserved"], true, "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_read_the_account_is_refused_as_before() {
    let probed = Probed::start().await;
    for (token, from, to) in [
        (probed.node.token(Role::Teller), OWN, FULL),
        (probed.node.token(Role::Operator), OWN, FULL),
    ] {
        let body = json!({"from_account": from, "to_account": to, "amount": 1});
        let answer = probed
            .node
            .send("POST", "/v1/transfers", Some(token), Some(body))
            .await;
        assert_eq!((answer.status, answer.problem()), (409, "overflow"));
    }
    // Its own account is its own affair.
    let full = json!({"amount": MOST});
    let path = "/v1/accounts/branch-7%2Ffull/deposits";
    let paid = probed
        .node
        .send("POST", path, Some(&probed.bound), Some(full))
        .await;
    assert_eq!(paid.status, 200, "{paid:?}");
    let body = json!({"from_account": OWN, "to_account": "branch-7/full", "amount": 1});
    let answer = probed
        .node
        .send("POST", "/v1/transfers", Some(&probed.bound), Some(body))
        .await;
    assert_eq!((answer.status, answer.problem()), (409, "overflow"));
    probed.node.stop().await;
}
