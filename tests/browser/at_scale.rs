//! The console with a long history and many messages in flight: no page asks for more, keeps more or draws more than its
//! bounds, however much there is. Without this, a page that works in a small cluster can stop in one that has run for a year.
//!
//! Tests start in the order of their names. This file has the longest one, which begins early and has the others beside it.
//!
//! The test takes some hundred snapshots. With a hundred thousand, and the table of all figures:
//!
//! ```text
//! SNAPLEDGER_SNAPSHOTS=100000 cargo test --release --test browser scale -- --nocapture
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use snapledger::bench::overview;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation, Payment};
use tonic::transport::Channel;
use ureq::Agent;

use crate::cluster::agent;
use crate::driver::{Browser, absent};
use crate::programs::Programs;
use crate::visit::{Page, Traffic, Visit};

/// Snapshots of the first look; the second look has all of them.
const FEW: usize = 30;
const MANY: usize = 260;
/// Snapshots that are taken at the same time.
const AT_ONCE: usize = 16;
/// Messages that cross the cut.
const MESSAGES: i64 = 1000;
/// Rows that are read by scrolling.
const ROWS: u64 = 5000;

/// What a page may take, however many snapshots there are.
struct Bounds {
    /// Requests to the API until it stands.
    requests: usize,
    bytes: u64,
    elements: u64,
    heap_mib: f64,
}

const PAGES: [(Page, Bounds); 7] = [
    (page("Overview", "#/", ".eq .dd"), Bounds::of(8, 450)),
    (
        page("Snapshots", "#/snapshots", ".long tr.row"),
        Bounds::of(6, 700),
    ),
    (
        page("Snapshot", "#/snapshots/crossing", ".diagram .cross"),
        Bounds::of(12, 800),
    ),
    (page("Audit", "#/audit", ".checks"), Bounds::of(6, 1050)),
    (
        page("Account", "#/accounts/n1/alice", ".long tr.row"),
        Bounds::of(8, 1000),
    ),
    (
        page("Compare", "#/compare?from=first&to=crossing", ".sums"),
        Bounds::of(6, 600),
    ),
    (page("Cluster", "#/cluster", ".stat"), Bounds::of(5, 450)),
];

const fn page(name: &'static str, route: &'static str, shown: &'static str) -> Page {
    Page { name, route, shown }
}

impl Bounds {
    // Elements and memory have one bound for all pages: rows out of sight are not drawn, and what is bundled is one element.
    const fn of(requests: usize, kilobytes: u64) -> Self {
        Self {
            requests,
            bytes: kilobytes * 1000,
            elements: 2500,
            heap_mib: 12.0,
        }
    }

    fn assert_kept(&self, visit: &Visit) {
        let api = visit.api();
        assert!(api.len() <= self.requests, "{}: {api:?}", visit.page);
        assert!(visit.bytes <= self.bytes, "{visit:?}");
        let scrolled = visit.scrolled.map(|(_, tab)| tab);
        for tab in [Some(visit.tab), scrolled].into_iter().flatten() {
            assert!(tab.elements <= self.elements, "{visit:?}");
            assert!(tab.heap_mib <= self.heap_mib, "{visit:?}");
        }
    }
}

