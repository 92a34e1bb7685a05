//! Scenario files produce exactly the expected reports, and files that cannot be run are refused with file and line.
//! Without this, the algorithm could change its behaviour while every property still holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use snapledger::simulate::{Delays, Scenario, Source, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| unreachable!("{}: {error}", path.display()))
}

/// Returns the report of a scenario, or the reason why there is none.
fn outcome(topology: &str, events: &str, delays: &str) -> Result<String, String> {
    let source = |name, text| Source { name, text };
    let scenario = Scenario::parse(source("t.top", topology), source("e.events", events));
    let scenario = scenario.map_err(|error| error.to_string())?;
    let delays = Delays::parse(source("d.txt", delays)).map_err(|error| error.to_string())?;
    let report = run(&scenario, delays, &mut |_| {}).map_err(|error| error.to_string())?;
    Ok(report.to_string())
}

fn own() -> PathBuf {
    Path::new(ROOT).join("tests/scenarios")
}

#[test]
fn the_published_scenarios_come_out_to_the_letter() {
    let published = Path::new(ROOT).join("../shared/data/scenarios");
    if !published.is_dir() {
        println!("skipped: {} is absent", published.display());
        return;
    }
    let delays = read(&published.join("delays.txt"));
    let mut compared = 0;
    for entry in fs::read_dir(&published).expect("the directory can be read") {
        let events = entry.expect("the directory can be read").path();
        if events
            .extension()
            .is_none_or(|extension| extension != "events")
        {
            continue;
        }
        let name = events.file_stem().unwrap_or_default().to_string_lossy();
        let processes = name.split('-').next().unwrap_or_default();
        let topology = read(&published.join(format!("{processes}.top")));
        let report = outcome(&topology, &read(&events), &delays);
        assert_eq!(report, Ok(read(&events.with_extension("snap"))), "{name}");
        compared += 1;
    }
    assert!(compared > 0, "{} holds no scenario", published.display());
}

#[test]
fn our_scenarios_come_out_as_derived_by_hand() {
    for name in ["overlapping", "ring", "hub"] {
        let file = |extension| read(&own().join(name).with_extension(extension));
        let report = outcome(&file("top"), &file("events"), &file("delays"));
        assert_eq!(report, Ok(file("snap")), "{name}");
    }
}

#[test]
fn one_process_alone_is_complete_at_once() {
    let report = outcome("1\na 5", "snapshot a\nsnapshot a", "");
    assert_eq!(report.as_deref(), Ok("0\na 5\n\n1\na 5\n"));
}

#[test]
fn a_scenario_without_snapshots_prints_nothing() {
    let report = outcome("2\na 5\nb 0\na b\nb a", "send a b 5\ntick 1000000000", "4");
    assert_eq!(report.as_deref(), Ok(""));
}

#[test]
fn delays_that_are_used_up_are_refused_where_they_are_missing() {
    let topology = "2\na 5\nb 0\na b\nb a";
    let at_event = outcome(topology, "send a b 1\n\nsend a b 1", "0");
    let at_event = at_event.expect_err("one digit, two messages");
    assert!(
        at_event.starts_with("e.events:3: the delays are used up: all 1 digits of d.txt"),
        "{at_event}"
    );
    let at_end = outcome(topology, "snapshot a", "0\n");
    let at_end = at_end.expect_err("one digit, two markers");
    assert!(
        at_end.starts_with("d.txt:1: the delays are used up"),
        "{at_end}"
    );
    assert!(
        outcome(topology, "snapshot a", "0\n0").is_ok(),
        "two digits, two markers"
    );
}

#[test]
fn no_more_is_sent_than_there_is() {
    let topology = "2\na 5\nb 0\na b\nb a";
    for (events, sentence) in [
        (
            "send a b 6",
            "e.events:1: \"a\" holds 5 tokens and cannot send 6; send fewer, or send later",
        ),
        (
            "tick\nsend b a 1",
            "e.events:2: \"b\" holds 0 tokens and cannot send 1; send fewer, or send later",
        ),
        (
            "send a b 5\nsend b a 5",
            "e.events:2: \"b\" holds 0 tokens and cannot send 5; send fewer, or send later",
        ),
    ] {
        assert_eq!(
            outcome(topology, events, "0000").expect_err(events),
            sentence
        );
    }
    assert!(
        outcome(topology, "send a b 5\ntick\nsend b a 5", "00").is_ok(),
        "it has arrived"
    );
}

fn simulate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
    command.arg("simulate").args(arguments).current_dir(own());
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program writes UTF-8")
}

#[test]
fn the_command_prints_the_report() {
    let files = ["--topology", "ring.top", "--events", "ring.events"];
    let printed = simulate(&[&files[..], &["--delays", "ring.delays"]].concat());
    assert_eq!(text(&printed.stdout), read(&own().join("ring.snap")));
    assert_eq!(printed.status.code(), Some(0));

    let printed =
        simulate(&[&files[..], &["--delays", "ring.delays", "--output", "json"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("it is JSON");
    let snapshot = &report["snapshots"][0];
    assert_eq!(snapshot["number"], 0);
    assert_eq!(
        snapshot["processes"][2],
        serde_json::json!({"process": "C", "tokens": 2})
    );
    assert_eq!(
        snapshot["messages"],
        serde_json::json!([{"from": "A", "to": "B", "tokens": 2}])
    );
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    let seeded = |seed: &str| {
        let run = simulate(&[
            "--topology",
            "hub.top",
            "--events",
            "hub.events",
            "--seed",
            seed,
        ]);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        text(&run.stdout).to_owned()
    };
    assert_eq!(seeded("7"), seeded("7"));
    let all: std::collections::BTreeSet<_> =
        (0..20).map(|seed| seeded(&seed.to_string())).collect();
    assert!(all.len() > 1, "another seed draws other delays");
}

#[test]
fn what_cannot_be_run_exits_with_2_and_a_sentence() {
    let files = ["--topology", "ring.top", "--events", "ring.events"];
    let cases: [(&[&str], &str); 4] = [
        (
            &[
                "--topology",
                "ring.top",
                "--events",
                "hub.events",
                "--seed",
                "1",
            ],
            "hub.events:3: there is no process \"h\"",
        ),
        (
            &[
                "--topology",
                "ring.events",
                "--events",
                "ring.events",
                "--seed",
                "1",
            ],
            "ring.events:3: ",
        ),
        (
            &[
                "--topology",
                "ring.top",
                "--events",
                "absent",
                "--seed",
                "1",
            ],
            "cannot read absent",
        ),
        (
            &[
                files[0],
                files[1],
                files[2],
                files[3],
                "--seed",
                "1",
                "--delays",
                "ring.delays",
            ],
            "cannot be used with",
        ),
    ];
    for (arguments, sentence) in cases {
        let refused = simulate(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&refused.stderr).contains(sentence),
            "{}",
            text(&refused.stderr)
        );
        assert_eq!(
            text(&refused.stdout),
            "",
            "nothing is printed before it is known to be whole"
        );
    }
}
