//! The targets P1 to P12: which figures of `bench all` each is about, and the table of all of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::claims::{Bound, Claim, Figure, Row, markdown};
use super::marked::Marked;
use super::measured::{Measured, Part, Spread};

/// The name in the markers of the document.
const NAME: &str = "targets";

/// The figures of `bench all`.
#[derive(Debug, Deserialize)]
struct All {
    rounds: Rounds,
    parts: BTreeMap<String, PartResult>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PartResult {
    Measured(Part),
    Failed { not_measured: String },
}

/// The medians of the rounds, in each of which every workload runs here and on PostgreSQL.
#[derive(Debug, Deserialize)]
struct Rounds {
    deposits_per_second: Spread,
    echo_per_second: Spread,
    deposit_p50_us: Spread,
    floor_p50_us: Spread,
    streamed_per_second: Spread,
    /// Empty if PostgreSQL is not available.
    postgres: Vec<Rate>,
}

/// The rate of a workload on PostgreSQL.
#[derive(Debug, Deserialize)]
struct Rate {
    what: String,
    clients: u64,
    per_second: Spread,
}

/// Writes the table into `document`, or to stdout.
///
/// # Errors
/// Input or document cannot be read or written, or a measurement is missing, of which the table says why.
pub(crate) fn report(text: &str, document: Option<&Path>) -> Result<(), String> {
    let document = document.map(|path| Marked::read(path, NAME)).transpose()?;
    let measured = Measured::<All>::read("all", text)?;
    let rows = measured.figures.rows();
    let table = page(&measured, &rows);
    match document {
        Some(document) => document.write(&table)?,
        None => println!("{table}"),
    }
    let missing = rows.iter().filter(|row| row.claims.is_err());
    let missing: Vec<&str> = missing.map(|row| row.number).collect();
    match missing[..] {
        [] => Ok(()),
        _ => Err(format!(
            "not everything was measured: {}",
            missing.join(", ")
        )),
    }
}

// The text between the markers.
fn page(measured: &Measured<All>, rows: &[Row]) -> String {
    let (origin, table) = (measured.origin(), markdown(rows));
    let notes: String = measured
        .notes
        .iter()
        .map(|note| format!("- {note}\n"))
        .collect();
    format!("Measured {origin}.\n\n{table}\n{notes}")
}

impl All {
    fn rows(&self) -> Vec<Row> {
        let claimed = |target: Target, claims: Claims| Row {
            number: target.number,
            what: target.what,
            target: target.text,
            claims,
        };
        let rounds = &self.rounds;
        vec![
            claimed(P1, Ok(singles(rounds))),
            claimed(P2, Ok(streamed(rounds))),
            claimed(P3, Ok(alone(rounds))),
            claimed(
                P4,
                self.part("snapshot_idle")
                    .and_then(|idle| snapshots(idle, self.part("snapshot_loaded")?)),
            ),
            claimed(P5, self.part("interference").and_then(throughput)),
            claimed(P6, self.part("interference").and_then(latency)),
            claimed(P7, self.part("snapshot_by_accounts").and_then(by_accounts)),
            claimed(P8, self.part("snapshot_idle").and_then(bytes)),
            claimed(P9, self.part("restart").and_then(restarts)),
            claimed(P10, self.part("asof").and_then(instants)),
            claimed(P11, self.part("memory").and_then(memory)),
            claimed(P12, self.part("simulate").and_then(rings)),
        ]
    }

