//! The turn: the queue of inputs, the thread that decides, the thread that makes durable and releases, and the replies.

pub(super) mod clocks;
pub(super) mod committer;
pub(super) mod driver;
pub(super) mod queue;
pub(super) mod replies;
