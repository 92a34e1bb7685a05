//! The HTTP client of commands, configured in one place.

use std::time::Duration;

use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, HeaderValue};
use ureq::middleware::MiddlewareNext;
use ureq::{Agent, SendBody};

use crate::client::Credentials;
use crate::tls::client::ClientTls;

/// The limit for receiving the body of an answer that has begun.
pub(super) const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// An agent for direct connections to nodes. It ignores proxy settings, which are for outside hosts. `timeout` limits
/// the wait for a response. The token of the credentials is in every request.
pub(crate) fn agent(timeout: Duration, credentials: &Credentials) -> Agent {
    let tls = credentials.tls.as_ref();
    let mut config =
        Agent::config_builder().tls_config(tls.map(ClientTls::rest).unwrap_or_default());
    if let Some(bearer) = bearer(credentials) {
        config = config.middleware(
            move |mut request: Request<SendBody<'_>>, next: MiddlewareNext<'_>| {
                request.headers_mut().insert(AUTHORIZATION, bearer.clone());
                next.handle(request)
            },
        );
    }
    config
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

fn bearer(credentials: &Credentials) -> Option<HeaderValue> {
    let token = credentials.token.as_ref()?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
