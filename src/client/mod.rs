//! A client of `LedgerService` with batching, pipelining and safe retries.
//!
//! Operations that wait while a batch is in flight form the next batch: a single operation is sent at once, and batches
//! grow under load. All operations of one client share one stream and are decided in the order of submission. Each
//! operation has a request id. When a connection breaks, the client resends the unanswered operations in order, and the
//! node applies each of them once. When the client gives up on one operation, it gives up on all later ones and ends.
//!
//! ```no_run
//! # async fn pay() -> Result<(), snapledger::client::ClientError> {
//! use snapledger::client::{AccountRef, Ledger, Operation, Options};
//!
//! let ledger = Ledger::connect("http://127.0.0.1:7101", Options::default())?;
//! let paid_in = ledger.apply(Operation::deposit("alice", 1000)).await?;
//! assert_eq!(paid_in.balance, 1000);
//! // Pipelined: submitted one after the other, answered together.
//! let mut replies = Vec::new();
//! let bob = AccountRef { process: "n2", account: "bob" };
//! for _ in 0..10_000 {
//!     replies.push(ledger.submit(Operation::transfer("alice", bob, 1)).await?);
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

mod credentials;
mod operation;
mod pump;

pub(crate) use credentials::Authorized;
pub use credentials::Credentials;
pub use operation::{AccountRef, ClientError, Done, Operation, Reply};
pub(crate) use pump::reason;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use operation::Submitted;
use pump::Pump;

/// Limits of a client.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The most operations in one batch, at most 8192.
    pub batch: usize,
    /// The most operations that are sent and unanswered. As many again may wait to be sent; beyond that, `submit`
    /// waits.
    pub in_flight: usize,
    /// The client gives up when the node has sent no answer for this long.
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
    /// Request ids are this prefix and a number; clones share both.
    prefix: Uuid,
    numbers: Arc<AtomicU64>,
}

impl Ledger {
    /// A client of the node at a URL such as `http://127.0.0.1:7101`. It connects when there is something to send. Call
    /// it within a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn connect(url: &str, options: Options) -> Result<Self, ClientError> {
        Self::connect_with(url, &Credentials::default(), options)
    }

    /// As [`Ledger::connect`], with TLS for a URL such as `https://n1.example.org:7101`, and with a token.
    ///
    /// # Errors
    /// [`ClientError::Url`], also for `https://` without TLS or the reverse.
    pub fn connect_with(
        url: &str,
        credentials: &Credentials,
        options: Options,
    ) -> Result<Self, ClientError> {
        let endpoint = Endpoint::from_shared(url.to_owned());
        let endpoint = endpoint.ok().filter(|endpoint| {
            let is_secure = endpoint.uri().scheme_str() == Some("https");
            is_secure == credentials.tls.is_some()
        });
        let endpoint = endpoint.ok_or_else(|| ClientError::Url(url.to_owned()))?;
        let channel = credentials.connect_lazy(&endpoint);
        Ok(Self::over_with(channel, credentials, options))
    }

    /// A client over an existing connection.
    #[must_use]
    pub fn over(channel: Channel, options: Options) -> Self {
        Self::over_with(channel, &Credentials::default(), options)
    }

    /// As [`Ledger::over`], with the token of the credentials.
    #[must_use]
    pub fn over_with(channel: Channel, credentials: &Credentials, options: Options) -> Self {
        let (submitted, queue) = mpsc::channel(options.in_flight.max(1));
        let connection = credentials.authorize(channel);
        tokio::spawn(Pump::new(connection, options, queue).run());
        Self {
            submitted,
            prefix: Uuid::new_v4(),
            numbers: Arc::default(),
        }
    }

    /// Submits an operation and waits until it is durable or refused.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply(&self, operation: Operation) -> Result<Done, ClientError> {
        self.submit(operation).await?.await
    }

    /// Submits an operation after all earlier ones. The reply resolves when the operation is durable or refused. Waits
    /// while the queue of unsent operations is full ([`Options::in_flight`]).
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
