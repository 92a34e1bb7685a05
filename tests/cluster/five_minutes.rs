//! The pages that set up TLS and tokens in five minutes and renew them, as they are written: their files and commands, on three
//! addresses of this machine. Without this the first closed cluster of a newcomer might not start, or the first renewal cut it off.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::await_it::until;
use crate::nodes::{address, listen};
use crate::python::python;

const PAGE: &str = include_str!("../../docs/security.md");
const SET_UP: &str = "Set up TLS in five minutes";
const RENEW: &str = "Renew certificates, CAs and tokens";
const GRPC_PAGE: &str = include_str!("../../docs/grpc-api.md");
const ASK: &str =
    "channel.unary_unary('/chandy_lamport.KeyValueService/GetClusterStatus')(b'', timeout=20)";
const PRELUDE: &str = "set -eu\nsnapledger() { \"$PROGRAM\" \"$@\"; }\n";
const IN_USE: &str = "the changed TLS files are in use";

/// The texts of the blocks of a section.
fn blocks(title: &str) -> Vec<String> {
    let mut sections = PAGE.split("\n## ");
    let section = sections.find(|section| section.lines().next() == Some(title));
    let section = section.expect("the page has the section");
    let blocks = section.split("\n```").skip(1).step_by(2);
    let texts = blocks.filter_map(|block| block.split_once('\n'));
    texts.map(|(_, text)| text.to_owned()).collect()
}

// Each machine is an address of its own; ports are free ones.
fn here(texts: &mut [String]) -> Vec<TcpListener> {
    let mut held = Vec::new();
    for number in 1..=3 {
        let machine = format!("n{number}.example.org");
        let ip = format!("127.0.0.{number}");
        for port in [7101, 7201] {
            let free = listen(&format!("{ip}:0"));
            let there = format!("{machine}:{port}");
            assert!(texts.iter().any(|text| text.contains(&there)), "{there}");
            let here = address(&free).to_string();
            for text in &mut *texts {
                *text = text.replace(&there, &here);
            }
            held.push(free);
        }
        for text in &mut *texts {
            *text = text.replace(&machine, &ip);
        }
    }
    held
}

fn shell(dir: &Path, script: &str) -> Output {
    command("sh", dir)
        .args(["-c", &format!("{PRELUDE}{script}")])
        .env("PROGRAM", env!("CARGO_BIN_EXE_snapledger"))
        .output()
        .expect("there is a shell")
}

fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).stdin(Stdio::null());
    command
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout
}

/// The cluster of the page; its nodes are killed when it is dropped.
struct Closed {
    dir: tempfile::TempDir,
    nodes: Vec<Child>,
    /// The commands that ask it.
    ask: String,
}

