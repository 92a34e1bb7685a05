//! The console in other states than a healthy cluster: empty, a process down, messages in flight, callers with a role, names
//! that look like markup.

use serde_json::{Value, json};
use snapledger::access::role::Role;

use crate::cluster::Cluster;
use crate::console::{amounts, assert_sound, figures, look, open};
use crate::driver::{Browser, absent};
use crate::node::Node;

#[test]
fn an_empty_node_says_what_to_do_first() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1"]);
    open(&browser, &cluster.page("n1", "#/"), ".empty pre");
    browser.text_contains("No snapshots yet");
    browser.text_contains("curl -X POST");
    assert_sound(&browser, "overview-empty");
    open(&browser, &cluster.page("n1", "#/snapshots"), ".note code");
    assert_sound(&browser, "snapshots-empty");
}

#[test]
fn a_process_that_is_down_is_named_everywhere_and_nothing_unknown_is_zero() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let mut cluster = Cluster::start(&["n1", "n2", "n3"]);
    cluster.pay_in();
    cluster.snapshot("whole");
    cluster.stop("n3");
    let partial = cluster.snapshot("without");
    assert_eq!(partial["status"], "partial", "{partial}");
    cluster.until("n3 is down", || {
        let seen = cluster.get("n1", "/v1/cluster");
        let mut peers = seen["peers"].as_array().expect("a list").iter();
        peers.any(|peer| peer["process"] == "n3" && peer["state"] == "down")
    });
    open(&browser, &cluster.page("n1", "#/"), ".banner li");
    browser.text_contains("n3 is down");
    browser.text_contains("partly known");
    let whole = cluster.get("n1", "/v1/snapshots/whole");
    let known = ["deposits", "withdrawals", "balances", "in_flight"];
    assert_eq!(
        amounts(&browser, ".eq"),
        figures(&whole["totals"], &known),
        "of the newest complete one"
    );
    assert_sound(&browser, "overview-down");
    let page = cluster.page("n1", "#/snapshots/without");
    open(&browser, &page, ".diagram svg");
    browser.text_contains("n3 is missing: down");
    browser.text_contains("Its newest known state is in whole");
    let told = amounts(&browser, ".stats");
    assert_eq!(told[0], partial["totals"]["balances"].to_string());
    let unknown = browser.run(
        "return document.querySelector('[aria-labelledby=card-cut] tbody tr:nth-child(3)').innerText",
    );
    assert!(
        unknown
            .as_str()
            .is_some_and(|row| row.contains("not known")),
        "{unknown}"
    );
    assert_sound(&browser, "snapshot-partial");
    for (name, route, shown) in [
        ("audit-down", "#/audit", ".banner li"),
        ("cluster-down", "#/cluster", ".stat"),
    ] {
        open(&browser, &cluster.page("n1", route), shown);
        browser.text_contains("n3");
        assert_sound(&browser, name);
    }
}

fn recorded(cluster: &Cluster, id: &str) -> Vec<String> {
    let channels = cluster.get("n1", &format!("/v1/snapshots/{id}/channels"));
    let mut all = Vec::new();
    for channel in channels["channels"].as_array().expect("a list") {
        for message in channel["messages"].as_array().expect("a list") {
            let [from, to] = ["from", "to"].map(|end| channel[end].as_str().expect("an id"));
            all.push(format!(
                "{from} → {to} {} {}",
                message["sequence"], message["amount"]
            ));
        }
    }
    all.sort();
    all
}

// Without this the picture could leave out a message, or invent one.
#[test]
fn the_diagram_shows_the_recorded_channels_and_the_arrow_keys_step_through_them() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1", "n2", "n3"]);
    cluster.pay_in();
    let traffic = cluster.traffic();
    let mut shown = Vec::new();
    for round in 0..60 {
        let id = format!("round-{round}");
        let snapshot = cluster.snapshot(&id);
        if snapshot["totals"]["in_flight"] != 0 {
            shown.push(id);
        }
        if shown.len() == 3 {
            break;
        }
    }
    drop(traffic);
    assert!(!shown.is_empty(), "traffic leaves messages in the channels");
    for id in &shown {
        let page = cluster.page("n1", &format!("#/snapshots/{id}"));
        open(&browser, &page, ".diagram .cross");
        let listed = browser.run(
            "return [...document.querySelectorAll('[aria-labelledby=card-channels] tbody tr.row')].map(row => {
                 const cells = [...row.cells].map(cell => cell.textContent);
                 return `${cells[0]} ${cells[1].replaceAll(',', '')} ${row.querySelector('[data-minor]').dataset.minor}` })",
        );
        let mut listed: Vec<String> = serde_json::from_value(listed).expect("texts");
        listed.sort();
        assert_eq!(listed, recorded(&cluster, id), "{id}");
        assert_eq!(
            browser.run("return document.querySelectorAll('.card > .banner').length"),
            0
        );
        browser.press(&["\u{e014}"]);
        browser.finds(".cross[aria-pressed=true]");
        browser.until("document.activeElement.classList.contains('cross')");
        browser.text_contains("→");
        browser.press(&["+", "+", "0", "\u{e00c}"]);
        browser.until("!document.querySelector('.cross[aria-pressed=true]')");
        assert_sound(&browser, &format!("snapshot-in-flight-{id}"));
    }
}

