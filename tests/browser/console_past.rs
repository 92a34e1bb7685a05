//! What the console shows of times and steps: the curves of the audit, of an account and of money in flight, the steps of a
//! snapshot, and searches. Without this a curve could draw other figures than the API has, or ask for more than its bounds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::console::{amounts, assert_sound, figures, filled, open};
use crate::driver::{Browser, absent};

// The newest request whose address contains a text, as the path that the API takes.
fn asked(browser: &Browser, part: &str) -> String {
    let script = format!(
        "return performance.getEntriesByType('resource').map(one => one.name)
             .findLast(name => name.includes({part:?}))?.slice(location.origin.length) ?? ''"
    );
    let found = browser.run(&script);
    found.as_str().expect("a text").to_owned()
}

fn requests(browser: &Browser, part: &str) -> usize {
    let script = format!(
        "return performance.getEntriesByType('resource').filter(one => one.name.includes({part:?})).length"
    );
    let found = browser.run(&script).as_u64().expect("a number");
    usize::try_from(found).expect("it is small")
}

// Presses a key and waits until its question is answered.
fn press_and_wait(browser: &Browser, key: &str, part: &str) {
    let before = requests(browser, part);
    browser.press(&[key]);
    browser.until(&format!(
        "performance.getEntriesByType('resource').filter(one => one.name.includes({part:?})).length > {before}"
    ));
    browser.until("!document.querySelector('[aria-busy=true]')");
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().expect("a list")
}

#[test]
fn the_curve_of_the_audit_is_that_of_the_api_and_finer_when_zoomed() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1", "n2", "n3"]);
    cluster.pay_in();
    let traffic = cluster.traffic();
    for round in 0..6 {
        cluster.snapshot(&format!("round-{round}"));
    }
    drop(traffic);
    open(&browser, &cluster.page("n1", "#/audit"), ".checks");
    browser.until("!document.querySelector('[aria-busy=true]')");
    let mut steps = Vec::new();
    let mut shown = false;
    for _ in 0..9 {
        press_and_wait(&browser, "+", "/v1/audit/series");
        let path = asked(&browser, "/v1/audit/series");
        assert!(path.contains("from=2") && path.contains("to=2"), "{path}");
        let series = cluster.get("n2", &path);
        steps.push(series["step_ms"].as_f64().expect("a number"));
        let points = list(&series, "points");
        assert!(points.len() <= 130, "{} points", points.len());
        let known = points.iter().filter(|point| point["status"] == "complete");
        let most = known.map(|point| point["in_flight"].as_i64().expect("it is small"));
        let Some(most) = most.max() else { continue };
        shown = true;
        browser.finds("[aria-labelledby=card-slide] .uplot");
        assert_eq!(
            amounts(&browser, "[aria-labelledby=card-slide] .note"),
            [most.to_string()],
            "{path}"
        );
    }
    assert!(shown, "some time had known instants");
    assert!(steps.is_sorted_by(|one, next| one > next), "{steps:?}");
    assert_sound(&browser, "audit-zoomed");
}

#[test]
fn an_instant_that_is_typed_is_audited_and_one_before_everything_is_not_known() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = filled();
    let first = cluster.get("n1", "/v1/snapshots/first");
    let at = first["finished_at"].as_str().expect("it is finished");
    open(&browser, &cluster.page("n1", "#/audit"), ".checks");
    browser.run("document.getElementById('typed').focus()");
    let typed: Vec<String> = at.chars().map(String::from).collect();
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    browser.press(&typed);
    browser.press(&["\u{e007}"]);
    let shown =
        format!("document.querySelector('[aria-labelledby=card-slide] time').dateTime === {at:?}");
    browser.until(&shown);
    let cut = browser.run("return location.hash.split('cut=')[1]");
    let cut = cut.as_str().expect("the address carries the cut");
    let audit = cluster.get("n3", &format!("/v1/audit?cut={cut}"));
    assert_eq!(audit["at"], at);
    let known = ["balances", "in_flight", "deposits", "withdrawals"];
    assert_eq!(
        amounts(&browser, ".stats")[..4],
        figures(&audit["totals"], &known)
    );
    open(&browser, &cluster.page("n1", "#/audit?at=-2d"), ".stats");
    let told = browser
        .run("return [...document.querySelectorAll('.stats .dd')].map(one => one.textContent)");
    assert_eq!(told, json!(["not known"; 5].map(String::from)), "never 0");
    browser.until("!document.querySelector('[aria-busy=true]')");
    assert_sound(&browser, "audit-before-everything");
}

/// More than are drawn one by one.
const CHANGES: usize = 1100;

#[test]
fn an_account_with_many_changes_is_drawn_in_stretches_until_it_is_zoomed() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1", "n2"]);
    cluster.pay_in();
    for turn in 0..CHANGES {
        let amount = 1 + turn * 7919 % 30_000;
        let (path, body) = match turn % 2 {
            0 => ("/v1/accounts/alice/deposits", json!({ "amount": amount })),
            _ => (
                "/v1/transfers",
                json!({ "from_account": "alice", "to_account": "bob", "to_process": "n2", "amount": amount }),
            ),
        };
        cluster.post("n1", path, &body);
    }
    let page = cluster.page("n1", "#/accounts/n1/alice?range=900");
    let note = "[aria-labelledby=card-curve] .note";
    open(&browser, &page, note);
    browser.text_contains("stretches");
    let all = cluster.get("n1", "/v1/accounts/alice/series?from=-1h&points=1");
    let told = amounts(&browser, note);
    assert_eq!(told, figures(&list(&all, "buckets")[0], &["min", "max"]));
    assert_sound(&browser, "account-stretches");
    for _ in 0..12 {
        press_and_wait(&browser, "+", "/history");
        press_and_wait(&browser, "]", "/history");
        if browser.run("return document.body.innerText.includes('stretches')") == false {
            break;
        }
    }
    let path = asked(&browser, "/history?from");
    let exact = cluster.get("n1", &path);
    assert_eq!(
        exact["next_cursor"],
        Value::Null,
        "few enough to be drawn one by one"
    );
    assert_sound(&browser, "account-zoomed");
}