impl Drop for Closed {
    fn drop(&mut self) {
        for child in &mut self.nodes {
            // It may have ended already.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

impl Closed {
    async fn set_up() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut texts = blocks(SET_UP);
        let held = here(&mut texts);
        let [make, file, nodes, ask] = &texts[..] else {
            unreachable!("the section has four blocks, not {}", texts.len());
        };
        succeeded(&shell(dir.path(), make));
        std::fs::write(dir.path().join("cluster.toml"), file).expect("there is room");
        drop(held);
        let start = |(index, line): (usize, &str)| {
            let mut words = line.split_whitespace();
            assert_eq!(words.next(), Some("snapledger"));
            let log = File::create(dir.path().join(format!("n{}.log", index + 1)));
            command(env!("CARGO_BIN_EXE_snapledger"), dir.path())
                .args(words)
                .env("RUST_LOG", "info")
                .stderr(log.expect("there is room"))
                .spawn()
                .expect("the program runs")
        };
        let nodes = nodes.lines().enumerate().map(start).collect();
        let closed = Self {
            dir,
            nodes,
            ask: ask.clone(),
        };
        let first = closed
            .ask
            .lines()
            .nth(1)
            .expect("commands after the variables");
        until("a node that answers", async || {
            let asked = closed.asks(first);
            let shown = String::from_utf8_lossy(&asked.stdout);
            let lacks = ["down", "never_seen"]
                .iter()
                .any(|word| shown.contains(word));
            (asked.status.success() && !lacks).then_some(())
        })
        .await;
        closed
    }

    /// The variables of the page for its commands.
    fn variables(&self) -> &str {
        self.ask.lines().next().expect("the variables come first")
    }

    /// Runs commands with these variables.
    fn asks(&self, commands: &str) -> Output {
        self.runs(&format!("{}\n{commands}", self.variables()))
    }

    fn runs(&self, script: &str) -> Output {
        shell(self.dir.path(), script)
    }

    /// How often each node has taken changed files.
    fn taken(&self) -> [usize; 3] {
        ["n1.log", "n2.log", "n3.log"].map(|log| {
            let log = std::fs::read_to_string(self.dir.path().join(log)).expect("it was made");
            log.matches(IN_USE).count()
        })
    }

    // Makes a step of the page, and waits until the nodes with these indices use what it changed.
    async fn renews(&self, step: &str, nodes: &[usize]) {
        let before = self.taken();
        succeeded(&self.runs(step));
        until("the changed files are in use", async || {
            let taken = self.taken();
            let have = nodes.iter().all(|index| taken[*index] > before[*index]);
            have.then_some(())
        })
        .await;
        succeeded(&self.asks("snapledger account deposit alice 1"));
    }

    // As the page about gRPC shows it.
    fn is_asked_by_a_foreign_client(&self) {
        let Some(python) = python() else {
            return;
        };
        let mut blocks = GRPC_PAGE.split("```python\n").skip(1);
        let block = blocks.find(|block| block.contains("ssl_channel_credentials"));
        let (block, _) = block
            .and_then(|block| block.split_once("```"))
            .expect("a block");
        let file = std::fs::read_to_string(self.dir.path().join("cluster.toml"));
        let file = file.expect("it was made");
        let grpc = file.lines().find_map(|line| line.strip_prefix("grpc = "));
        let here = grpc.expect("n1 is first").trim_matches('"');
        let there = "n1.example.org:7101";
        assert!(block.contains(there), "{block}");
        let script = format!("{}\n{ASK}", block.replace(there, here));
        let asked = command(&python, self.dir.path())
            .args(["-c", &script])
            .output();
        succeeded(&asked.expect("it runs"));
    }

    #[track_caller]
    fn refuses(&self, script: &str, why: &str) {
        let refused = self.runs(script);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_makes_a_closed_cluster_of_three() {
    let cluster = Closed::set_up().await;
    let shown = succeeded(&cluster.runs(&cluster.ask));
    for expected in ["complete", "admin", "\"balance\":1000"] {
        assert!(shown.contains(expected), "`{expected}` in: {shown}");
    }
    cluster.is_asked_by_a_foreign_client();
    // Nobody else gets in.
    let token = "SNAPLEDGER_TOKEN_FILE=admin.token";
    assert!(cluster.variables().contains(token));
    let stranger = cluster.variables().replace(token, "");
    let script = format!("{stranger}\nsnapledger status");
    cluster.refuses(&script, "give a token with --token-file");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_renews_certificates_the_ca_and_a_token_without_a_restart() {
    let cluster = Closed::set_up().await;
    let mut texts = blocks(RENEW);
    for (number, text) in texts.iter_mut().enumerate() {
        for machine in 1..=3 {
            *text = text.replace(
                &format!("n{machine}.example.org"),
                &format!("127.0.0.{machine}"),
            );
        }
        assert!(!text.contains("example"), "block {number}: {text}");
    }
    let [certificate, both, pairs, new, token] = &texts[..] else {
        unreachable!("the section has five blocks, not {}", texts.len());
    };
    let old_ca = "cp certs/ca.crt before.crt";
    succeeded(&cluster.runs(old_ca));
    cluster.renews(certificate, &[0]).await;
    cluster.renews(both, &[0, 1, 2]).await;
    cluster.renews(pairs, &[0, 1, 2]).await;
    cluster.renews(new, &[0, 1, 2]).await;
    let shown = succeeded(&cluster.asks("snapledger snapshot take --id renewed"));
    assert!(shown.contains("complete"), "{shown}");
    // Who still trusts the old CA alone connects no more.
    let variables = cluster.variables().replace("certs/ca.crt", "before.crt");
    let script = format!("{variables}\nsnapledger status");
    cluster.refuses(&script, "certificate");

    succeeded(&cluster.runs(token));
    let new_token = cluster
        .variables()
        .replace("admin.token", "admin-2027.token");
    let deposit = "snapledger account deposit alice 1";
    until("the new token counts and the old one ends", async || {
        let new = cluster.runs(&format!("{new_token}\n{deposit}"));
        let old = cluster.asks(deposit);
        (new.status.success() && !old.status.success()).then_some(())
    })
    .await;
}