// README and docs/console.md show them. To write them anew:
// `SNAPLEDGER_SCREENSHOTS=docs/images cargo test --test browser the_pictures_of_the_documents`.
#[test]
fn the_pictures_of_the_documents_can_be_taken_again() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1", "n2", "n3"]);
    cluster.pay_in();
    let traffic = cluster.traffic();
    for hour in 0..20 {
        cluster.snapshot(&format!("hour-{hour:02}"));
    }
    let mut last = String::new();
    for round in 0..40 {
        last = format!("closing-{round}");
        if cluster.snapshot(&last)["totals"]["in_flight"] != 0 {
            break;
        }
    }
    look(&browser, "light", 1400);
    open(
        &browser,
        &cluster.page("n1", "#/"),
        "[aria-labelledby=card-flight] .uplot",
    );
    // Rates are known after the second answer of the processes.
    browser.finds(".process svg path");
    assert_sound(&browser, "console-overview");
    drop(traffic);
    let page = cluster.page("n1", &format!("#/snapshots/{last}"));
    open(&browser, &page, ".diagram .cross");
    assert_sound(&browser, "console-snapshot");
}

#[test]
fn names_that_look_like_markup_are_text() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1"]);
    let name = "<img src=x onerror=alert(1)>/%?#";
    let encoded = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%2F%25%3F%23";
    cluster.post(
        "n1",
        &format!("/v1/accounts/{encoded}/deposits"),
        &json!({ "amount": 5 }),
    );
    cluster.snapshot("odd <b>name</b>");
    let page = cluster.page("n1", &format!("#/accounts/n1/{encoded}"));
    open(&browser, &page, ".long tr.row");
    browser.text_contains(name);
    browser.text_contains("odd <b>name</b>");
    open(
        &browser,
        &cluster.page("n1", "#/snapshots/odd%20%3Cb%3Ename%3C%2Fb%3E"),
        ".long tr.row",
    );
    browser.text_contains(name);
    assert_eq!(
        browser.run("return document.querySelectorAll('img, b b').length"),
        0
    );
    assert_sound(&browser, "snapshot-odd");
}

fn sections(browser: &Browser) -> Value {
    browser.run("return [...document.querySelectorAll('.nav')].map(one => one.textContent)")
}

#[test]
fn a_role_sees_what_it_may_do_and_nothing_else() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let (node, tokens) = Node::start_guarded();
    let page = format!("http://{}/", node.rest());
    let sign_in = |token: &str| {
        browser.run("sessionStorage.clear()");
        open(&browser, &page, "#token");
        // The refusal of a request without a token is in the log of every browser.
        browser.complaints();
        let typed: Vec<String> = token.chars().map(String::from).collect();
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        browser.press(&typed);
        browser.press(&["\u{e007}"]);
    };
    browser.go(&page);
    browser.finds("#token");
    assert_eq!(sections(&browser), json!([]), "nothing before");
    sign_in("sl_wrong");
    browser.finds(".refused");
    let may_take = "return [...document.querySelectorAll('.btn')].some(one => one.textContent.startsWith('Take'))";
    let may_pin =
        "return [...document.querySelectorAll('.top .btn')].some(one => one.textContent === 'Pin')";
    sign_in(&tokens[&Role::Auditor]);
    browser.finds(".empty pre");
    assert!(sections(&browser).to_string().contains("Snapshots"));
    assert_eq!(browser.run(may_take), false, "an auditor may not");
    browser.press(&["s", "?"]);
    browser.finds("dialog[open]");
    let keys = browser.run("return document.querySelector('dialog').innerText");
    assert!(!keys.to_string().contains("Take"), "{keys}");
    browser.press(&["\u{e00c}"]);
    assert_sound(&browser, "overview-auditor");
    browser.run("location.hash = '#/snapshots'");
    browser.text_contains("No snapshots yet");
    assert_eq!(browser.run(may_take), false, "an auditor may not");
    sign_in(&tokens[&Role::Operator]);
    // What the key of the auditor might have begun would be here.
    browser.finds(".empty .btn");
    assert_eq!(browser.run(may_take), true, "an operator may");
    browser.press(&["s"]);
    browser.finds(".diagram svg");
    assert_eq!(browser.run(may_pin), true, "an operator may");
    sign_in(&tokens[&Role::Auditor]);
    browser.finds(".eq .dd");
    assert_eq!(browser.run(may_take), false, "an auditor may not");
    browser.run("location.hash = '#/snapshots/latest'");
    browser.finds(".diagram svg");
    assert_eq!(browser.run(may_pin), false, "an auditor may not");
    assert_sound(&browser, "snapshot-auditor");
    sign_in(&tokens[&Role::Teller]);
    browser.finds("#account");
    assert_eq!(sections(&browser), json!(["Accounts", "Cluster", "API"]));
    assert_sound(&browser, "accounts-teller");
}