fn snapshots() -> usize {
    let given = std::env::var("SNAPLEDGER_SNAPSHOTS").ok();
    let given = given.map(|given| given.parse().expect("a number of snapshots"));
    given.unwrap_or(MANY).max(FEW)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_grows_with_the_history_or_with_the_messages_in_flight() {
    if tokio::task::block_in_place(|| Browser::open("console.example")).is_none() {
        return absent();
    }
    let many = snapshots();
    // A look at a thousand beside the large run.
    let few = if many > 10 * MANY { 1000 } else { FEW };
    let mut programs = Programs::planned(3);
    programs.start_all().await;
    let mut ledger = Ledger::of(&programs).await;
    ledger.deposit().await;
    let rest = ["n1", "n2", "n3"].map(|id| programs.address(id));
    tokio::task::block_in_place(|| take_one(rest[0], "first"));
    let mut looks = Vec::new();
    let mut taken = 0;
    for (snapshots, crossing) in [(few, "crossing-few"), (many, "crossing")] {
        let took = tokio::task::block_in_place(|| fill(rest, snapshots - taken));
        println!("{} snapshots in {took:.1?}", snapshots - taken);
        taken = snapshots;
        let ready = cross(&mut programs, &mut ledger, crossing).await;
        println!("n3 is ready {ready:.1?} after its start, with {snapshots} snapshots");
        let visits = tokio::task::block_in_place(|| visit_all(rest[0], crossing));
        println!("{}", table(snapshots, &visits));
        looks.push(Look { snapshots, visits });
    }
    keep(&looks);
    let [few, many] = &looks[..] else {
        unreachable!("there are two looks");
    };
    for (((_, bounds), few), many) in PAGES.iter().zip(&few.visits).zip(&many.visits) {
        bounds.assert_kept(few);
        bounds.assert_kept(many);
        let [less, more] = [few.api().len(), many.api().len()];
        assert!(
            more <= less + 2,
            "{}: {less} requests, then {more}",
            many.page
        );
    }
}

fn visit_all(node: SocketAddr, crossing: &str) -> Vec<Visit> {
    let visit = |(page, _): &(Page, Bounds)| {
        let route: &'static str = match crossing {
            "crossing" => page.route,
            // The route of the first look, for the rest of the test.
            other => Box::leak(page.route.replace("crossing", other).into_boxed_str()),
        };
        // A new browser for each page: nothing is cached, and the memory is that of this page.
        let browser = Browser::open_with_network_log("console.example").expect("it was there");
        let mut visit = Visit::pay(&browser, node, Page { route, ..*page });
        if matches!(page.name, "Snapshots" | "Account") {
            visit.scroll(&browser, ROWS);
        }
        visit
    };
    PAGES.iter().map(visit).collect()
}

fn table(snapshots: usize, visits: &[Visit]) -> String {
    let head = format!(
        "{snapshots} snapshots, {MESSAGES} messages in flight\n\
         page       first ms  stands ms  requests  of the API  kB   slowest ms  elements  heap MiB  tab MiB"
    );
    let row = |visit: &Visit, what: &str, tab: crate::visit::Tab| {
        format!(
            "{:<10} {:>8.0}  {:>9.0}  {:>8}  {:>10}  {:>4}  {:>9.1}  {:>8}  {:>8.1}  {:>7.0}  {what}",
            visit.page,
            visit.first_ms,
            visit.stands_ms,
            visit.requests.len(),
            visit.api().len(),
            visit.bytes / 1000,
            visit.slowest_ms,
            tab.elements,
            tab.heap_mib,
            tab.resident_mib,
        )
    };
    let rows = visits.iter().flat_map(|visit| {
        let opened = row(visit, &visit.slowest, visit.tab);
        let scrolled = visit
            .scrolled
            .map(|(rows, tab)| row(visit, &format!("after {rows} rows"), tab));
        [Some(opened), scrolled].into_iter().flatten()
    });
    let rows: Vec<String> = rows.collect();
    format!("{head}\n{}", rows.join("\n"))
}

/// Every page with so many snapshots.
struct Look {
    snapshots: usize,
    visits: Vec<Visit>,
}

// The figures as JSON, beside the pictures.
fn keep(looks: &[Look]) {
    let look = |look: &Look| {
        let pages: Vec<Value> = look.visits.iter().map(Visit::json).collect();
        json!({ "snapshots": look.snapshots, "messages_in_flight": MESSAGES, "pages": pages })
    };
    let looks: Vec<Value> = looks.iter().map(look).collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console-scale.json");
    std::fs::write(&file, format!("{:#}", Value::from(looks))).expect("it can be written");
    println!("as JSON: {}", file.display());
}

/// The account `alice` of n1.
struct Ledger(LedgerServiceClient<Channel>);

impl Ledger {
    async fn of(programs: &Programs) -> Self {
        let url = format!("http://{}", programs.grpc("n1"));
        let connected = LedgerServiceClient::connect(url).await;
        Self(connected.expect("n1 is ready"))
    }

    async fn deposit(&mut self) {
        self.apply(Body::Deposit(Deposit {
            account: "alice".to_owned(),
            amount: 1_000_000_000,
        }))
        .await;
    }

    async fn pay(&mut self, amount: i64) {
        self.apply(Body::Payment(Payment {
            from_account: "alice".to_owned(),
            to_process: "n3".to_owned(),
            to_account: "carol".to_owned(),
            amount,
        }))
        .await;
    }

