//! Bodies of requests that are refused before they are read.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{Version, header};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

/// How much of such a body is read, and for how long.
const BYTES_MAX: usize = 64 * 1024;
const TIME_MAX: Duration = Duration::from_secs(1);

/// Reads a short body and keeps nothing of it. A connection of HTTP/1.1 that is closed with unread bytes can lose the answer;
/// many clients send the header and the body apart. HTTP/2 ends the stream alone.
pub(super) async fn discard(request: Request) {
    // A client that expects 100 (Continue) sends nothing before the answer.
    if request.version() >= Version::HTTP_2 || request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut body = request.into_body().into_data_stream();
    let whole = async {
        let mut read = 0;
        while let Some(Ok(bytes)) = body.next().await {
            read += bytes.len();
            if read > BYTES_MAX {
                return;
            }
        }
    };
    // The rest stays unread, which ends the connection.
    let _late = timeout(TIME_MAX, whole).await;
}
