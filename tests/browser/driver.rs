//! Headless Chromium by W3C WebDriver.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

const WAIT_MAX: Duration = Duration::from_secs(20);
const PORT_LINE: &str = "started successfully on port ";
const STARTS_MAX: usize = 10;

/// One session. Closes when dropped.
pub(crate) struct Browser {
    agent: Agent,
    session: String,
    driver: Child,
    _profile: TempDir,
}

/// Reports that nothing is tested here.
pub(crate) fn absent() {
    crate::required::absent("chromium with chromedriver");
}

impl Browser {
    /// Opens a browser in which `name` resolves to loopback; `None` without a browser.
    pub(crate) fn open(name: &str) -> Option<Self> {
        Self::open_with(name, &json!({ "browser": "ALL" }))
    }

    /// The same with a log of the network, for [`network`](Self::network).
    pub(crate) fn open_with_network_log(name: &str) -> Option<Self> {
        Self::open_with(name, &json!({ "browser": "ALL", "performance": "ALL" }))
    }

    fn open_with(name: &str, logs: &Value) -> Option<Self> {
        let (driver, port) = start_driver()?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut browser = Self {
            agent: agent.into(),
            session: format!("http://127.0.0.1:{port}/session"),
            driver,
            _profile: profile,
        };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--window-size=1400,1000",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-proxy-server",
            &format!("--host-resolver-rules=MAP {name} 127.0.0.1"),
            &format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let session = browser.call(
            "",
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": logs,
            }}}),
        );
        let id = session["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    // The answer of the driver, or its complaint.
    fn try_call(&self, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}{path}", self.session);
        let answer = self.agent.post(url).send_json(body);
        let mut answer = answer.expect("the driver answers");
        let mut value: Value = answer.body_mut().read_json().expect("it answers in JSON");
        match answer.status().as_u16() {
            200 => Ok(value["value"].take()),
            _ => Err(value["value"]["message"].to_string()),
        }
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let answered = self.try_call(path, body);
        answered.unwrap_or_else(|why| unreachable!("{path}: {why}"))
    }

    /// Opens a page.
    pub(crate) fn go(&self, url: &str) {
        self.call("/url", &json!({"url": url}));
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a script gives to its last argument, a function.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.call("/execute/async", &json!({"script": script, "args": []}))
    }

    /// Waits until the page has such an element.
    pub(crate) fn finds(&self, selector: &str) {
        self.wait(&format!("!!document.querySelector({selector:?})"), selector);
    }

    /// Waits until the page shows this text.
    pub(crate) fn text_contains(&self, text: &str) {
        let script = format!("document.body?.innerText?.includes({text:?})");
        self.wait(&script, text);
    }

    /// Violations and errors that the browser has logged since the last call.
    pub(crate) fn complaints(&self) -> Vec<Value> {
        let logged = self.call("/se/log", &json!({"type": "browser"}));
        let logged = logged.as_array().expect("a list").clone();
        logged
            .into_iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .collect()
    }

    /// Presses keys, one after another: characters, or code points of the table of WebDriver, such as U+E012, the left arrow.
    pub(crate) fn press(&self, keys: &[&str]) {
        let actions = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let actions: Vec<Value> = actions.collect();
        let source = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.call("/actions", &json!({ "actions": [source] }));
    }

    /// The result of a command of the DevTools protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let asked = json!({ "cmd": command, "params": parameters });
        self.call("/goog/cdp/execute", &asked)
    }

    /// The events of the DevTools protocol about the network since the last call.
    pub(crate) fn network(&self) -> Vec<Value> {
        let logged = self.call("/se/log", &json!({"type": "performance"}));
        let logged = logged.as_array().expect("a list").iter();
        let told = logged.map(|entry| {
            let text = entry["message"].as_str().expect("an event as text");
            let mut event: Value = serde_json::from_str(text).expect("it is JSON");
            event["message"].take()
        });
        told.collect()
    }

    /// The resident memory of the process of the page.
    pub(crate) fn tab_bytes(&self) -> u64 {
        renderer_bytes(self.driver.id())
    }

    /// The page as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let url = format!("{}/screenshot", self.session);
        let answer = self.agent.get(url).call();
        let value: Value = answer
            .expect("the driver answers")
            .body_mut()
            .read_json()
            .expect("JSON");
        let encoded = value["value"].as_str().expect("base64");
        base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .expect("it is base64")
    }

    /// Waits until a condition in JavaScript holds.
    pub(crate) fn until(&self, condition: &str) {
        self.wait(condition, condition);
    }

    // The browser itself looks again and again; when it leaves the page meanwhile, the next one is looked at.
    fn wait(&self, condition: &str, what: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1], end = Date.now() + 1000;
             const look = () => {condition} ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 20);
             look()"
        );
        let asked = json!({"script": script, "args": []});
        let begun = Instant::now();
        while self.try_call("/execute/async", &asked) != Ok(Value::Bool(true)) {
            let shown = self.run("return document.documentElement.outerHTML.slice(0, 2000)");
            assert!(begun.elapsed() < WAIT_MAX, "no {what} in {shown}");
        }
    }
}

// The driver and its port; `None` where no driver is installed. It takes a free IPv4 port and ends if another process has that
// port on IPv6, so it is started again.
fn start_driver() -> Option<(Child, u16)> {
    let mut said = Vec::new();
    for _ in 0..STARTS_MAX {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let output = BufReader::new(driver.stdout.take().expect("it is piped"));
        for line in output.lines().map_while(Result::ok) {
            let port = line
                .split_once(PORT_LINE)
                .and_then(|(_, port)| port.trim_end_matches('.').parse().ok());
            if let Some(port) = port {
                return Some((driver, port));
            }
            said.push(line);
        }
        let _ended = driver.wait();
    }
    unreachable!("the driver did not start {STARTS_MAX} times: {said:#?}")
}

// Of the largest process that draws pages, among all that descend from the driver: the browser keeps an empty one in reserve.
fn renderer_bytes(driver: u32) -> u64 {
    let mut parents = BTreeMap::new();
    let mut renderers = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // It may have ended meanwhile.
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        let (Some(status), Some(line)) = (read("status"), read("cmdline")) else {
            continue;
        };
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        parents.insert(process, field("PPid:").unwrap_or_default());
        if line.contains("--type=renderer") {
            renderers.push((process, field("VmRSS:").unwrap_or_default() * 1024));
        }
    }
    let is_own = |process: u32| {
        let mut above = std::iter::successors(Some(process), |process| {
            u32::try_from(*parents.get(process)?).ok()
        });
        above.any(|process| process == driver)
    };
    let own = renderers
        .into_iter()
        .filter(|(process, _)| is_own(*process));
    own.map(|(_, bytes)| bytes)
        .max()
        .expect("the page has a process")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver may have ended with it.
        let _gone = self.agent.delete(&self.session).call();
        let _ended = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
