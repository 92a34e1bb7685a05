//! The targets P1 to P12 and the measurements that they need.

use std::collections::BTreeMap;

use super::claims::{Bound, Claim, Figure, Row};
use super::compare::Rounds;
use super::figures::Spread;
use super::report::Outcome;
use crate::cli::CliError;

/// The measurements besides the rounds by name, or why they failed.
pub(super) type Found = BTreeMap<&'static str, Result<Outcome, String>>;

/// The sizes of the measurements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    accounts: u64,
    accounts_few: u64,
    accounts_many: u64,
    journal: u64,
    restarted: u64,
    ring: u64,
    /// The seconds per run of `bench interference`: of streams, and of single deposits.
    seconds: [u64; 2],
    every: [f64; 2],
}

impl Sizes {
    /// The sizes in the targets.
    pub(super) const FULL: Self = Self {
        accounts: 1_000_000,
        accounts_few: 100_000,
        accounts_many: 10_000_000,
        journal: 10_000_000,
        restarted: 1_000_000,
        ring: 1000,
        seconds: [6, 20],
        every: [2.0, 1.0],
    };
    /// Small sizes, to check that all measurements work.
    pub(super) const QUICK: Self = Self {
        accounts: 20_000,
        accounts_few: 2000,
        accounts_many: 20_000,
        journal: 50_000,
        restarted: 20_000,
        ring: 50,
        seconds: [1, 1],
        every: [0.3, 0.3],
    };

    /// The measurements besides the rounds: a name and the arguments of `bench`.
    pub(super) fn lines(&self, runs: u16) -> [(&'static str, String); 8] {
        let Self {
            accounts,
            accounts_few,
            accounts_many,
            journal,
            restarted,
            ring,
            seconds: [seconds, deposit_seconds],
            every: [every, deposit_every],
        } = self;
        let changed = accounts / 100;
        let lines = [
            (
                "idle",
                format!("snapshot --accounts {accounts} --changed {changed}"),
            ),
            (
                "loaded",
                format!("snapshot --accounts {accounts} --changed {changed} --load on"),
            ),
            (
                "interference",
                format!(
                    "interference --accounts {accounts} --changed {changed} --seconds {seconds} --every {every} \
                     --deposit-seconds {deposit_seconds} --deposit-every {deposit_every}"
                ),
            ),
            (
                "growth",
                format!("snapshot --accounts {accounts_few},{accounts_many} --changed {changed}"),
            ),
            (
                "restart",
                format!("restart --accounts {accounts} --operations {restarted}"),
            ),
            (
                "asof",
                format!("asof --accounts {accounts} --operations {journal}"),
            ),
            ("memory", format!("memory --accounts {accounts}")),
            (
                "simulate",
                format!("simulate --processes {ring},{},{}", ring * 4, ring * 16),
            ),
        ];
        lines.map(|(name, line)| (name, format!("{line} --runs {runs}")))
    }
}

/// All targets with their measurements.
pub(super) fn rows(rounds: &Rounds, found: &Found) -> Vec<Row> {
    let claimed = |row: (&'static str, &'static str, &'static str), claims: Claims| Row {
        number: row.0,
        what: row.1,
        target: row.2,
        claims: claims.map_err(|error| error.to_string()),
    };
    vec![
        claimed(P1, singles(rounds)),
        claimed(P2, streamed(rounds)),
        claimed(P3, alone(rounds)),
        claimed(
            P4,
            of(found, "idle").and_then(|idle| snapshots(idle, of(found, "loaded")?)),
        ),
        claimed(P5, of(found, "interference").and_then(throughput)),
        claimed(P6, of(found, "interference").and_then(latency)),
        claimed(P7, of(found, "growth").and_then(by_accounts)),
        claimed(P8, of(found, "idle").and_then(bytes)),
        claimed(P9, of(found, "restart").and_then(restarts)),
        claimed(P10, of(found, "asof").and_then(instants)),
        claimed(P11, of(found, "memory").and_then(memory)),
        claimed(P12, of(found, "simulate").and_then(rings)),
    ]
}

type Claims = Result<Vec<Claim>, CliError>;
type Named = (&'static str, &'static str, &'static str);

const P1: Named = (
    "P1",
    "durable single deposits over gRPC, 512 in flight",
    "≥ 50 % of the bare echo; ≥ 3 × PostgreSQL deposits",
);
const P2: Named = (
    "P2",
    "durable operations over `LedgerService.Stream`, one node",
    "≥ 1,000,000/s; ≥ 9 × PostgreSQL's bulk statement",
);
const P3: Named = (
    "P3",
    "one durable deposit, nothing else going on",
    "p50 ≤ 2 × (bare echo round trip + one insert + flush + sync)",
);
const P4: Named = (
    "P4",
    "snapshot of 3 nodes, 1 million accounts, 1 % changed: initiate → complete",
    "p50 ≤ 50 ms idle, ≤ 250 ms under the load of P2",
);
const P5: Named = (
    "P5",
    "throughput of P2 with a snapshot every 2 s, against none",
    "≥ 95 %",
);
const P6: Named = (
    "P6",
    "p99 of P1 while a snapshot runs, against none",
    "≤ 1.5 ×",
);
const P7: Named = (
    "P7",
    "P4 with 10 million accounts and as many changes, against 100,000",
    "≤ 1.5 ×",
);
const P8: Named = (
    "P8",
    "bytes written to the store per snapshot",
    "≤ 64 per changed account + 16 KiB",
);
const P9: Named = (
    "P9",
    "restart, 1 million accounts, 1 million operations behind the recorded state",
    "≤ 3 s",
);
const P10: Named = (
    "P10",
    "a balance at an instant of a journal of 10 million operations",
    "p50 ≤ 5 ms",
);
const P11: Named = (
    "P11",
    "resident memory, 1 million accounts with 16-byte ids",
    "≤ 200 bytes per account over an empty node",
);
const P12: Named = (
    "P12",
    "`simulate`: a ring of 1,000 processes, 10 concurrent snapshots",
    "≤ 10 s; time grows with the channels, not with their square",
);
/// With sixteen times as many channels, the time per channel would stay the same if linear and be sixteen times as long
/// if quadratic.
const RING_GROWTH_MAX: f64 = 2.5;

fn of<'a>(found: &'a Found, name: &str) -> Result<&'a Outcome, CliError> {
    match found.get(name) {
        Some(Ok(outcome)) => Ok(outcome),
        Some(Err(why)) => Err(CliError::CheckFailed(why.clone())),
        None => Err(CliError::CheckFailed("it was left out".to_owned())),
    }
}

