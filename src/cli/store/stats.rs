//! `store stats`: counts what a store holds and the space it takes.

use super::Look;
use crate::api::time::rfc3339;
use crate::cli::CliError;
use crate::cli::OutputFormat;
use crate::cli::output::{Report, print};
use crate::store::{Bytes, Stats, Store, unbooked_sentence};

/// Counts and prints.
pub(super) fn run(look: &Look) -> Result<(), CliError> {
    let stats = look.look(|dir, scratch, step| Store::stats(dir, scratch, step))?;
    match look.output {
        OutputFormat::Json => {
            print(&serde_json::to_string_pretty(&stats).expect("names and numbers are JSON"))?;
        }
        OutputFormat::Table => table(&stats).print()?,
    }
    match stats.damage {
        None => Ok(()),
        Some(damage) => {
            let dir = look.dir.display();
            Err(CliError::Store(format!("{dir}: {damage}")))
        }
    }
}

fn table(stats: &Stats) -> Report {
    let mut report = Report::default();
    let Stats {
        process, cluster, ..
    } = stats;
    report.line(&format!(
        "the store of process {process} of cluster {cluster}: format {}, opened {} times",
        stats.format, stats.boots
    ));
    if let Some(damage) = &stats.damage {
        report.line(&format!(
            "warning: {damage}; the figures cover the remaining data"
        ));
    }
    if stats.unbooked != 0 {
        let sentence = unbooked_sentence(stats.unbooked);
        report.line(&format!("warning: {sentence}"));
    }
    report.line(&format!(
        "{} bytes on disk, {} of them live values",
        stats.disk_bytes, stats.live_bytes
    ));
    let sizes = |list: &[Bytes]| -> Vec<Vec<String>> {
        let row = |one: &Bytes| {
            vec![
                one.name.clone(),
                one.count.to_string(),
                one.bytes.to_string(),
            ]
        };
        list.iter().map(row).collect()
    };
    report.table(&["tree", "values", "bytes"], sizes(&stats.trees));
    report.table(&["file", "count", "bytes"], sizes(&stats.files));
    report.table(&["what", "count"], counts(stats));
    if let (Some((first, last)), Some((from, to))) =
        (stats.journal_positions, stats.journal_span_us)
    {
        let (from, to) = (rfc3339(from), rfc3339(to));
        report.line(&format!(
            "journal: turns {first} to {last}, from {from} to {to}"
        ));
    }
    if let Some(position) = stats.recorded_at {
        report.line(&format!(
            "in the newest recorded state, after turn {position}: {} accounts, {} minor units in total",
            stats.accounts, stats.balance_total
        ));
    }
    report
}

fn counts(stats: &Stats) -> Vec<Vec<String>> {
    let unreferenced = &stats.chunks_unreferenced;
    let partial = stats.snapshots - stats.snapshots_complete;
    [
        ("recorded states", stats.states),
        ("runs", stats.runs),
        ("referenced chunks", stats.chunks.count - unreferenced.count),
        ("unreferenced chunks", unreferenced.count),
        ("their bytes", unreferenced.bytes),
        ("parts", stats.parts),
        ("segments of the index", stats.stretches),
        ("complete snapshots", stats.snapshots_complete),
        ("partial snapshots", partial),
        ("revisions", stats.revisions),
        ("blobs", stats.blobs),
    ]
    .map(|(what, count)| vec![what.to_owned(), count.to_string()])
    .into()
}
