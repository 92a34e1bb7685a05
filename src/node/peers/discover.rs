//! Discovery of the ids of peers that are known only by address, before the node itself starts.
//!
//! All nodes of a cluster may start this way at the same time, so a node that asks also answers (`greeter.rs`). A peer that was
//! met before need not answer: its id is in the store (`store/opening/addresses.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::callers::PeersOnly;
use crate::config::{Member, Transport, reachable};
use crate::node::health::metrics::of_waiting;
use crate::node::health::readiness::ReadyCheck;
use crate::process::ids::{Malformed, ProcessId};
use crate::proto::snapledger::{Greeting, Identity};
use crate::store::{Addresses, MetProcess};
use crate::tls::node::Tls;
use crate::transport::endpoint::{BadAddress, Destination, connect};
use crate::transport::peer_client::greet;
use crate::transport::peer_error::PeerError;

const ATTEMPT_MAX: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Why the ids of peers cannot be determined.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The address is not a valid URI.
    #[error("--peers: {address} is not an address to connect to; write host:port")]
    Address {
        /// The address as given.
        address: String,
    },
    /// The peer belongs to another cluster.
    #[error(
        "{address} belongs to cluster {theirs}, this node to {ours}; \
         give every node the same --cluster-name or correct --peers"
    )]
    OtherCluster {
        /// The peer's address.
        address: String,
        /// Its cluster.
        theirs: String,
        /// The own cluster.
        ours: String,
    },
    /// Another process has the peer's id.
    #[error(
        "{address} reports process {id}, which is already {taken_by}; give each process its own id and each peer one \
         address"
    )]
    DuplicateId {
        /// The peer's address.
        address: String,
        /// The id of the peer.
        id: ProcessId,
        /// The other holder of the id.
        taken_by: String,
    },
    /// The peer is not the one that was met at this address.
    #[error(
        "{address} reports process {id}, and process {met} was at this address before; correct --peers, or, if {id} \
         has moved there, give it as {id}={address}"
    )]
    OtherProcess {
        /// The peer's address.
        address: String,
        /// The id of the peer.
        id: ProcessId,
        /// The remembered id.
        met: ProcessId,
    },
    /// The peer reports an invalid id.
    #[error("{address} gives no valid id: {source}")]
    Malformed {
        /// The peer's address.
        address: String,
        /// The fault of the id.
        source: Malformed,
    },
    /// The peer refuses the greeting.
    #[error("{address} refuses the handshake: {reason}")]
    Refused {
        /// The peer's address.
        address: String,
        /// The reason, as a sentence.
        reason: String,
    },
}

/// The node that asks.
#[derive(Debug, Clone)]
pub struct AskingNode {
    /// The cluster's name.
    pub cluster: String,
    /// The own process and its addresses.
    pub me: Member,
    /// The ids in use, the own one included.
    pub known: Vec<ProcessId>,
    /// What the node presents and trusts; `None`: without TLS.
    pub tls: Option<Tls>,
}

impl AskingNode {
    // Store and boot are empty: the store is opened only when the configuration is complete.
    fn greeting(&self) -> Greeting {
        Greeting {
            identity: Some(Identity {
                cluster: self.cluster.clone(),
                process: self.me.id.as_str().to_owned(),
                store_uuid: Vec::new(),
                boot: 0,
                run: 0,
            }),
            grpc: self.me.grpc.clone(),
            rest: self.me.rest.clone().unwrap_or_default(),
            logical_clock: 0,
            revisions: 0,
            pins: 0,
            settled: 0,
            stopped: Vec::new(),
            leaving: false,
            // The clock is compared when the store is open.
            wall_us: 0,
            believed_us: 0,
            salted_chunks: false,
        }
    }
}

/// The discovery of the members behind addresses.
pub struct Discovery {
    asker: AskingNode,
    strangers: Vec<String>,
    remembered: Addresses,
    unanswered: watch::Sender<BTreeMap<String, String>>,
}

/// The addresses without an answer, each with the reason.
#[derive(Clone)]
pub struct UnansweredAddresses(watch::Receiver<BTreeMap<String, String>>);

impl UnansweredAddresses {
    /// The metrics of the waiting node, in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        of_waiting(self.0.borrow().len())
    }

    /// The condition of readiness that is not met meanwhile.
    #[must_use]
    pub fn check(&self) -> ReadyCheck {
        ReadyCheck {
            name: "peers",
            fault: Some(self.sentence()),
        }
    }

    /// A sentence that names the addresses and what to do.
    #[must_use]
    pub fn sentence(&self) -> String {
        let unanswered = self.0.borrow();
        let told = unanswered
            .iter()
            .map(|(address, reason)| format!("{address} ({reason})"));
        let told: Vec<String> = told.collect();
        format!(
            "this node does not know yet which process is at {}; start it, or give its id: --peers ID=ADDRESS",
            told.join(", ")
        )
    }
}

impl Discovery {
    /// A discovery that has not asked yet.
    #[must_use]
    pub fn new(asker: AskingNode, strangers: Vec<String>, remembered: Addresses) -> Self {
        let not_asked = |address: &String| (address.clone(), "not queried yet".to_owned());
        let unanswered = strangers.iter().map(not_asked).collect();
        Self {
            asker,
            strangers,
            remembered,
            unanswered: watch::Sender::new(unanswered),
        }
    }

