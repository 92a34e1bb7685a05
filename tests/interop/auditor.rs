//! An auditor in another language, which knows only the file of operations, agrees with every node about the past, also
//! with two of three nodes down and after a restart. Without this a fault common to statements, balances and snapshots
//! goes unnoticed, since all tests in Rust read the past with the code that wrote it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::random::Random;
use assert_cmd::cargo::cargo_bin;

const AUDITOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/auditor");
const SEED: u64 = 5;
const ACCOUNTS: u64 = 30;
const ROWS: u64 = 600;

// The initial deposit of each account exceeds all of its payments.
fn orders() -> String {
    let mut random = Random::new(SEED);
    let account_of = |number: u64| (number % 3 + 1, number / 3);
    let mut text = String::from("op,process,account,to_process,to_account,amount\n");
    for number in 0..ACCOUNTS {
        let (process, account) = account_of(number);
        let _ = writeln!(text, "deposit,n{process},a{account},,,100000.00");
    }
    for _ in 0..ROWS {
        let (process, account) = account_of(random.below(ACCOUNTS));
        let (to_process, to_account) = account_of(random.below(ACCOUNTS));
        let cents = 1 + random.below(5000);
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let _ = match random.below(4) {
            0 => writeln!(text, "withdraw,n{process},a{account},,,{amount}"),
            _ => writeln!(
                text,
                "transfer,n{process},a{account},n{to_process},a{to_account},{amount}"
            ),
        };
    }
    text
}

fn python() -> Option<String> {
    let python = std::env::var("SNAPLEDGER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let runs = Command::new(&python)
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"])
        .stderr(Stdio::null())
        .status();
    if runs.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    crate::required::absent("python");
    None
}

#[test]
fn an_auditor_in_another_language_agrees_with_every_node() {
    let Some(python) = python() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("orders.csv");
    std::fs::write(&file, orders()).expect("there is room");
    let audited = Command::new(python)
        .arg(Path::new(AUDITOR))
        .arg("--program")
        .arg(cargo_bin!("snapledger"))
        .arg("--orders")
        .arg(&file)
        .args(["--repeat", "4", "--snapshots", "6"])
        .args(["--accounts", "12", "--instants", "8"])
        .args(["--seed", &SEED.to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    let printed = String::from_utf8_lossy(&audited.stdout);
    let failed = String::from_utf8_lossy(&audited.stderr);
    println!("seed {SEED}\n{printed}");
    assert!(audited.status.success(), "{printed}{failed}");
    let last = printed.lines().last();
    assert_eq!(
        last,
        Some("0 differences in all, the same bytes everywhere")
    );
}
