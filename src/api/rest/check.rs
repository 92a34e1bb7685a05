//! A condition of readiness, in `/readyz`.

use serde::Serialize;

use crate::node::ReadyCheck;

#[derive(Serialize)]
pub(super) struct CheckResponse<'a> {
    check: &'a str,
    ok: bool,
    /// Why it is not met.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> CheckResponse<'a> {
    pub(super) fn of(check: &'a ReadyCheck) -> Self {
        Self {
            check: check.name,
            ok: check.fault.is_none(),
            detail: check.fault.as_deref(),
        }
    }
}
