//! `cluster`: runs a local cluster, one child process per node, until Ctrl-C.
//!
//! Ports and directory are checked before the first file is written. The children run in their own process groups, so
//! Ctrl-C reaches only this command, which then stops them in order.

mod banner;
mod children;
mod layout;

use std::collections::BTreeSet;
use std::path::PathBuf;

use self::children::{Children, Event};
use self::layout::Layout;
use super::signals::EndSignals;
use super::{CliError, LogOptions, print, runtime};

/// Run a local cluster, one process per node, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of processes; their ids are n1, n2, ….
    #[arg(long, env = "SNAPLEDGER_NODES", value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256))]
    nodes: u16,

    /// The directory of the cluster file and the stores.
    #[arg(long, env = "SNAPLEDGER_CLUSTER_DIR", default_value = crate::config::STORES_DEFAULT)]
    dir: PathBuf,

    /// The gRPC port of the first process; the others count up from it.
    #[arg(long, env = "SNAPLEDGER_GRPC_PORT", value_name = "PORT", default_value_t = 7101, value_parser = clap::value_parser!(u16).range(1..))]
    grpc_port: u16,

    /// The REST port of the first process; the others count up from it.
    #[arg(long, env = "SNAPLEDGER_REST_PORT", value_name = "PORT", default_value_t = 7201, value_parser = clap::value_parser!(u16).range(1..))]
    rest_port: u16,

    /// Interval of the scheduled snapshots of a node: 60s, 500ms, …, or off [default: 60s].
    #[arg(long, env = "SNAPLEDGER_SNAPSHOT_INTERVAL", value_name = "INTERVAL")]
    snapshot_interval: Option<String>,

    /// Age after which unpinned snapshots are deleted, on every node: 30d, 12h, …, or off [default: the value of the
    /// cluster file in --dir, or off].
    #[arg(long, env = "SNAPLEDGER_HISTORY_MAX_AGE", value_name = "AGE")]
    history_max_age: Option<String>,

    /// Number of newest snapshots that each node keeps; older unpinned ones are deleted [default: the value of the
    /// cluster file in --dir, or all].
    #[arg(long, env = "SNAPLEDGER_HISTORY_MAX_COUNT", value_name = "COUNT")]
    history_max_count: Option<usize>,
}

/// Runs the cluster.
///
/// # Errors
/// [`CliError`]: a port is in use, the directory does not fit, or every child has died.
pub fn run(args: &Args, logs: &LogOptions) -> Result<(), CliError> {
    let layout = Layout::new(args)?;
    layout.check_ports()?;
    runtime()?.block_on(async {
        let mut signals = EndSignals::listen()?;
        layout.write()?;
        let mut children = Children::spawn(&layout, &logs.of_child())?;
        let outcome = tokio::select! {
            outcome = watch(&mut children, &layout, logs) => outcome,
            () = signals.next() => Ok(()),
        };
        // Also after a failed write of the banner, so that no child is left behind.
        children.stop().await;
        outcome?;
        print("stopped")
    })
}

/// Reports when all nodes are ready and when one dies; returns when none is left.
async fn watch(
    children: &mut Children,
    layout: &Layout,
    logs: &LogOptions,
) -> Result<(), CliError> {
    let mut waiting: BTreeSet<usize> = (0..layout.nodes.len()).collect();
    let mut announced = false;
    loop {
        match children.next().await {
            Event::Ready(node) => {
                waiting.remove(&node);
            }
            Event::Died(node, how) => {
                waiting.remove(&node);
                let died = &layout.nodes[node];
                let line = format!(
                    "{} {how}; restart it in another terminal with: {}",
                    died.id,
                    layout.command_line(died)
                );
                match logs.is_json() {
                    true => tracing::warn!("{line}"),
                    false => eprint_line(&line),
                }
            }
        }
        if children.alive() == 0 {
            return Err(CliError::CheckFailed(
                "every process of the cluster has ended; see the lines above for why".to_owned(),
            ));
        }
        if waiting.is_empty() && !announced {
            announced = true;
            banner::banner(layout, &children.pids()).print()?;
        }
    }
}

/// Writes a line to stderr. A closed stderr is ignored.
fn eprint_line(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}
