//! Long streaming answers from the store over gRPC.

use std::time::Duration;

use super::super::error::Failure;
use super::super::recorded::noted;
use crate::node::Handle;
use crate::store::{READING_MAX, Store};
pub(super) use crate::transport::long_answer::{Answer, AnswerSender};

/// The messages queued for the connection.
const WAITING: usize = 256;
/// The longest time in which a client may read nothing.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// An answer that `read` produces while it is sent. If `read` fails, the stream ends with its status.
pub(super) fn stream<T: Send + 'static>(
    handle: &Handle,
    read: impl FnOnce(&Store, &AnswerSender<T>) -> Result<(), Failure> + Send + 'static,
) -> Answer<T> {
    let (sender, answer) = AnswerSender::new(WAITING, STALL);
    // The limit is shorter than the lease of the snapshot, so the answer ends first.
    let sender = sender.within(READING_MAX.saturating_sub(2 * STALL));
    let noting = handle.clone();
    handle.store_worker().spawn(move |store| {
        let failed = read(store, &sender).err();
        sender.end(failed.map(|failure| noted(&noting, failure).into()));
    });
    answer
}
