//! The HTTP client of commands, configured in one place.

use std::time::Duration;

use ureq::Agent;

use crate::tls::client::ClientTls;

/// The limit for receiving the body of an answer that has begun.
pub(super) const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// An agent for direct connections to nodes. It ignores proxy settings, which are for outside hosts. `timeout` limits
/// the wait for a response.
pub(crate) fn agent(timeout: Duration, tls: Option<&ClientTls>) -> Agent {
    Agent::config_builder()
        .tls_config(tls.map(ClientTls::rest).unwrap_or_default())
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .timeout_resolve(Some(timeout))
        .timeout_connect(Some(timeout))
        .timeout_per_write(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_recv_body(Some(BODY_TIME_MAX))
        .build()
        .into()
}
