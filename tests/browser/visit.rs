//! One visit of a page in a browser of its own: what it takes until the page stands, and what the tab holds then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::driver::Browser;

/// Frames without a request under way after which a page is settled.
const QUIET_FRAMES: usize = 10;
const LOOKS_MAX: usize = 2000;
const MIB: f64 = (1 << 20) as f64;

/// A page: its name, its route, and a selector of its own content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) name: &'static str,
    pub(crate) route: &'static str,
    pub(crate) shown: &'static str,
}

/// The figures of a visit.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) page: &'static str,
    /// From the request of the page to the first picture, and until its own content stands.
    pub(crate) first_ms: f64,
    pub(crate) stands_ms: f64,
    /// The paths that were asked for, without the questions that are repeated while the page is open.
    pub(crate) requests: Vec<String>,
    /// Bytes of all answers with their headers, as they came over the wire.
    pub(crate) bytes: u64,
    /// The slowest answer of the API.
    pub(crate) slowest_ms: f64,
    pub(crate) slowest: String,
    pub(crate) tab: Tab,
    /// The rows that were read, and the tab then, after scrolling.
    pub(crate) scrolled: Option<(u64, Tab)>,
}

/// What a tab holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tab {
    pub(crate) elements: u64,
    pub(crate) heap_mib: f64,
    /// Resident memory of its process, with the browser's own code.
    pub(crate) resident_mib: f64,
}

impl Visit {
    /// Opens the page at a node, in a new browser.
    pub(crate) fn pay(browser: &Browser, node: SocketAddr, page: Page) -> Self {
        browser.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            &json!({ "source": standing(page.shown) }),
        );
        browser.go(&format!("http://{node}/{}", page.route));
        browser.until("window.stoodAt");
        let traffic = Traffic::until_quiet(browser, node);
        let times = browser.run(
            "const [first] = performance.getEntriesByName('first-contentful-paint');
             return [first?.startTime, window.stoodAt]",
        );
        let slowest = browser.run(
            "const all = performance.getEntriesByType('resource').filter(one => one.name.includes('/v1/'));
             const [slow] = all.sort((one, other) => other.duration - one.duration);
             return [slow.duration, slow.name.slice(location.origin.length)]",
        );
        Self {
            page: page.name,
            first_ms: number(&times[0]),
            stands_ms: number(&times[1]),
            requests: traffic.once(),
            bytes: traffic.bytes(),
            slowest_ms: number(&slowest[0]),
            slowest: slowest[1].as_str().unwrap_or_default().to_owned(),
            tab: Tab::look(browser),
            scrolled: None,
        }
    }

    /// Scrolls the long list of the page until so many rows were read, or all.
    pub(crate) fn scroll(&mut self, browser: &Browser, rows: u64) {
        let read = browser.run_async(&format!(
            "const done = arguments[arguments.length - 1];
             const box = document.querySelector('.long').closest('.box');
             const text = () => box.parentElement.querySelector('.note').textContent;
             const rows = () => Number((/^(?:The first )?([\\d,]+)/.exec(text())?.[1] ?? '0').replaceAll(',', ''));
             const look = () => {{
                 box.scrollTop = box.scrollHeight;
                 if (rows() >= {rows} || /in all|are shown/.test(text())) done(rows());
                 else setTimeout(look, 5);
             }};
             look()"
        ));
        let read = read.as_u64().expect("a number of rows");
        self.scrolled = Some((read, Tab::look(browser)));
    }

    /// The figures as JSON.
    pub(crate) fn json(&self) -> Value {
        let scrolled = self.scrolled.map(|(rows, tab)| {
            let mut json = tab.json();
            json["rows"] = rows.into();
            json
        });
        json!({
            "page": self.page,
            "first_picture_ms": self.first_ms,
            "stands_ms": self.stands_ms,
            "requests": self.requests.len(),
            "api_requests": self.api(),
            "bytes": self.bytes,
            "slowest_ms": self.slowest_ms,
            "slowest": self.slowest,
            "tab": self.tab.json(),
            "scrolled": scrolled,
        })
    }

    /// The requests to the API.
    pub(crate) fn api(&self) -> Vec<&str> {
        let all = self.requests.iter().map(String::as_str);
        all.filter(|path| path.starts_with("/v1/")).collect()
    }
}

