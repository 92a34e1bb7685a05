//! A client of `LedgerService` that batches and pipelines by itself, and repeats safely.
//!
//! What waits while a batch is on its way makes up the next one: alone, an operation leaves at once; under load batches
//! grow. All of one client go over one stream and are decided in the order in which they were submitted. Each has a
//! request id, so that what has no answer when a connection breaks is sent again, in its order, and done once. A client
//! that gives up on one gives up on all behind it, and ends.
//!
//! ```no_run
//! # async fn pay() -> Result<(), snapledger::client::ClientError> {
//! use snapledger::client::{Ledger, Operation, Options};
//!
//! let ledger = Ledger::connect("http://127.0.0.1:7101", Options::default())?;
//! let paid_in = ledger.apply(Operation::deposit("alice", 1000)).await?;
//! assert_eq!(paid_in.balance, 1000);
//! // Pipelined: submitted one after the other, answered together.
//! let mut replies = Vec::new();
//! for _ in 0..10_000 {
//!     replies.push(ledger.submit(Operation::transfer("alice", ("n2", "bob"), 1)).await?);
//! }
//! for reply in replies {
//!     match reply.await {
//!         Ok(done) => assert!(done.transfer_id.is_some()),
//!         Err(error) => println!("{error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod operation;
mod pump;

pub use operation::{ClientError, Done, Operation, Reply};
pub(crate) use pump::reason;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use operation::Submitted;
use pump::Pump;

/// How a client goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Operations in a batch, at most; up to 8192.
    pub batch: usize,
    /// Operations that are sent and have no answer, at most. As many again wait to be sent; who submits more waits.
    pub in_flight: usize,
    /// How long a node may give no answer at all before what waits is given up.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch: 2048,
            in_flight: 16_384,
            patience: Duration::from_secs(30),
        }
    }
}

/// The ledger of one process, through the node that hosts it. Clones share one stream.
#[derive(Debug, Clone)]
pub struct Ledger {
    submitted: mpsc::Sender<Submitted>,
    /// Request ids of this client and its clones begin so, and are numbered.
    prefix: Uuid,
    numbers: Arc<AtomicU64>,
}

impl Ledger {
    /// A client of the node at a URL such as `http://127.0.0.1:7101`. It connects when there is something to send. To be
    /// called within a runtime of tokio.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn connect(url: &str, options: Options) -> Result<Self, ClientError> {
        let endpoint = Endpoint::from_shared(url.to_owned());
        let endpoint = endpoint.map_err(|_| ClientError::Url(url.to_owned()))?;
        Ok(Self::over(endpoint.connect_lazy(), options))
    }

    /// A client over a connection that is there already.
    #[must_use]
    pub fn over(channel: Channel, options: Options) -> Self {
        let (submitted, queue) = mpsc::channel(options.in_flight.max(1));
        tokio::spawn(Pump::new(channel, options, queue).run());
        Self {
            submitted,
            prefix: Uuid::new_v4(),
            numbers: Arc::default(),
        }
    }

    /// Submits an operation and waits until it is durable, or refused.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply(&self, operation: Operation) -> Result<Done, ClientError> {
        self.submit(operation).await?.await
    }

    /// Submits an operation behind those before; the reply comes when it is durable, or refused. Waits while as many
    /// wait to be sent as the options allow.
    ///
    /// # Errors
    /// [`ClientError::Malformed`]; [`ClientError::Ended`].
    pub async fn submit(&self, operation: Operation) -> Result<Reply, ClientError> {
        let drawn = || {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            format!("{}-{number}", self.prefix.simple())
        };
        let operation = operation.checked(drawn)?;
        let (answer, reply) = oneshot::channel();
        let submitted = Submitted { operation, answer };
        let sent = self.submitted.send(submitted).await;
        sent.map_err(|_| ClientError::Ended)?;
        Ok(Reply(reply))
    }
}
