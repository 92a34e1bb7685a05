//! The deadline of a call, as its client sets it by `grpc-timeout`.
//!
//! tonic itself answers an expired deadline with CANCELLED; clients expect DEADLINE_EXCEEDED.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tonic::Status;

/// When the answer of a call must be on its way; an extension of its request.
#[derive(Debug, Clone, Copy)]
struct Ends(Instant);

/// What is left of the time of a call when it has waited, for the answer itself.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// How long a call may wait for something and still answer within its deadline; `longest` where it has none.
pub(super) fn patience<T>(request: &tonic::Request<T>, longest: Duration) -> Duration {
    let ends = request.extensions().get::<Ends>();
    ends.map_or(longest, |Ends(at)| {
        let left = at.saturating_duration_since(Instant::now());
        longest.min(left - ANSWER_TIME.min(left / 4))
    })
}

/// Answers in time, if only to say that it took too long.
pub(super) async fn keep(mut request: Request, next: Next) -> Response {
    let header = request.headers().get("grpc-timeout");
    let Some(allowed) = header.and_then(|text| parse(text.to_str().ok()?)) else {
        return next.run(request).await;
    };
    // A little early, so that this answer is there before the transport gives up on its own.
    let ours = allowed
        .saturating_sub(Duration::from_millis(5))
        .max(allowed / 2);
    if let Some(at) = Instant::now().checked_add(ours) {
        request.extensions_mut().insert(Ends(at));
    }
    match tokio::time::timeout(ours, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Status::deadline_exceeded(format!(
            "no answer within {allowed:?}; whether it was done is not known"
        ))
        .into_http(),
    }
}

// One to eight digits and a unit, as the gRPC protocol says.
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