impl Tab {
    fn look(browser: &Browser) -> Self {
        browser.devtools("HeapProfiler.collectGarbage", &json!({}));
        browser.devtools("Performance.enable", &json!({}));
        let metrics = browser.devtools("Performance.getMetrics", &json!({}));
        let metrics = metrics["metrics"].as_array().expect("a list");
        let heap = metrics.iter().find(|one| one["name"] == "JSHeapUsedSize");
        let elements = browser.run("return document.querySelectorAll('*').length");
        Self {
            elements: elements.as_u64().expect("a number"),
            heap_mib: number(&heap.expect("a metric of the heap")["value"]) / MIB,
            resident_mib: browser.tab_bytes() as f64 / MIB,
        }
    }

    fn json(self) -> Value {
        json!({
            "elements": self.elements,
            "heap_mib": self.heap_mib,
            "resident_mib": self.resident_mib,
        })
    }
}

// A page's own script that notes when the content is there. It looks before each frame.
fn standing(shown: &str) -> String {
    format!(
        "(() => {{ const look = () => document.querySelector({shown:?})
             ? (window.stoodAt = performance.now()) : requestAnimationFrame(look); look() }})()"
    )
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The requests of a page, as the browser's network log tells them.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Path and bytes by the browser's id, in the order of the requests.
    requests: Vec<(String, String)>,
    bytes: BTreeMap<String, u64>,
    open: BTreeSet<String>,
}

impl Traffic {
    fn until_quiet(browser: &Browser, node: SocketAddr) -> Self {
        let mut traffic = Self::default();
        let mut quiet = 0;
        for _ in 0..LOOKS_MAX {
            let before = traffic.requests.len();
            traffic.read(browser, node);
            let is_quiet = traffic.open.is_empty() && traffic.requests.len() == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == QUIET_FRAMES {
                return traffic;
            }
            browser.run_async("requestAnimationFrame(arguments[arguments.length - 1])");
        }
        unreachable!("requests without end: {:?}", traffic.open)
    }

    /// Adds what the log has told since the last call.
    pub(crate) fn read(&mut self, browser: &Browser, node: SocketAddr) {
        let origin = format!("http://{node}");
        for event in browser.network() {
            let told = &event["params"];
            let id = told["requestId"].as_str().unwrap_or_default().to_owned();
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => {
                    let url = told["request"]["url"].as_str().unwrap_or_default();
                    let Some(path) = url.strip_prefix(&origin) else {
                        continue;
                    };
                    self.requests.push((id.clone(), path.to_owned()));
                    // The stream of events does not end.
                    if path != "/v1/events" {
                        self.open.insert(id);
                    }
                }
                "Network.dataReceived" => {
                    let length = told["dataLength"].as_u64().unwrap_or_default();
                    *self.bytes.entry(id).or_default() += length;
                }
                "Network.loadingFinished" => {
                    let length = told["encodedDataLength"].as_f64().unwrap_or_default();
                    self.open.remove(&id);
                    #[allow(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "it is a number of bytes, written as a double"
                    )]
                    self.bytes.insert(id, length as u64);
                }
                "Network.loadingFailed" => {
                    self.open.remove(&id);
                }
                _ => {}
            }
        }
    }

    /// The paths in the order of the requests.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.requests.iter().map(|(_, path)| path.as_str())
    }

    // The paths, with the repeated question for the state of the cluster once.
    fn once(&self) -> Vec<String> {
        let mut was_polled = false;
        let is_new = |path: &&str| *path != POLLED || !std::mem::replace(&mut was_polled, true);
        self.paths().filter(is_new).map(str::to_owned).collect()
    }

    fn bytes(&self) -> u64 {
        let own = self.requests.iter();
        own.filter_map(|(id, _)| self.bytes.get(id)).sum()
    }
}

/// Asked every three seconds.
const POLLED: &str = snapledger::bench::overview::POLLED;