const OVER_POSTGRES: &str = "over PostgreSQL";

fn figure(unit: &'static str) -> impl Fn(Spread) -> Figure {
    move |spread| Figure { spread, unit }
}

fn singles(rounds: &Rounds) -> Claims {
    let calls = figure("calls/s");
    let ours = calls(rounds.deposits(0)?);
    let echo = calls(rounds.deposits(1)?);
    let mut claims = vec![Claim::ratio(
        "over the bare echo",
        [ours, echo],
        Bound::AtLeast(0.5),
    )];
    let at_least = Bound::AtLeast(3.0);
    claims.push(match rounds.theirs("deposits") {
        None => Claim::missing(OVER_POSTGRES, at_least),
        Some(theirs) => {
            let what = format!("{OVER_POSTGRES}, {} clients", theirs.clients);
            Claim::ratio(what, [ours, calls(theirs.per_second)], at_least)
        }
    });
    Ok(claims)
}

fn streamed(rounds: &Rounds) -> Claims {
    let operations = figure("operations/s");
    let ours = operations(rounds.stream()?);
    let mut claims = vec![Claim::alone("streamed", ours, Bound::AtLeast(1e6))];
    // The target compares one stream with one connection; more connections are reported only.
    let (at_least, theirs) = (Bound::AtLeast(9.0), rounds.theirs_by_clients("bulk"));
    if theirs.is_empty() {
        claims.push(Claim::missing(OVER_POSTGRES, at_least));
    }
    claims.extend(theirs.into_iter().map(|theirs| {
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
    Ok(claims)
}

fn alone(rounds: &Rounds) -> Claims {
    let us = figure("µs");
    let figures = [
        us(rounds.deposit_p50_us(&[2])?),
        us(rounds.deposit_p50_us(&[3, 4])?),
    ];
    Ok(vec![Claim::ratio("p50", figures, Bound::AtMost(2.0))])
}

fn snapshots(idle: &Outcome, loaded: &Outcome) -> Claims {
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

fn throughput(of: &Outcome) -> Claims {
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

fn latency(of: &Outcome) -> Claims {
    let us = figure("µs");
    let figures = [us(of.spread(6, SPREAD)?), us(of.spread(5, SPREAD)?)];
    let what = format!(
        "p99 while over without, {} deposits/s",
        of.parameters["deposits_per_second"]
    );
    Ok(vec![Claim::ratio(what, figures, Bound::AtMost(1.5))])
}

fn by_accounts(of: &Outcome) -> Claims {
    let ms = figure("ms");
    // Each number of accounts has five lines.
    let figures = [ms(of.spread(5, SPREAD)?), ms(of.spread(0, SPREAD)?)];
    Ok(vec![Claim::ratio(
        "many accounts over few",
        figures,
        Bound::AtMost(1.5),
    )])
}

fn bytes(of: &Outcome) -> Claims {
    let changed = of.parameters["changed_accounts"][0].as_f64();
    let changed = changed.ok_or_else(|| CliError::CheckFailed("no changed accounts".to_owned()))?;
    let allowed = 64.0 * changed + 16384.0;
    let figures = [of.spread(3, SPREAD)?.times(changed), Spread::of([allowed])];
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

fn restarts(of: &Outcome) -> Claims {
    let ready = figure("ms")(of.spread(0, "/ready_ms")?);
    Ok(vec![Claim::alone(
        "start → ready",
        ready,
        Bound::AtMost(3000.0),
    )])
}

fn instants(of: &Outcome) -> Claims {
    let p50 = figure("ms")(of.spread(0, SPREAD)?);
    Ok(vec![Claim::alone("p50", p50, Bound::AtMost(5.0))])
}

fn memory(of: &Outcome) -> Claims {
    let bytes = figure("bytes");
    let at_most = Bound::AtMost(200.0);
    Ok(vec![
        Claim::alone("with all accounts", bytes(of.spread(5, SPREAD)?), at_most),
        Claim::alone("after a snapshot", bytes(of.spread(6, SPREAD)?), at_most),
    ])
}

fn rings(of: &Outcome) -> Claims {
    let first = of.spread(0, "/seconds")?;
    let per_channel = |ring: usize| {
        let channels = of.number(ring, "/channels")?;
        let spread = of.spread(ring, "/seconds")?.times(1e6 / channels);
        Ok::<_, CliError>(figure("µs")(spread))
    };
    let figures = [per_channel(2)?, per_channel(0)?];
    let what = "time per channel, 16 times as many";
    Ok(vec![
        Claim::alone("the ring", figure("s")(first), Bound::AtMost(10.0)),
        Claim::ratio(what, figures, Bound::AtMost(RING_GROWTH_MAX)),
    ])
}
