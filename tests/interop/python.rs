//! The Python that runs the clients and the process of another make.

use std::process::{Command, Stdio};

const PYTHON: &str = "SNAPLEDGER_PYTHON";

/// The python that has all it takes; `None` where there is none and none is asked for.
pub(crate) fn python() -> Option<String> {
    let named = std::env::var(PYTHON).ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let imported = Command::new(&python)
        .args(["-c", "import grpc, grpc_tools.protoc, grpc_reflection"])
        .stderr(Stdio::null())
        .status();
    if imported.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let demanded = named.is_some() && std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(
        !demanded,
        "{PYTHON}={python} does not run or lacks what tests/interop/requirements.txt names"
    );
    println!("not run: {python} lacks grpcio, grpcio-tools or grpcio-reflection");
    None
}
