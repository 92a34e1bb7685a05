//! A real browser (headless Chromium) on pages of another origin: they can neither start a snapshot nor read an answer, a
//! rebinding name is refused, and the node's own pages work under their policy: the console and the page to try the API.
//! Without this a check of headers could pass that no browser sends.

mod at_scale;
#[path = "../cluster/await_it.rs"]
mod await_it;
mod cluster;
mod console;
mod console_frozen;
mod console_past;
mod console_states;
#[path = "../cluster/contract.rs"]
#[allow(dead_code, reason = "the tests of the cluster use more of it")]
mod contract;
mod driver;
mod node;
#[path = "../faults/programs.rs"]
#[allow(dead_code, reason = "the tests of faults use more of it")]
mod programs;
#[path = "../required/mod.rs"]
mod required;
#[path = "../cluster/rest.rs"]
#[allow(dead_code, reason = "the tests of the cluster use more of it")]
mod rest;
mod site;
mod visit;

use driver::{Browser, absent};
use node::Node;
use serde_json::{Value, json};
use site::Site;

/// Resolves to loopback in the browser, as a rebound name does.
const EVIL: &str = "evil.example";

fn snapshots(node: &Node) -> usize {
    let listed = node.get("/v1/snapshots");
    listed["snapshots"].as_array().expect("a list").len()
}

// What a script of a page gets from `fetch`: the status and the text, or the name of the error.
fn fetched(browser: &Browser, url: &str, options: &Value) -> Value {
    browser.run_async(&format!(
        "const done = arguments[arguments.length - 1];
         fetch({url:?}, {options}).then(
             async answer => done([answer.type, answer.status, await answer.text()]),
             error => done([error.name, 0, '']))"
    ))
}

// A form needs no script that a policy could stop, and navigates.
fn submit_form(browser: &Browser, target: &str) {
    browser.run(&format!(
        "const form = document.createElement('form');
         form.method = 'post'; form.action = {target:?};
         document.body.append(form); form.submit()"
    ));
}

#[test]
fn a_page_of_another_origin_can_neither_change_nor_read_anything() {
    let Some(browser) = Browser::open(EVIL) else {
        return absent();
    };
    let (node, site) = (Node::start(), Site::serve());
    let rest = node.rest();
    browser.go(&format!("http://{EVIL}:{}/", site.port()));
    let begin = format!("http://{rest}/v1/snapshots");
    for mode in ["no-cors", "cors"] {
        let options = json!({"method": "POST", "mode": mode});
        let answer = fetched(&browser, &begin, &options);
        // An opaque answer says nothing; one that is not opaque must not come.
        assert_ne!(answer[0], "basic", "{answer}");
        assert_eq!((&answer[1], &answer[2]), (&json!(0), &json!("")), "{mode}");
    }
    let body = "{\"amount\":5}";
    let deposit = format!("http://{rest}/v1/accounts/mallory/deposits");
    let options = json!({"method": "POST", "mode": "no-cors", "body": body});
    fetched(&browser, &deposit, &options);
    browser.run(&format!("navigator.sendBeacon({begin:?}, '')"));
    for path in ["/v1/cluster", "/v1/accounts/alice"] {
        let answer = fetched(&browser, &format!("http://{rest}{path}"), &json!({}));
        assert_eq!(answer, json!(["TypeError", 0, ""]), "{path}");
    }
    let follow = |path: &str| browser.run(&format!("location.href = 'http://{rest}{path}'"));
    follow("/v1/backup");
    browser.text_contains("foreign-origin");
    browser.go(&format!("http://{EVIL}:{}/", site.port()));
    follow("/v1/cluster");
    browser.text_contains("\"peers\"");
    browser.go(&format!("http://{EVIL}:{}/", site.port()));
    submit_form(&browser, &begin);
    browser.text_contains("foreign-origin");
    assert_eq!(snapshots(&node), 0, "none was started");
    assert_eq!(node.status("/v1/accounts/mallory"), 404);
}

#[test]
fn a_rebound_name_is_refused_whatever_it_asks() {
    let Some(browser) = Browser::open(EVIL) else {
        return absent();
    };
    let node = Node::start();
    let port = node.rest().port();
    // The name points to the node, so its page has the node's origin and no header of another one.
    browser.go(&format!("http://{EVIL}:{port}/v1/cluster"));
    browser.text_contains("unknown-host");
    browser.go(&format!("http://{EVIL}:{}/", Site::serve().port()));
    submit_form(&browser, &format!("http://{EVIL}:{port}/v1/snapshots"));
    browser.text_contains("unknown-host");
    assert_eq!(snapshots(&node), 0);
}

// Without this a policy that is too strict leaves a blank page.
#[test]
fn the_nodes_own_pages_work_under_their_policy() {
    let Some(browser) = Browser::open(EVIL) else {
        return absent();
    };
    let node = Node::start();
    let rest = node.rest();
    for (page, shown) in [("/docs", ".opblock"), ("/", ".empty .btn")] {
        browser.go(&format!("http://{rest}{page}"));
        browser.finds(shown);
        let complaints = browser.complaints();
        assert!(complaints.is_empty(), "{page}: {complaints:?}");
    }
    let routes = node.text("/");
    assert!(
        routes.contains("<code>GET /v1/cluster</code>"),
        "a program, which names no text/html, gets the list of routes"
    );
    let padding = "return getComputedStyle(document.querySelector('.empty')).paddingTop";
    assert_eq!(browser.run(padding), "44px", "the style sheet applies");
    browser.go(&format!("http://{rest}/docs"));
    let answer = fetched(&browser, "/v1/snapshots", &json!({"method": "POST"}));
    assert_eq!(answer[1], 202, "the page's own origin may: {answer}");
    let opened = "const done = arguments[arguments.length - 1]; \
                  const script = document.createElement('script'); script.textContent = 'window.ran = 1'; \
                  document.body.append(script); done(window.ran ?? 0)";
    assert_eq!(browser.run_async(opened), 0, "no inline script runs");
}
