//! What slow object storage costs: `snapledger bench` with an archive on an S3 server in this process, which adds a time to each put.

use std::process::Command;
use std::time::Duration;

use crate::programs::PROGRAM;
use crate::s3::{S3, Way, environment, url};

/// Runs a measurement with each delay and lets it print its result.
pub(crate) async fn run(delays_ms: &[u64], measurement: &[String]) {
    for delay_ms in delays_ms {
        let server = S3::start().await;
        server.behave(Way {
            put_delay: Duration::from_millis(*delay_ms),
            ..Way::default()
        });
        println!("\n{delay_ms} ms added to each put");
        let status = Command::new(PROGRAM)
            .arg("bench")
            .args(measurement)
            .args(["--archive-url", &url()])
            .envs(environment(&server.endpoint()))
            .status()
            .expect("the program runs");
        assert!(status.success(), "{status}");
        println!("{} puts", server.puts());
    }
}
