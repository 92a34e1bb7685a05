//! The nodes of a local cluster as child processes: start, supervision, ordered stop.
//!
//! A child stops when its stdin ends. This also covers a kill of this command, so no child outlives it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::layout::{Layout, LocalNode};
use crate::cli::CliError;
use crate::cli::agent::agent;
use crate::client::Credentials;

const READY_POLL: Duration = Duration::from_millis(100);
const READY_ANSWER_MAX: Duration = Duration::from_secs(2);
const STOP_MAX: Duration = Duration::from_secs(10);

/// An event of a node, identified by its index in the layout.
#[derive(Debug)]
pub(super) enum Event {
    /// The node serves.
    Ready(usize),
    /// The node ended without being told to; the text says how and follows its name.
    Died(usize, String),
}

/// The children of this command.
pub(super) struct Children {
    pids: BTreeMap<usize, u32>,
    watches: JoinSet<()>,
    events: mpsc::UnboundedReceiver<Event>,
    stop: watch::Sender<bool>,
}

impl Children {
    /// Starts every node; must be called within a runtime.
    pub(super) fn spawn(layout: &Layout, logs: &[String]) -> Result<Self, CliError> {
        let (tell, events) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let mut children = Self {
            pids: BTreeMap::new(),
            watches: JoinSet::new(),
            events,
            stop,
        };
        for (index, node) in layout.nodes.iter().enumerate() {
            // On an error, the children started so far end with their stdin, when this value is dropped.
            let child = start(layout, node, logs)?;
            children.pids.extend(child.id().map(|pid| (index, pid)));
            let watched = Watched {
                index,
                rest: node.rest.clone(),
                tell: tell.clone(),
                stopped: stopped.clone(),
            };
            children.watches.spawn(watched.run(child));
        }
        Ok(children)
    }

    /// The next event.
    pub(super) async fn next(&mut self) -> Event {
        let event = self.events.recv().await;
        let event = event.expect(
            "every child that lives can still tell, and the caller stops at the last death",
        );
        if let Event::Died(index, _) = &event {
            self.pids.remove(index);
        }
        event
    }

    /// The number of live children.
    pub(super) fn alive(&self) -> usize {
        self.pids.len()
    }

    /// The OS process ids of the live children, by index.
    pub(super) fn pids(&self) -> BTreeMap<usize, u32> {
        self.pids.clone()
    }

    /// Stops all children: in order first, by kill after ten seconds.
    pub(super) async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.watches.join_next().await.is_some() {}
    }
}

fn start(layout: &Layout, node: &LocalNode, logs: &[String]) -> Result<Child, CliError> {
    let mut command = Command::new(&layout.program);
    command
        .args(layout.arguments(node))
        .arg("--stop-with-stdin")
        .args(logs)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0);
    // The cluster file holds the configuration of a node. Environment variables for this command must not reach the
    // node as options.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNAPLEDGER_") {
            command.env_remove(name);
        }
    }
    command.spawn().map_err(CliError::Runtime)
}

/// A supervised child and the channel for its events.
struct Watched {
    index: usize,
    rest: String,
    tell: mpsc::UnboundedSender<Event>,
    stopped: watch::Receiver<bool>,
}

impl Watched {
    async fn run(mut self, mut child: Child) {
        // Take stdin: waiting for a child closes the stdin that its handle still owns.
        let stdin = child.stdin.take();
        let ready = ready(self.rest.clone());
        tokio::pin!(ready);
        let mut serves = false;
        loop {
            tokio::select! {
                () = &mut ready, if !serves => {
                    serves = true;
                    let _ = self.tell.send(Event::Ready(self.index));
                }
                ended = child.wait() => {
                    let _ = self.tell.send(Event::Died(self.index, how(ended)));
                    return;
                }
                _ = self.stopped.changed() => break,
            }
        }
        drop(stdin);
        if timeout(STOP_MAX, child.wait()).await.is_err() {
            // Kill by handle, not by name: another process may have the same name.
            let _ = child.kill().await;
        }
    }
}

/// How a child ended, as words that follow its name.
fn how(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Err(error) => format!("can no longer be monitored: {error}"),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
    }
}

/// Resolves when `/readyz` answers 200.
async fn ready(rest: String) {
    let url = format!("http://{rest}/readyz");
    let agent = agent(READY_ANSWER_MAX, &Credentials::default());
    loop {
        let (agent, url) = (agent.clone(), url.clone());
        let asked = tokio::task::spawn_blocking(move || {
            agent
                .get(&url)
                .call()
                .is_ok_and(|answer| answer.status() == 200)
        });
        if asked.await.unwrap_or(false) {
            return;
        }
        sleep(READY_POLL).await;
    }
}
