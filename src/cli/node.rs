//! `node`: runs one node of a cluster until a signal, the end of its stdin, or a failure.

use std::io::{self, Read as _};
use std::net::TcpListener;

use tokio::sync::oneshot;

use super::restore::restore_itself;
use super::signals::EndSignals;
use super::{CliError, runtime};
use crate::api::serve::descriptors;
use crate::api::{Host, Sockets, StartingServers};
use crate::config::{Member, NodeConfig, NodeOptions, NodePlan};
use crate::node::Handle;
use crate::node::peers::discover;
use crate::node::peers::discover::{AskingNode, Discovery};
use crate::store::Addresses;

/// Run one node of a cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: NodeOptions,

    /// Stop gracefully at the end of stdin.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl Args {
    /// The process that the node hosts.
    pub(super) fn process(&self) -> &str {
        &self.options.id
    }

    /// Whether a `cluster` command started the node; such nodes share one stderr.
    pub(super) fn is_child(&self) -> bool {
        self.stop_with_stdin
    }
}

/// Runs the node.
///
/// # Errors
/// [`CliError`], in this order: the configuration, the ports, the store.
pub fn run(args: &Args) -> Result<(), CliError> {
    let plan = NodePlan::new(&args.options)?;
    descriptors::raise();
    let sockets = Sockets {
        grpc: bind(&plan.listen.grpc)?,
        rest: bind(&plan.listen.rest)?,
    };
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut end = End::listen(args.stop_with_stdin)?;
        let Some(learnt) = end.or(learn(&plan, &sockets)).await.transpose()? else {
            return Ok(());
        };
        let addresses = discover::addresses(&learnt);
        let config = plan.settle(learnt)?;
        let Some(()) = end.or(restore_itself(&config)).await.transpose()? else {
            return Ok(());
        };
        host(config, &addresses, sockets, &mut end).await
    });
    if ended.is_err() {
        // After a failure a task may hang on the disk forever, so do not wait for it.
        runtime.shutdown_background();
    }
    ended
}

/// Learns the ids of the peers that are given by address only.
async fn learn(plan: &NodePlan, sockets: &Sockets) -> Result<Vec<Member>, CliError> {
    if plan.strangers.is_empty() {
        return Ok(Vec::new());
    }
    let asker = AskingNode {
        cluster: plan.cluster.clone(),
        me: plan.me.clone(),
        known: plan.known().cloned().collect(),
        tls: plan.tls.clone(),
    };
    let remembered = Addresses::read(&plan.dir);
    let discovery = Discovery::new(asker, plan.strangers.clone(), remembered);
    let waiting = StartingServers::start(sockets, &discovery, plan.api()).await;
    let waiting = waiting.map_err(CliError::Runtime)?;
    let learnt = discovery.run().await;
    waiting.stop().await;
    Ok(learnt?)
}

async fn host(
    config: NodeConfig,
    addresses: &Addresses,
    sockets: Sockets,
    end: &mut End,
) -> Result<(), CliError> {
    let id = config.me.clone();
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let grpc = sockets.grpc.local_addr().map_err(CliError::Runtime)?;
    let rest = sockets.rest.local_addr().map_err(CliError::Runtime)?;
    let remember = |node: &Handle| {
        if let Err(error) = node.store().remember(addresses) {
            tracing::warn!(%error, "cannot save the ids of peers; they will be asked again at the next start");
        }
    };
    let started = end.or(Host::start_after(config, sockets, remember)).await;
    let Some(mut host) = started.transpose()? else {
        return Ok(());
    };
    tracing::info!("{id} ready: grpc {grpc}, rest {scheme}://{rest}");
    if let Some(error) = end.or(host.failed()).await {
        host.abandon();
        return Err(error.into());
    }
    tracing::info!("{id} stops");
    // A second signal ends a stop that hangs. Durable data is not affected.
    match end.or_again(host.stop()).await {
        Some(()) => Ok(()),
        None => Err(CliError::Refused(format!(
            "{id} stopped immediately after a second signal"
        ))),
    }
}

/// Binds `address`. The node binds its ports before it touches its store.
fn bind(address: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).map_err(|error| CliError::Listen {
        address: address.to_owned(),
        reason: match error.kind() {
            io::ErrorKind::AddrInUse => {
                "the port is in use; stop the program that listens there or choose another port"
                    .to_owned()
            }
            _ => format!("{error}; choose an address of this machine and a port you may use"),
        },
    })
}

/// The events that end a healthy server.
pub(crate) struct End {
    signals: EndSignals,
    stdin: Option<oneshot::Receiver<()>>,
}

impl End {
    /// Listens for signals and, if asked, for the end of stdin.
    pub(crate) fn listen(stdin: bool) -> Result<Self, CliError> {
        Ok(Self {
            signals: EndSignals::listen()?,
            stdin: stdin.then(stdin_end),
        })
    }

    /// The result of `work`; `None` if the end comes first.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let Self { signals, stdin } = self;
        let stdin_ended = async {
            match stdin {
                Some(ended) => {
                    let _ = ended.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = work => Some(result),
            () = signals.next() => None,
            () = stdin_ended => None,
        }
    }

    /// As [`End::or`], for signals only: the end of stdin has been handled.
    async fn or_again<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.stdin = None;
        self.or(work).await
    }
}

/// Resolves when stdin ends. Uses its own thread, since a blocked read would delay the shutdown of the runtime.
fn stdin_end() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut unread = [0; 256];
        loop {
            match stdin.read(&mut unread) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                Ok(_) | Err(_) => {}
            }
        }
        let _ = ended.send(());
    });
    end
}
