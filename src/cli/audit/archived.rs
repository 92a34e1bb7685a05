//! `audit --archive`: the totals of all processes at an instant, recomputed from their archived journals. Nothing is stored, and
//! no node is asked.

use std::collections::BTreeMap;

use indicatif::ProgressBar;
use serde_json::Value;

use super::super::archived::{PATIENCE, instant};
use super::super::progress::{BYTES, bar};
use super::super::{CliError, runtime};
use super::Args;
use crate::api::rest::audit_document;
use crate::archive::Objects;
use crate::config::CLUSTER_DEFAULT;
use crate::history::audit::Audit;
use crate::offsite::past::{NotArchived, audit_of, common_end, journals};
use crate::offsite::refill::Until;
use crate::process::clock::Hlc;

/// The document of the audit, as a node would answer it.
pub(super) fn run(args: &Args, url: &str) -> Result<Value, CliError> {
    let cluster = args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
    let at = args.at.as_deref().map(instant).transpose()?;
    let objects = Objects::open(url).map_err(NotArchived::from)?;
    let objects = objects.patient(PATIENCE);
    let shown = bar(0, BYTES);
    let audit = runtime()?.block_on(audit(&objects, cluster, at, &shown))?;
    shown.finish_and_clear();
    Ok(audit_document(&audit, cluster))
}

async fn audit(
    objects: &Objects,
    cluster: &str,
    at: Option<Hlc>,
    shown: &ProgressBar,
) -> Result<Audit, NotArchived> {
    let journals = journals(objects, cluster).await?;
    let at = match at {
        Some(at) => at,
        None => common_end(&journals).await?,
    };
    let mut shares = BTreeMap::new();
    for journal in &journals {
        shown.set_message(journal.process.to_string());
        let until = Until::Instant(at);
        let share = journal.share(until, &|read| shown.inc(read)).await?;
        shares.insert(journal.process.clone(), share);
    }
    Ok(audit_of(at, shares))
}
