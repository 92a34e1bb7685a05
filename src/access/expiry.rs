//! The end of a grant or a certificate.

use std::time::Duration;

use jiff::Timestamp;

/// The wall clock may be set, so it is read again at this interval.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Resolves at this time of the wall clock; `None`: never.
pub async fn expired(at: Option<Timestamp>) {
    let Some(at) = at else {
        return std::future::pending().await;
    };
    loop {
        let left = at.duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK_AGAIN)).await,
            _ => return,
        }
    }
}
