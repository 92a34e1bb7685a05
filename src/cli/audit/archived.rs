//! `audit --archive`: the totals of all processes at an instant, recomputed from their archived journals. Nothing is stored, and
//! no node is asked.

use indicatif::ProgressBar;
use serde_json::Value;

use super::super::archived::{PATIENCE, instant};
use super::super::progress::{BYTES, bar};
use super::super::{CliError, runtime};
use super::Args;
use crate::api::rest::audit_document;
use crate::api::time::rfc3339;
use crate::archive::Objects;
use crate::config::CLUSTER_DEFAULT;
use crate::history::audit::Audit;
use crate::offsite::past::{NotArchived, audit_at, common_end, journals};
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;

/// An audit of an archive.
pub(super) struct Audited {
    /// Its document, as a node would answer it.
    pub(super) document: Value,
    /// The options with which it is repeated.
    pub(super) again: String,
    /// If nothing is known of its instant: the options of the newest one of which something is known.
    pub(super) instead: Option<String>,
}

pub(super) fn run(args: &Args, url: &str) -> Result<Audited, CliError> {
    let cluster = args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
    let at = args
        .at
        .as_deref()
        .map(|at| instant("--at", at))
        .transpose()?;
    let objects = Objects::open(url).map_err(NotArchived::from)?;
    let objects = objects.patient(PATIENCE).remembering();
    let shown = bar(0, BYTES);
    let found = runtime()?.block_on(find(&objects, cluster, at, &shown))?;
    shown.finish_and_clear();
    let options = |at: Hlc| {
        let at = rfc3339(at.wall_us());
        format!("--archive {url} --cluster {cluster} --at {at}")
    };
    Ok(Audited {
        document: audit_document(&found.audit, cluster),
        again: options(found.at),
        instead: found.instead.map(options),
    })
}

/// What the archive says of an instant.
struct Found {
    at: Hlc,
    audit: Audit,
    instead: Option<Hlc>,
}

async fn find(
    objects: &Objects,
    cluster: &str,
    at: Option<Hlc>,
    shown: &ProgressBar,
) -> Result<Found, NotArchived> {
    let journals = journals(objects, cluster).await?;
    let at = match at {
        Some(at) => at,
        None => common_end(&journals).await?,
    };
    let told = |process: &ProcessId, read| {
        shown.set_message(process.to_string());
        shown.inc(read);
    };
    let audit = audit_at(&journals, at, &told).await?;
    let mut instead = None;
    if audit.shares.is_empty() {
        let newest = common_end(&journals).await?;
        let is_other = newest != at;
        let there = audit_at(&journals, newest, &told).await?;
        instead = (is_other && !there.shares.is_empty()).then_some(newest);
    }
    Ok(Found { at, audit, instead })
}