    fn part(&self, name: &str) -> Result<&Part, String> {
        match self.parts.get(name) {
            Some(PartResult::Measured(part)) => Ok(part),
            Some(PartResult::Failed { not_measured }) => Err(not_measured.clone()),
            None => Err("it was left out".to_owned()),
        }
    }
}

impl Rounds {
    // The rates of a workload on PostgreSQL, by number of clients.
    fn theirs(&self, what: &str) -> impl Iterator<Item = &Rate> {
        self.postgres.iter().filter(move |rate| rate.what == what)
    }
}

type Claims = Result<Vec<Claim>, String>;

struct Target {
    number: &'static str,
    what: &'static str,
    text: &'static str,
}

const P1: Target = Target {
    number: "P1",
    what: "durable single deposits over gRPC, 512 in flight",
    text: "≥ 50 % of the bare echo; ≥ 3 × PostgreSQL deposits",
};
const P2: Target = Target {
    number: "P2",
    what: "durable operations over `LedgerService.Stream`, one node",
    text: "≥ 1,000,000/s; ≥ 9 × PostgreSQL's bulk statement",
};
const P3: Target = Target {
    number: "P3",
    what: "one durable deposit, nothing else going on",
    text: "p50 ≤ 2 × (bare echo round trip + one insert + flush + sync)",
};
const P4: Target = Target {
    number: "P4",
    what: "snapshot of 3 nodes, 1 million accounts, 1 % changed: initiate → complete",
    text: "p50 ≤ 50 ms idle, ≤ 250 ms under the load of P2",
};
const P5: Target = Target {
    number: "P5",
    what: "throughput of P2 with a snapshot every 2 s, against none",
    text: "≥ 95 %",
};
const P6: Target = Target {
    number: "P6",
    what: "p99 of P1 while a snapshot runs, against none",
    text: "≤ 1.5 ×",
};
const P7: Target = Target {
    number: "P7",
    what: "P4 with 10 million accounts and as many changes, against 100,000",
    text: "≤ 1.5 ×",
};
const P8: Target = Target {
    number: "P8",
    what: "bytes written to the store per snapshot",
    text: "≤ 64 per changed account + 16 KiB",
};
const P9: Target = Target {
    number: "P9",
    what: "restart, 1 million accounts, 1 million operations behind the recorded state",
    text: "≤ 3 s",
};
const P10: Target = Target {
    number: "P10",
    what: "a balance at an instant of a journal of 10 million operations",
    text: "p50 ≤ 5 ms",
};
const P11: Target = Target {
    number: "P11",
    what: "resident memory, 1 million accounts with 16-byte ids",
    text: "≤ 200 bytes per account over an empty node",
};
const P12: Target = Target {
    number: "P12",
    what: "`simulate`: a ring of 1,000 processes, 10 concurrent snapshots",
    text: "≤ 10 s; time grows with the channels, not with their square",
};
/// With sixteen times as many channels, the time per channel would stay the same if linear and be sixteen times as long
/// if quadratic.
const RING_GROWTH_MAX: f64 = 2.5;

const OVER_POSTGRES: &str = "over PostgreSQL";

fn figure(unit: &'static str) -> impl Fn(Spread) -> Figure {
    move |spread| Figure { spread, unit }
}

fn singles(rounds: &Rounds) -> Vec<Claim> {
    let calls = figure("calls/s");
    let ours = calls(rounds.deposits_per_second);
    let echo = calls(rounds.echo_per_second);
    let rates = rounds.theirs("deposits");
    let most = rates.max_by(|one, other| one.per_second.median.total_cmp(&other.per_second.median));
    let at_least = Bound::AtLeast(3.0);
    vec![
        Claim::ratio("over the bare echo", [ours, echo], Bound::AtLeast(0.5)),
        match most {
            None => Claim::missing(OVER_POSTGRES, at_least),
            Some(theirs) => {
                let what = format!("{OVER_POSTGRES}, {} clients", theirs.clients);
                Claim::ratio(what, [ours, calls(theirs.per_second)], at_least)
            }
        },
    ]
}

fn streamed(rounds: &Rounds) -> Vec<Claim> {
    let operations = figure("operations/s");
    let ours = operations(rounds.streamed_per_second);
    let mut claims = vec![Claim::alone("streamed", ours, Bound::AtLeast(1e6))];
    // The target compares one stream with one connection; more connections are reported only.
    let at_least = Bound::AtLeast(9.0);
    claims.extend(rounds.theirs("bulk").map(|theirs| {
        let figures = [ours, operations(theirs.per_second)];
        match theirs.clients {
            1 => {
                let what = format!("{OVER_POSTGRES}, 1 client, 1,000 deposits in a statement");
                Claim::ratio(what, figures, at_least)
            }
            more => {
                let what = format!("beside the target: {OVER_POSTGRES}, {more} clients");
                Claim::ratio(what, figures, Bound::None)
            }
        }
    }));
    if claims.len() == 1 {
        claims.push(Claim::missing(OVER_POSTGRES, at_least));
    }
    claims
}

fn alone(rounds: &Rounds) -> Vec<Claim> {
    let figures = [rounds.deposit_p50_us, rounds.floor_p50_us].map(figure("µs"));
    vec![Claim::ratio("p50", figures, Bound::AtMost(2.0))]
}

fn snapshots(idle: &Part, loaded: &Part) -> Claims {
    let ms = figure("ms");
    Ok(vec![
        Claim::alone("idle", ms(idle.spread(0, SPREAD)?), Bound::AtMost(50.0)),
        Claim::alone(
            "under load",
            ms(loaded.spread(0, SPREAD)?),
            Bound::AtMost(250.0),
        ),
        Claim::alone(
            "beside the target: what was done meanwhile",
            // Without a probe it is the last line.
            figure("operations/s")(loaded.spread(4, SPREAD)?),
            Bound::None,
        ),
    ])
}

/// The JSON pointer of a line's spread.
const SPREAD: &str = "/spread";

fn throughput(of: &Part) -> Claims {
    let operations = figure("operations/s");
    let figures = [
        operations(of.spread(1, SPREAD)?),
        operations(of.spread(0, SPREAD)?),
    ];
    let what = format!(
        "with over without, load on {} accounts",
        of.parameters["accounts_of_the_load"]
    );
    Ok(vec![Claim::ratio(what, figures, Bound::AtLeast(0.95))])
}

fn latency(of: &Part) -> Claims {
    let us = figure("µs");
    let figures = [us(of.spread(6, SPREAD)?), us(of.spread(5, SPREAD)?)];
    let what = format!(
        "p99 while over without, {} deposits/s",
        of.parameters["deposits_per_second"]
    );
    Ok(vec![Claim::ratio(what, figures, Bound::AtMost(1.5))])
}

fn by_accounts(of: &Part) -> Claims {
    let ms = figure("ms");
    // Each number of accounts has five lines.
    let figures = [ms(of.spread(5, SPREAD)?), ms(of.spread(0, SPREAD)?)];
    Ok(vec![Claim::ratio(
        "many accounts over few",
        figures,
        Bound::AtMost(1.5),
    )])
}

fn bytes(of: &Part) -> Claims {
    let changed = of.parameters["changed_accounts"][0].as_f64();
    let changed = changed.ok_or("no changed accounts")?;
    let allowed = 64.0 * changed + 16384.0;
    let figures = [
        of.spread(3, SPREAD)?.times(changed),
        Spread::exactly(allowed),
    ];
    let figures = figures.map(figure("bytes"));
    let disk = figure("bytes")(of.spread(4, SPREAD)?);
    Ok(vec![
        Claim::ratio("new over allowed", figures, Bound::AtMost(1.0)),
        Claim::alone(
            "beside the target: written to the disk by all nodes, with the copies of the others and what the engine \
             writes anew",
            disk,
            Bound::None,
        ),
    ])
}

fn restarts(of: &Part) -> Claims {
    let ready = figure("ms")(of.spread(0, "/ready_ms")?);
    Ok(vec![Claim::alone(
        "start → ready",
        ready,
        Bound::AtMost(3000.0),
    )])
}

fn instants(of: &Part) -> Claims {
    let p50 = figure("ms")(of.spread(0, SPREAD)?);
    Ok(vec![Claim::alone("p50", p50, Bound::AtMost(5.0))])
}

fn memory(of: &Part) -> Claims {
    let bytes = figure("bytes");
    let at_most = Bound::AtMost(200.0);
    Ok(vec![
        Claim::alone("with all accounts", bytes(of.spread(5, SPREAD)?), at_most),
        Claim::alone("after a snapshot", bytes(of.spread(6, SPREAD)?), at_most),
    ])
}

fn rings(of: &Part) -> Claims {
    let first = of.spread(0, "/seconds")?;
    let per_channel = |ring: usize| {
        let channels = of.number(ring, "/channels")?;
        let spread = of.spread(ring, "/seconds")?.times(1e6 / channels);
        Ok::<_, String>(figure("µs")(spread))
    };
    let figures = [per_channel(2)?, per_channel(0)?];
    let what = "time per channel, 16 times as many";
    Ok(vec![
        Claim::alone("the ring", figure("s")(first), Bound::AtMost(10.0)),
        Claim::ratio(what, figures, Bound::AtMost(RING_GROWTH_MAX)),
    ])
}