    async fn apply(&mut self, body: Body) {
        let operation = Operation {
            body: Some(body),
            ..Operation::default()
        };
        let operations = vec![operation];
        let answer = self.0.apply(ApplyRequest { operations }).await;
        let results = answer.expect("the node answers").into_inner().results;
        assert!(results.iter().all(|result| result.success), "{results:?}");
    }
}

// A snapshot whose cut is crossed by messages from n1 to n3: they wait while n3 is down; n3 records its state while n1 is
// frozen, and only then they arrive. Returns how long n3 took to start.
async fn cross(programs: &mut Programs, ledger: &mut Ledger, name: &str) -> Duration {
    programs.kill("n3");
    // Each in a turn of its own, so that each is a message by itself in the picture.
    for amount in 1..=MESSAGES {
        ledger.pay(amount).await;
    }
    programs.signal("n1", "STOP");
    let ready = programs.start("n3").await;
    let n3 = programs.rest("n3");
    let asked = json!({ "snapshot_id": name, "deadline": "60s" });
    let begun = n3.post("/v1/snapshots", &asked).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    programs.signal("n1", "CONT");
    let snapshot = n3.snapshot(name, "complete").await;
    let in_flight: i64 = (1..=MESSAGES).sum();
    assert_eq!(snapshot["totals"]["in_flight"], in_flight, "{snapshot}");
    programs.rest("n1").snapshot(name, "complete").await;
    ready
}

// Waits for it. A disk that stalls for seconds must not make it partial.
fn take(agent: &Agent, node: SocketAddr, mut body: Value) {
    body["deadline"] = "60s".into();
    let url = format!("http://{node}/v1/snapshots?wait=60");
    let mut answer = agent.post(url).send_json(&body).expect("the node answers");
    let snapshot: Value = answer.body_mut().read_json().expect("JSON");
    assert_eq!(snapshot["status"], "complete", "{snapshot}");
}

fn take_one(node: SocketAddr, name: &str) {
    take(&agent(), node, json!({ "snapshot_id": name }));
}

// Takes snapshots at all nodes, several at once, and waits for each.
fn fill(nodes: [SocketAddr; 3], count: usize) -> Duration {
    let begun = Instant::now();
    let next = Arc::<AtomicUsize>::default();
    let takers = (0..AT_ONCE).map(|_| {
        let next = Arc::clone(&next);
        std::thread::spawn(move || {
            let agent = agent();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                take(&agent, nodes[number % nodes.len()], json!({}));
            }
        })
    });
    let takers: Vec<_> = takers.collect();
    for taker in takers {
        taker.join().expect("all are taken");
    }
    begun.elapsed()
}

// `bench console` measures what open consoles cost, with clients that make these requests.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_overview_asks_what_the_measurement_asks() {
    let opened = tokio::task::block_in_place(|| Browser::open_with_network_log("console.example"));
    let Some(browser) = opened else {
        return absent();
    };
    let mut programs = Programs::planned(2);
    programs.start_all().await;
    let node = programs.address("n1");
    let asked = tokio::task::block_in_place(|| {
        take_one(node, "first");
        browser.go(&format!("http://{node}/#/"));
        browser.finds(".eq .dd");
        let mut traffic = Traffic::default();
        let polls = |traffic: &Traffic| {
            let polls = traffic.paths().filter(|path| *path == overview::POLLED);
            polls.count()
        };
        let mut second = false;
        while polls(&traffic) < 3 {
            traffic.read(&browser, node);
            if polls(&traffic) == 1 && !std::mem::replace(&mut second, true) {
                take_one(node, "second");
            }
        }
        let asked = traffic.paths().filter(|path| path.starts_with("/v1/"));
        asked.map(str::to_owned).collect::<Vec<_>>()
    });
    let times = |path: &str| asked.iter().filter(|asked| *asked == path).count();
    for path in overview::OPENED.into_iter().chain([overview::STREAM]) {
        assert_eq!(times(path), 1, "{path} in {asked:#?}");
    }
    assert_eq!(times(overview::NEWEST), 2, "{asked:#?}");
    for id in ["first", "second"] {
        assert_eq!(times(&format!("/v1/snapshots/{id}")), 1, "{asked:#?}");
    }
    // Three polls, and nothing else.
    assert_eq!(
        asked.len(),
        overview::OPENED.len() + 1 + 2 + 2 + 3,
        "{asked:#?}"
    );
}
