//! Long answers of the store over gRPC.

use std::time::Duration;

use super::super::error::Failure;
use super::super::recorded::noted;
use crate::node::Handle;
use crate::store::{READING_MAX, Store};
pub(super) use crate::transport::long_answer::{Answer, AnswerSender};

/// Messages that wait for the connection.
const WAITING: usize = 256;
/// How long a client may read nothing.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// An answer that `read` shows while it is being sent. If it fails, its status is the end of the answer.
pub(super) fn stream<T: Send + 'static>(
    handle: &Handle,
    read: impl FnOnce(&Store, &AnswerSender<T>) -> Result<(), Failure> + Send + 'static,
) -> Answer<T> {
    let (sender, answer) = AnswerSender::new(WAITING, STALL);
    // The lease of the snapshot that is read ends later.
    let sender = sender.within(READING_MAX.saturating_sub(2 * STALL));
    let handle = handle.clone();
    tokio::task::spawn_blocking(move || {
        let failed = read(handle.store(), &sender).err();
        sender.end(failed.map(|failure| noted(&handle, failure).into()));
    });
    answer
}
