//! The console while a process of a loaded cluster is frozen: it neither answers nor closes its connections. Figures on the pages
//! are those of the API, and what the frozen process alone knows is not known. Without this a page could wait for it for ever, or
//! take what is missing for 0.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::console::{amounts, assert_sound, figures, open};
use crate::driver::{Browser, absent};

const TOTALS: [&str; 4] = ["deposits", "withdrawals", "balances", "in_flight"];

fn is_down(seen: &Value, id: &str) -> bool {
    let mut peers = seen["peers"].as_array().expect("a list").iter();
    peers.any(|peer| peer["process"] == id && peer["state"] == "down")
}

#[test]
fn totals_are_those_of_the_api_while_a_process_is_frozen() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start_with(&["n1", "n2", "n3"], Some("n3"));
    cluster.pay_in();
    let traffic = cluster.traffic();
    let whole = cluster.snapshot("whole");
    assert_eq!(whole["status"], "complete", "{whole}");
    cluster.signal("-STOP");
    cluster.until("n3 is down", || {
        is_down(&cluster.get("n1", "/v1/cluster"), "n3")
    });
    let partial = cluster.snapshot("without");
    assert_eq!(partial["status"], "partial", "{partial}");
    open(&browser, &cluster.page("n1", "#/"), ".banner li");
    browser.text_contains("n3 is down");
    browser.text_contains("1 newer snapshot is partial");
    assert_eq!(amounts(&browser, ".eq"), figures(&whole["totals"], &TOTALS));
    assert_sound(&browser, "overview-frozen");
    let page = cluster.page("n1", "#/snapshots/without");
    open(&browser, &page, ".diagram svg");
    let told = amounts(&browser, ".stats");
    assert_eq!(told[0], partial["totals"]["balances"].to_string());
    let held = amounts(&browser, "[aria-labelledby=card-cut] tfoot");
    assert_eq!(held, figures(&partial["totals"], &["balances"]));
    assert_sound(&browser, "snapshot-frozen");
    open(&browser, &cluster.page("n1", "#/audit"), ".checks");
    let at = browser.run("return decodeURIComponent(location.hash.split('at=')[1])");
    let at = at.as_str().expect("the address carries the instant");
    let audit = cluster.get("n2", &format!("/v1/audit?at={at}"));
    let known = ["balances", "deposits", "withdrawals"];
    assert_eq!(
        amounts(&browser, ".stats"),
        figures(&audit["totals"], &known)
    );
    browser.text_contains("n3 as of");
    browser.until("!document.querySelector('[aria-busy=true]')");
    assert_sound(&browser, "audit-frozen");
    open(&browser, &cluster.page("n1", "#/cluster"), ".st.down");
    assert_sound(&browser, "cluster-frozen");
    let page = cluster.page("n1", "#/accounts/n3/alice");
    open(&browser, &page, ".large");
    let path = "/v1/processes/n3/accounts/alice/balance?snapshot=whole";
    let held = cluster.get("n1", path);
    assert_eq!(amounts(&browser, ".large"), figures(&held, &["balance"]));
    cluster.signal("-CONT");
    drop(traffic);
}