    /// The greeting with which this node answers peers meanwhile.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        self.asker.greeting()
    }

    /// What the node presents and trusts; `None`: without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.asker.tls.as_ref()
    }

    /// The callers that this node answers meanwhile.
    #[must_use]
    pub fn callers(&self) -> PeersOnly {
        PeersOnly::new(&self.asker.cluster, self.tls())
    }

    /// The addresses that are waited for.
    #[must_use]
    pub fn unanswered(&self) -> UnansweredAddresses {
        UnansweredAddresses(self.unanswered.subscribe())
    }

    /// Waits, with back-off, until each address has answered, and returns the members. A peer that was met before is asked
    /// once.
    ///
    /// # Errors
    /// [`DiscoverError`] for faults that waiting cannot resolve.
    pub async fn run(self) -> Result<Vec<Member>, DiscoverError> {
        let mut asking = JoinSet::new();
        for address in &self.strangers {
            let question = Probe {
                asker: self.asker.clone(),
                address: address.clone(),
                met: self.remembered.get(address).cloned(),
                unanswered: self.unanswered.clone(),
            };
            asking.spawn(question.ask());
        }
        let mut learnt: Vec<Member> = Vec::new();
        while let Some(asked) = asking.join_next().await {
            let member = asked.expect("asking does not panic and is not aborted")?;
            check_new(&self.asker, &learnt, &member)?;
            learnt.push(member);
        }
        Ok(learnt)
    }
}

/// The addresses to remember of discovered members.
#[must_use]
pub fn addresses(learnt: &[Member]) -> Addresses {
    let mut addresses = Addresses::default();
    for member in learnt {
        let met = MetProcess {
            process: member.id.clone(),
            rest: member.rest.clone(),
        };
        addresses.insert(member.grpc.clone(), met);
    }
    addresses
}

fn check_new(asker: &AskingNode, learnt: &[Member], member: &Member) -> Result<(), DiscoverError> {
    let taken_by = if member.id == asker.me.id {
        "this process".to_owned()
    } else if asker.known.contains(&member.id) {
        "named in --peers".to_owned()
    } else if let Some(other) = learnt.iter().find(|other| other.id == member.id) {
        format!("at {}", other.grpc)
    } else {
        return Ok(());
    };
    Err(DiscoverError::DuplicateId {
        address: member.grpc.clone(),
        id: member.id.clone(),
        taken_by,
    })
}

/// The questions to one address.
struct Probe {
    asker: AskingNode,
    address: String,
    /// The process that was met there.
    met: Option<MetProcess>,
    unanswered: watch::Sender<BTreeMap<String, String>>,
}

impl Probe {
    /// Sends greetings until there is an answer; only one if the process is remembered.
    async fn ask(self) -> Result<Member, DiscoverError> {
        let address = &self.address;
        let Ok(connection) = self.connect(None) else {
            let address = address.clone();
            return Err(DiscoverError::Address { address });
        };
        let mut pause = PAUSE_MIN;
        let mut reported: Option<Instant> = None;
        loop {
            let greeted = greet(&connection, self.asker.greeting(), ATTEMPT_MAX).await;
            let greeted = match greeted {
                Ok(greeting) => self.confirmed(greeting).await,
                Err(error) => Err(error),
            };
            let reason = match greeted {
                Ok(greeting) => return self.answered(greeting),
                Err(PeerError::Refused(reason)) => {
                    let address = address.clone();
                    return Err(DiscoverError::Refused { address, reason });
                }
                Err(error) => error.to_string(),
            };
            if let Some(met) = self.met.clone() {
                tracing::info!(peer = %met.process, %address, %reason, "peer does not answer; using its saved id");
                return Ok(self.member(met));
            }
            if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                tracing::info!(%address, %reason, "waiting for a peer to report its id");
                reported = Some(Instant::now());
            }
            self.unanswered
                .send_modify(|waiting| drop(waiting.insert(address.clone(), reason)));
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn connect(&self, process: Option<&ProcessId>) -> Result<Channel, BadAddress> {
        let address = &self.address;
        let to = Destination { address, process };
        connect(to, self.asker.tls.as_ref())
    }

    // With TLS any process of the cluster has answered, in whatever name. The greeting counts if it comes again over a
    // connection whose certificate is that of the process it names.
    async fn confirmed(&self, greeting: Greeting) -> Result<Greeting, PeerError> {
        let identity = greeting.identity.as_ref();
        let named = identity.map(|identity| ProcessId::parse(&identity.process));
        let (Some(_), Some(Ok(named))) = (&self.asker.tls, named) else {
            return Ok(greeting);
        };
        let connection = self.connect(Some(&named));
        let connection = connection.map_err(|error| PeerError::Failed(error.to_string()))?;
        greet(&connection, self.asker.greeting(), ATTEMPT_MAX).await
    }

    fn answered(self, greeting: Greeting) -> Result<Member, DiscoverError> {
        let address = self.address.clone();
        let identity = greeting.identity.unwrap_or_default();
        if identity.cluster != self.asker.cluster {
            return Err(DiscoverError::OtherCluster {
                address,
                theirs: identity.cluster,
                ours: self.asker.cluster,
            });
        }
        let id = match ProcessId::parse(&identity.process) {
            Ok(id) => id,
            Err(source) => return Err(DiscoverError::Malformed { address, source }),
        };
        match &self.met {
            Some(met) if met.process != id => {
                let met = met.process.clone();
                return Err(DiscoverError::OtherProcess { address, id, met });
            }
            _ => tracing::info!(peer = %id, %address, "discovered the id of a peer"),
        }
        let rest = Some(greeting.rest).filter(|rest| !rest.is_empty());
        let rest = rest.map(|rest| reachable(&rest, &address));
        Ok(self.member(MetProcess { process: id, rest }))
    }

    fn member(self, met: MetProcess) -> Member {
        self.unanswered
            .send_modify(|waiting| drop(waiting.remove(&self.address)));
        Member {
            id: met.process,
            grpc: self.address,
            rest: met.rest,
            transport: Transport::Native,
        }
    }
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
