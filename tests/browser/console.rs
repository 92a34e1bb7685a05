//! The console in a real browser: every page is free of barriers, errors and requests to others, in light and dark, wide and
//! narrow; its figures are those of the API, exact at any size; the keyboard reaches everything.
//!
//! Pictures of all pages are kept in `target/tmp/console/`, or in the directory of `SNAPLEDGER_SCREENSHOTS`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::driver::{Browser, absent};

/// axe-core, see `vendor/axe-core`.
const AXE: &str = include_str!("../../vendor/axe-core/axe.min.js");

/// Name, route, and what is there when the page is drawn.
const PAGES: [(&str, &str, &str); 9] = [
    ("overview", "#/", ".eq .dd"),
    ("snapshots", "#/snapshots", ".long tr.row"),
    ("snapshot", "#/snapshots/latest", ".diagram svg"),
    ("audit", "#/audit", ".checks"),
    ("accounts", "#/accounts", "#account"),
    ("account", "#/accounts/n1/alice", ".long tr.row"),
    ("compare", "#/compare", "#from"),
    ("difference", "#/compare?from=first&to=second", ".sums"),
    ("cluster", "#/cluster", ".stat"),
];

/// Opens a page anew.
pub(crate) fn open(browser: &Browser, url: &str, shown: &str) {
    browser.go("about:blank");
    browser.go(url);
    browser.finds(shown);
}

/// Asserts what must hold for every page in every state, and keeps its picture.
pub(crate) fn assert_sound(browser: &Browser, name: &str) {
    browser.run(AXE);
    let barriers = browser.run_async(
        "const done = arguments[arguments.length - 1];
         axe.run().then(found => done(found.violations.map(one => [one.id, one.nodes.map(node => node.html)])))",
    );
    assert_eq!(barriers, json!([]), "{name}: barriers");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{name}: {complaints:?}");
    let foreign = browser.run(
        "return performance.getEntries().map(one => one.name)
             .filter(one => /^[a-z]+:\\/\\//.test(one) && !one.startsWith(location.origin))",
    );
    assert_eq!(foreign, json!([]), "{name}: requests to others");
    let wider = browser.run("return document.documentElement.scrollWidth - innerWidth");
    assert!(wider.as_i64() <= Some(0), "{name} is {wider} px too wide");
    let given = std::env::var_os("SNAPLEDGER_SCREENSHOTS").map(PathBuf::from);
    let directory = given.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("console"));
    std::fs::create_dir_all(&directory).expect("it can be made");
    std::fs::write(directory.join(format!("{name}.png")), browser.screenshot())
        .expect("it can be written");
}

/// Light or dark, and how wide.
pub(crate) fn look(browser: &Browser, scheme: &str, width: u32) {
    let size = json!({ "width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false });
    browser.devtools("Emulation.setDeviceMetricsOverride", &size);
    let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    browser.devtools("Emulation.setEmulatedMedia", &scheme);
}

/// The exact amounts, in minor units, of the elements that a selector finds.
pub(crate) fn amounts(browser: &Browser, selector: &str) -> Vec<String> {
    let script = format!(
        "return [...document.querySelectorAll({:?})].map(one => one.dataset.minor)",
        format!("{selector} [data-minor]")
    );
    let found = browser.run(&script);
    let found = found.as_array().expect("a list").iter();
    found
        .map(|one| one.as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Figures of the API as text, so that none passes through a double.
pub(crate) fn figures(of: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| of[*name].to_string()).collect()
}

/// A cluster with two snapshots, and transfers between them.
pub(crate) fn filled() -> Cluster {
    let cluster = Cluster::start(&["n1", "n2", "n3"]);
    cluster.pay_in();
    cluster.snapshot("first");
    drop(cluster.traffic());
    cluster.snapshot("second");
    cluster
}

#[test]
fn every_page_is_sound_in_light_and_dark_wide_and_narrow() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = filled();
    for (scheme, width) in [
        ("light", 1400),
        ("dark", 1400),
        ("light", 900),
        ("dark", 420),
    ] {
        look(&browser, scheme, width);
        for (name, route, shown) in PAGES {
            open(&browser, &cluster.page("n1", route), shown);
            assert_sound(&browser, &format!("{name}-{scheme}-{width}"));
        }
    }
}

// Under load, so that there is money in flight.
#[test]
fn totals_on_the_pages_are_those_of_the_api() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1", "n2", "n3"]);
    cluster.pay_in();
    let _traffic = cluster.traffic();
    let mut rounds = (0..60).map(|round| cluster.snapshot(&format!("round-{round}")));
    let snapshot = rounds.find(|snapshot| snapshot["totals"]["in_flight"] != 0);
    let snapshot = snapshot.expect("traffic leaves messages in the channels");
    let id = snapshot["snapshot_id"].as_str().expect("an id");
    let totals = &snapshot["totals"];
    open(&browser, &cluster.page("n1", "#/"), ".eq .dd");
    let told = amounts(&browser, ".eq");
    let known = ["deposits", "withdrawals", "balances", "in_flight"];
    assert_eq!(told, figures(totals, &known));
    open(
        &browser,
        &cluster.page("n1", &format!("#/snapshots/{id}")),
        ".diagram svg",
    );
    let told = amounts(&browser, ".stats");
    assert_eq!(told[..2], figures(totals, &["balances", "in_flight"]));
    let held = amounts(&browser, "[aria-labelledby=card-cut] tbody");
    let processes = snapshot["processes"].as_array().expect("a list").iter();
    let held_there = processes.map(|one| one["balance_total"].to_string());
    assert_eq!(held, held_there.collect::<Vec<_>>());
    open(&browser, &cluster.page("n2", "#/audit"), ".checks");
    let cut = browser.run("return location.hash.split('cut=')[1]");
    let cut = cut.as_str().expect("the address carries the cut");
    let audit = cluster.get("n3", &format!("/v1/audit?cut={cut}"));
    let told = amounts(&browser, ".stats");
    let known = ["balances", "in_flight", "deposits", "withdrawals"];
    assert_eq!(told[..4], figures(&audit["totals"], &known));
}

// A double would show ….92.
#[test]
fn amounts_beyond_two_to_the_fifty_three_are_exact() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = Cluster::start(&["n1"]);
    let large = 9_007_199_254_740_993_u64;
    cluster.post(
        "n1",
        "/v1/accounts/vault/deposits",
        &json!({ "amount": large }),
    );
    cluster.snapshot("large");
    for (route, shown) in [
        ("#/", ".eq .dd"),
        ("#/accounts/n1/vault", ".long tr.row"),
        ("#/snapshots/large", ".long tr.row"),
        ("#/audit", ".checks"),
    ] {
        open(&browser, &cluster.page("n1", route), shown);
        browser.text_contains("90,071,992,547,409.93");
    }
    let read = browser.run_async(
        r#"const done = arguments[arguments.length - 1];
           const text = '{"a":9007199254740993,"b":"x 9007199254740993 \\" 12345678901234567890","c":[-18446744073709551616,1.5,7]}';
           import(location.origin + '/console/node/json.js').then(({ parse, parseQuoted }) =>
               done([parse, parseQuoted].map(read => read(text)).map(({ a, b, c }) => [String(a), typeof a, b, ...c.map(String)])))"#,
    );
    let exact = json!([
        "9007199254740993",
        "bigint",
        "x 9007199254740993 \" 12345678901234567890",
        "-18446744073709551616",
        "1.5",
        "7",
    ]);
    assert_eq!(read, json!([exact, exact]), "with and without source texts");
}

