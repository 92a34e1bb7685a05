//! The Python that runs the clients and the foreign process.

use std::process::{Command, Stdio};

use crate::required;

const PYTHON: &str = "SNAPLEDGER_PYTHON";

/// Returns a Python with the packages of gRPC; `None` if there is none.
pub(crate) fn python() -> Option<String> {
    python_with("grpc, grpc_tools.protoc, grpc_reflection")
}

/// Returns a Python with these modules; `None` if there is none.
pub(crate) fn python_with(modules: &str) -> Option<String> {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .stderr(Stdio::null())
        .status();
    if imported.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    println!("{python} lacks what tests/interop/requirements.txt names");
    required::absent("python");
    None
}
