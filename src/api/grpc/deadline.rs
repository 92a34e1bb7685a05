//! The deadline of a call, set by its client with `grpc-timeout`. It applies to every call of every service, including
//! streaming answers: at the deadline the stream is cut after a whole message, with status DEADLINE_EXCEEDED.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use crate::api::trailers;

/// The part of the deadline that is kept for the answer itself when a call waits.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// When the answer must be on its way; an extension of the request.
#[derive(Debug, Clone, Copy)]
struct Ends(Instant);

/// The longest time a call may wait and still answer within its deadline; `longest` if it has none.
pub(super) fn patience<T>(request: &tonic::Request<T>, longest: Duration) -> Duration {
    let ends = request.extensions().get::<Ends>();
    ends.map_or(longest, |Ends(at)| {
        let left = at.saturating_duration_since(Instant::now());
        longest.min(left - ANSWER_TIME.min(left / 4))
    })
}

/// Answers before the deadline, with DEADLINE_EXCEEDED if necessary.
pub(super) async fn keep(mut request: Request, next: Next) -> Response {
    let header = request.headers().get("grpc-timeout");
    let Some(allowed) = header.and_then(|text| parse(text.to_str().ok()?)) else {
        return next.run(request).await;
    };
    // Slightly early, so that this status arrives before the client cancels the call by its own clock.
    let ours = allowed
        .saturating_sub(Duration::from_millis(5))
        .max(allowed / 2);
    if let Some(at) = Instant::now().checked_add(ours) {
        request.extensions_mut().insert(Ends(at));
    }
    let mut end = Box::pin(sleep(ours));
    tokio::select! {
        biased;
        response = next.run(request) => response.map(|body| within(body, end, allowed)),
        () = &mut end => exceeded(allowed).into_http(),
    }
}

fn exceeded(allowed: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "the answer was not complete within {allowed:?}; the outcome is unknown"
    ))
}

// The response of a refusal has no body.
fn within(body: Body, end: Pin<Box<Sleep>>, allowed: Duration) -> Body {
    match body.is_end_stream() {
        true => body,
        false => Body::new(Timed { body, end, allowed }),
    }
}

/// A body that ends at the deadline.
struct Timed {
    body: Body,
    end: Pin<Box<Sleep>>,
    allowed: Duration,
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.body.is_end_stream() && self.end.as_mut().poll(context).is_ready() {
            // Dropping the body tells the source of the answer that its receiver is gone.
            self.body = Body::empty();
            let status = exceeded(self.allowed);
            return Poll::Ready(Some(Ok(trailers::ending_with(&status))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// One to eight digits and a unit, as in the gRPC protocol.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_understood_and_nothing_else() {
        assert_eq!(parse("200m"), Some(Duration::from_millis(200)));
        assert_eq!(parse("1S"), Some(Duration::from_secs(1)));
        assert_eq!(
            parse("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for odd in ["", "S", "1", "1x", "-1S", "123456789S", "1é"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