#[test]
fn accounts_are_found_by_their_beginning_and_a_wrong_one_leads_on() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = filled();
    open(&browser, &cluster.page("n1", "#/accounts"), ".long tr.row");
    browser.press(&["c", "a"]);
    browser.until("[...document.querySelectorAll('.long tr.row a')].every(one => one.textContent === 'carol')");
    let rows = browser.run("return document.querySelectorAll('.long tr.row').length");
    assert_eq!(rows, 3, "one of each process");
    assert_sound(&browser, "accounts-found");
    let page = cluster.page("n1", "#/accounts/n1/nobody");
    open(&browser, &page, ".empty a[href='#/accounts']");
    browser.text_contains("There is no account nobody on n1");
    let page = cluster.page("n1", "#/accounts/n1/alice");
    open(&browser, &page, "#held-at");
    let first = cluster.get("n1", "/v1/snapshots/first");
    let at = first["finished_at"].as_str().expect("it is finished");
    browser.run(&format!(
        "const typed = document.getElementById('held-at'); typed.value = {at:?}; typed.form.requestSubmit()"
    ));
    browser.finds(".held .num");
    let held = cluster.get("n1", &format!("/v1/accounts/alice/balance?at={at}"));
    assert_eq!(amounts(&browser, ".held"), figures(&held, &["balance"]));
}

#[test]
fn the_steps_of_a_snapshot_are_its_events() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = filled();
    open(
        &browser,
        &cluster.page("n2", "#/snapshots/second"),
        ".every summary",
    );
    browser.finds("[aria-labelledby=card-steps] tfoot .st.complete");
    browser.run("document.querySelector('.every').open = true");
    browser.finds(".every tr.row");
    let shown = browser.run(
        "return [...document.querySelectorAll('.every tr.row')].map(row => `${row.cells[1].textContent} ${row.cells[2].textContent}`)",
    );
    let shown: BTreeSet<String> = serde_json::from_value(shown).expect("texts");
    let mut expected = BTreeSet::from(["published revision 1".to_owned()]);
    for process in ["n1", "n2", "n3"] {
        expected.insert(format!("state recorded {process}"));
        for other in ["n1", "n2", "n3"].iter().filter(|other| **other != process) {
            expected.insert(format!("channel closed {other} → {process}"));
        }
    }
    assert_eq!(shown, expected);
    let closed = browser.run(
        "return [...document.querySelectorAll('[aria-labelledby=card-steps] tbody tr')].slice(0, 3).map(row => row.innerText.includes('2 of 2'))",
    );
    assert_eq!(closed, json!([true, true, true]));
    assert_sound(&browser, "snapshot-steps");
}

// Without this the page would read the whole snapshot again and again while it waits.
#[test]
fn a_snapshot_in_progress_is_followed_by_its_events() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let mut cluster = Cluster::start(&["n1", "n2", "n3"]);
    cluster.pay_in();
    cluster.snapshot("whole");
    open(&browser, &cluster.page("n1", "#/"), ".eq .dd");
    cluster.stop("n3");
    browser.press(&["s"]);
    browser.until("location.hash.startsWith('#/snapshots/')");
    browser.finds("[aria-labelledby=card-steps]");
    browser.finds("h1 ~ .st.partial");
    browser.finds("[aria-labelledby=card-steps] tfoot .st.partial");
    let rows = browser.run(
        "return [...document.querySelectorAll('[aria-labelledby=card-steps] .scroll tbody tr')].map(row => row.innerText)",
    );
    let rows: Vec<String> = serde_json::from_value(rows).expect("texts");
    assert!(
        rows[0].contains("1 of 2") && rows[1].contains("1 of 2"),
        "{rows:?}"
    );
    assert!(rows[2].contains("not known"), "{rows:?}");
    let id = browser.run("return decodeURIComponent(location.hash.split('/')[2])");
    let id = id.as_str().expect("an id").to_owned();
    let again = browser.run(&format!(
        "return performance.getEntriesByType('resource').filter(one => one.name.endsWith('/v1/snapshots/' + {id:?})).length"
    ));
    assert!(again.as_u64() <= Some(4), "it was read {again} times");
    assert!(requests(&browser, &format!("/v1/snapshots/{id}/events")) >= 1);
    assert_sound(&browser, "snapshot-followed");
}

#[test]
fn the_overview_has_the_money_in_flight_of_the_last_minutes() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = filled();
    open(
        &browser,
        &cluster.page("n1", "#/"),
        "[aria-labelledby=card-flight] .uplot",
    );
    assert_eq!(
        requests(&browser, "/v1/audit"),
        1,
        "the past is audited once"
    );
    cluster.snapshot("third");
    browser.until("document.querySelector('.eq') && document.body.innerText.includes('third')");
    assert_eq!(
        requests(&browser, "/v1/audit"),
        1,
        "and not again for a snapshot"
    );
    assert_sound(&browser, "overview-flight");
}
