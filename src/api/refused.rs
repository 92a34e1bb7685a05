//! The refusal of an operation as its client sees it.

use super::identity;
use crate::node::{Handle, RefusalReason};
use crate::process::refusal::Refusal;

/// The refusal with the client's own request id. One because of a limit is counted.
pub(super) fn told(handle: &Handle, refusal: Refusal) -> Refusal {
    if let Some(reason) = limit(&refusal) {
        handle.refusals().count(reason);
    }
    identity::as_given(refusal)
}

fn limit(refusal: &Refusal) -> Option<RefusalReason> {
    match refusal {
        Refusal::TooManyAccounts(_) => Some(RefusalReason::Accounts),
        Refusal::TooManyKeys(_) => Some(RefusalReason::Keys),
        Refusal::TooManyValueBytes(_) => Some(RefusalReason::Values),
        _ => None,
    }
}