#[test]
fn times_are_in_utc_until_the_reader_asks_for_another_zone() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let zone = json!({ "timezoneId": "Asia/Kolkata" });
    browser.devtools("Emulation.setTimezoneOverride", &zone);
    let cluster = filled();
    open(
        &browser,
        &cluster.page("n1", "#/snapshots/second"),
        ".told-of time",
    );
    let shown = || {
        browser.run(
            "const time = document.querySelector('.told-of time');
             return [time.dateTime, time.textContent, document.querySelector('.told-of .zone').textContent]",
        )
    };
    let [iso, utc, zone] = [0, 1, 2].map(|at| shown()[at].as_str().expect("text").to_owned());
    assert!(utc.contains(&iso[11..26]), "{utc} of {iso}");
    assert_eq!(zone, "UTC");
    browser.press(&["u"]);
    browser.until("document.querySelector('.told-of .zone').textContent !== 'UTC'");
    let at: jiff::Timestamp = iso.parse().expect("RFC 3339");
    let ahead = jiff::tz::Offset::from_seconds(5 * 3600 + 1800).expect("it is a zone");
    let there = at.to_zoned(jiff::tz::TimeZone::fixed(ahead));
    let local = shown();
    let clock = there.strftime("%H:%M:%S%.6f").to_string();
    assert!(
        local[1].as_str().expect("text").ends_with(&clock),
        "{local} is {clock} there"
    );
    assert_eq!(local[0], iso, "the exact instant stays");
}

#[test]
fn the_keyboard_reaches_every_page_and_action() {
    let Some(browser) = Browser::open("console.example") else {
        return absent();
    };
    let cluster = filled();
    open(&browser, &cluster.page("n1", "#/"), ".eq .dd");
    for (keys, shown) in [
        (["g", "s"], "Snapshots"),
        (["g", "a"], "Audit"),
        (["g", "b"], "Accounts"),
        (["g", "d"], "Compare"),
        (["g", "c"], "Cluster"),
        (["g", "o"], "Overview"),
    ] {
        browser.run("document.activeElement.blur()");
        browser.press(&keys);
        browser.until(&format!(
            "document.querySelector('.nav[aria-current=page]').textContent.startsWith({shown:?})"
        ));
    }
    // Between the keys of the second sequence the time of the first one is over.
    let soon_after = browser.run_async(
        "const [done] = arguments;
         const press = (key) => dispatchEvent(new KeyboardEvent('keydown', { key }));
         const after = (ms) => new Promise((then) => setTimeout(then, ms));
         press('g'); press('s');
         after(1000).then(() => press('g')).then(() => after(400)).then(() => press('d'))
           .then(() => done(location.hash))",
    );
    assert_eq!(soon_after, "#/compare");
    browser.run("location.hash = '#/'");
    browser.finds(".eq .dd");
    browser.press(&["?"]);
    browser.finds("dialog[open]");
    browser.press(&["\u{e00c}"]);
    browser.until("!document.querySelector('dialog[open]')");
    let before = cluster.get("n1", "/v1/snapshots")["snapshots"]
        .as_array()
        .map(Vec::len);
    browser.press(&["s"]);
    browser.until("location.hash.startsWith('#/snapshots/')");
    let after = cluster.get("n1", "/v1/snapshots")["snapshots"]
        .as_array()
        .map(Vec::len);
    assert_eq!(after, before.map(|before| before + 1), "one was taken");
    // The first stop of the tab key leads past the sections.
    open(&browser, &cluster.page("n1", "#/snapshots"), ".long tr.row");
    browser.press(&["\u{e004}"]);
    let first = browser.run("return document.activeElement.textContent");
    assert_eq!(first, "To the content");
    browser.press(&["\u{e007}"]);
    assert_eq!(browser.run("return document.activeElement.id"), "content");
}
