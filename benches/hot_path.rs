//! Counts the cost of one operation in the turn and in the journal: instructions and bytes, not time.
//!
//! Without arguments it runs itself under callgrind, which collects within [`turn`] only, and compares the counts with
//! `benches/hot_path.toml`. Times are noisy on a shared machine; these counts are not, so a longer path shows at once.
//! With `--accept` it writes the file.

#[path = "../tests/required/mod.rs"]
mod required;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode};

use snapledger::process::Process;
use snapledger::process::ids::{AccountId, Hash, ProcessId, RequestId};
use snapledger::process::input::{Input, Operation};
use snapledger::process::step::{InputQueue, Step};
use snapledger::process::topology::Topology;
use snapledger::store::codec::Entry;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/hot_path.toml");
const KINDS: [&str; 3] = ["deposit", "named-deposit", "transfer"];
const ACCOUNTS: u64 = 1000;
/// Operations per turn.
const TURN: u64 = 1000;
/// Turns per run.
const TURNS: u64 = 40;
/// The allowed deviation from the stored counts; another compiler may cause it.
const TOLERANCE: f64 = 0.05;

/// The counts of one kind of operation, per operation.
type Counts = BTreeMap<String, f64>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` adds `--bench`.
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| *argument != "--bench")
        .collect();
    match arguments[..] {
        ["run", kind] => {
            println!("{}", run(kind)?);
            Ok(ExitCode::SUCCESS)
        }
        ["--accept"] => {
            let counted = toml::to_string(&count_all()?)?;
            let head =
                "# Per operation, as `cargo bench --bench hot_path -- --accept` counted it.\n\n";
            std::fs::write(STORED, format!("{head}{counted}"))?;
            Ok(ExitCode::SUCCESS)
        }
        [] => check(),
        _ => Err("give no argument, or --accept".into()),
    }
}

fn check() -> Result<ExitCode, Box<dyn Error>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        required::absent("valgrind");
        return Ok(ExitCode::SUCCESS);
    }
    let stored: BTreeMap<String, Counts> = toml::from_str(&std::fs::read_to_string(STORED)?)?;
    let mut code = ExitCode::SUCCESS;
    for (kind, counts) in count_all()? {
        for (what, counted) in counts {
            let expected = stored.get(&kind).and_then(|counts| counts.get(&what));
            let expected = *expected.ok_or("a figure is missing; write the file with --accept")?;
            let verdict = match counted / expected {
                more if more > 1.0 + TOLERANCE => "MORE",
                less if less < 1.0 - TOLERANCE => "LESS: write it down with --accept",
                _ => "as stored",
            };
            println!("{kind}: {counted:.1} {what} per operation, {expected:.1} stored: {verdict}");
            if verdict != "as stored" {
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn count_all() -> Result<BTreeMap<String, Counts>, Box<dyn Error>> {
    let counted = KINDS.map(|kind| Ok((kind.to_owned(), count(kind)?)));
    counted.into_iter().collect()
}

// The counts of one run of this program, per operation.
fn count(kind: &str) -> Result<Counts, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=hot_path::turn")
        .arg(std::env::current_exe()?)
        .args(["run", kind])
        .output()?;
    let output_text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{kind}: {output_text}").into());
    }
    let collected = output_text
        .lines()
        .find_map(|line| line.split_once("Collected :"));
    let (_, instructions) = collected.ok_or("callgrind has counted nothing")?;
    let bytes = String::from_utf8_lossy(&output.stdout);
    let counts = [("instructions", instructions), ("journal_bytes", &bytes)];
    let per_operation = counts.map(|(what, counted)| {
        let counted: f64 = counted.trim().parse()?;
        Ok((what.to_owned(), counted / (TURN * TURNS) as f64))
    });
    per_operation.into_iter().collect()
}

// Executes operations turn by turn, as a node does; returns the bytes of the journal.
fn run(kind: &str) -> Result<u64, Box<dyn Error>> {
    let ids = [ProcessId::parse("n1")?, ProcessId::parse("n2")?];
    let mut process = Process::new(ids[0].clone(), Topology::full(&ids)?, 8);
    let (mut bytes, mut hash) = (0, Hash::default());
    for begin in (0..TURNS).map(|turn| turn * TURN) {
        let inputs = (begin..begin + TURN).map(|number| input(kind, number, &ids[1]));
        let mut waiting = InputQueue::default();
        waiting.push(inputs.collect::<Result<_, _>>()?, Some(()));
        let (step, entry, of_entry) = turn(&mut process, &mut waiting, hash);
        bytes += entry.len() as u64;
        hash = of_entry;
        if step
            .replies
            .iter()
            .map(|output_text| output_text.replies.len() as u64)
            .sum::<u64>()
            != TURN
        {
            return Err("an operation has no reply".into());
        }
    }
    Ok(bytes)
}

/// The measured section: the turn is decided, applied and encoded; replies and records are ready for release.
#[inline(never)]
fn turn(
    process: &mut Process,
    waiting: &mut InputQueue<()>,
    previous: Hash,
) -> (Step<()>, Vec<u8>, Hash) {
    let step = process.take_turn(1, waiting, usize::MAX);
    let (entry, hash) = Entry::encode(&step.turn, previous);
    (step, entry, hash)
}

fn input(kind: &str, number: u64, peer: &ProcessId) -> Result<Input, Box<dyn Error>> {
    let account = AccountId::parse(&format!("account-{:08}", number * 7919 % ACCOUNTS))?;
    let request = match kind {
        "named-deposit" => Some(RequestId::parse(&format!(
            "0123456789abcdef0123456789abcdef-{number:08}"
        ))?),
        _ => None,
    };
    let operation = match kind {
        // The first operation of each account is a deposit that funds its transfers.
        "transfer" if number >= ACCOUNTS => Operation::Transfer {
            from_account: account.clone(),
            to_process: Some(peer.clone()),
            to_account: account,
            amount: 1,
            is_blind: false,
        },
        _ => Operation::Deposit {
            account,
            amount: 1_000_000,
        },
    };
    Ok(Input::Operation { request, operation })
}
