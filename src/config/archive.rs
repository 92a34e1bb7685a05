//! The archive: where the journal of the process is shipped to, and what waits for that.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::duration::{parse_duration, parse_interval, parse_span};
use super::fault::{ConfigError, Fault};
use super::size::parse_size;
use crate::shipping::hold::Waits;
use crate::shipping::taking_up::WINDOW_MAX;

/// The largest segment: it is held in memory once per put in flight.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// The most bytes of all puts in flight.
const IN_FLIGHT_BYTES_MAX: usize = 512 << 20;

/// The archive has no limit.
const FOREVER: &str = "forever";

/// What waits until the archive has a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shipping {
    /// The journal is not shipped.
    Off,
    /// Nothing. A lost disk loses the turns that were not archived yet.
    Async,
    /// Messages, markers and acknowledgements to other processes, and what is published of snapshots: after the loss of the
    /// disk, answers to clients may be lost, but no other process has seen anything of what is lost.
    #[default]
    Peers,
    /// Everything: a lost disk loses nothing that was acknowledged.
    Sync,
}

/// When a node restores its process from the archive by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SelfRestore {
    /// Never: it refuses to start on an empty directory if the archive has its journal.
    #[default]
    Never,
    /// If its directory is empty.
    Empty,
}

/// The archive of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// `s3://`, `gs://`, `az://` or `file://`.
    pub url: String,
    /// What waits for the archive.
    pub journal: Shipping,
    /// The most puts in flight.
    pub window: usize,
    /// The most bytes of turns in one segment; a larger turn has a segment of its own.
    pub segment_max: usize,
    /// The time for which a segment that is not full waits for further turns.
    pub linger: Duration,
    /// The lag behind which new work is refused, if anything waits for the archive.
    pub lag_max: Duration,
    /// The age up to which the archive is kept; `None`: for ever.
    pub keep: Option<Duration>,
    /// How often history is written as tables; `None`: never.
    pub tables: Option<Duration>,
    /// The time without a turn after which an idle process journals that its clock has advanced; `None`: never.
    pub instants: Option<Duration>,
    /// When a node restores its process by itself.
    pub restore: SelfRestore,
}

impl Shipping {
    /// Whether the journal is shipped.
    #[must_use]
    pub fn ships(self) -> bool {
        self != Self::Off
    }
}

impl ArchiveSettings {
    /// What waits for the archive.
    #[must_use]
    pub fn waits(&self) -> Waits {
        match self.journal {
            Shipping::Off | Shipping::Async => Waits::Nothing,
            Shipping::Peers => Waits::Processes,
            Shipping::Sync => Waits::Everything,
        }
    }

    fn at(url: String) -> Self {
        Self {
            url,
            journal: Shipping::default(),
            window: 4,
            segment_max: 8 << 20,
            linger: Duration::ZERO,
            lag_max: Duration::from_secs(30),
            keep: None,
            tables: None,
            instants: Some(Duration::from_secs(60)),
            restore: SelfRestore::default(),
        }
    }

    fn fits(&self) -> bool {
        self.window.saturating_mul(self.segment_max) <= IN_FLIGHT_BYTES_MAX
    }
}

/// The `[archive]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveBlock {
    /// See [`ArchiveSettings::url`]. If absent, there is no archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Spanned<String>>,
    /// See [`ArchiveSettings::journal`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<Spanned<Shipping>>,
    /// See [`ArchiveSettings::window`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Spanned<u16>>,
    /// A size; see [`ArchiveSettings::segment_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_max: Option<Spanned<String>>,
    /// A duration; see [`ArchiveSettings::linger`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<Spanned<String>>,
    /// A duration; see [`ArchiveSettings::lag_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_max: Option<Spanned<String>>,
    /// A duration or `forever`; see [`ArchiveSettings::keep`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Spanned<String>>,
    /// A duration or `off`; see [`ArchiveSettings::tables`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Spanned<String>>,
    /// A duration or `off`; see [`ArchiveSettings::instants`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instants: Option<Spanned<String>>,
    /// See [`ArchiveSettings::restore`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Spanned<SelfRestore>>,
}

/// Options for the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ArchiveOptions {
    /// Object storage that keeps the journal: s3://BUCKET/PREFIX, gs://…, az://… or file:///DIRECTORY [default: none].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_URL", value_name = "URL")]
    pub archive_url: Option<String>,

    /// What waits until the archive has it, with an archive [default: peers].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_JOURNAL", value_name = "WHAT")]
    pub archive_journal: Option<Shipping>,

    /// Number of puts in flight [default: 4].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_WINDOW", value_name = "COUNT")]
    pub archive_window: Option<u16>,

    /// Size at which a segment of the journal is full: 1MiB, 8MiB, … [default: 8MiB].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_SEGMENT_MAX", value_name = "SIZE")]
    pub archive_segment_max: Option<String>,

    /// Time for which a segment waits for further turns: 0ms, 20ms, … [default: 0ms].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_LINGER", value_name = "DURATION")]
    pub archive_linger: Option<String>,

    /// Lag behind which new work is refused, unless nothing waits for the archive [default: 30s].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_LAG_MAX", value_name = "DURATION")]
    pub archive_lag_max: Option<String>,

    /// Age up to which the archive is kept: 30d, 365d, … [default: forever].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_KEEP", value_name = "DURATION|forever")]
    pub archive_keep: Option<String>,

    /// How often history is written as tables into the archive: 60s, 10m, …, or off [default: off].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_TABLES", value_name = "DURATION|off")]
    pub archive_tables: Option<String>,

    /// Time without a turn after which a process journals an instant: 60s, 10m, …, or off [default: 60s].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_INSTANTS", value_name = "DURATION|off")]
    pub archive_instants: Option<String>,

    /// When the node restores its process from the archive by itself [default: never].
    #[arg(long, env = "SNAPLEDGER_ARCHIVE_RESTORE", value_name = "WHEN")]
    pub archive_restore: Option<SelfRestore>,
}

/// What the table or the options say; each with the fault's place.
struct Said<'a, P> {
    url: Option<(&'a str, P)>,
    journal: Option<(Shipping, P)>,
    window: Option<(u16, P)>,
    segment_max: Option<(&'a str, P)>,
    linger: Option<(&'a str, P)>,
    lag_max: Option<(&'a str, P)>,
    keep: Option<(&'a str, P)>,
    tables: Option<(&'a str, P)>,
    instants: Option<(&'a str, P)>,
    restore: Option<(SelfRestore, P)>,
}

impl<P: Clone> Said<'_, P> {
    // Replaces what is said. A fault comes with its place.
    fn replace_in(self, archive: &mut Option<ArchiveSettings>) -> Result<(), (Fault, P)> {
        if let Some((url, place)) = self.url {
            check_url(url).map_err(|fault| (fault, place))?;
            match archive {
                Some(settings) => url.clone_into(&mut settings.url),
                None => *archive = Some(ArchiveSettings::at(url.to_owned())),
            }
        }
        let Some(settings) = archive else {
            let places = [
                self.journal.map(|(_, place)| place),
                self.window.map(|(_, place)| place),
                self.segment_max.map(|(_, place)| place),
                self.linger.map(|(_, place)| place),
                self.lag_max.map(|(_, place)| place),
                self.keep.map(|(_, place)| place),
                self.tables.map(|(_, place)| place),
                self.instants.map(|(_, place)| place),
                self.restore.map(|(_, place)| place),
            ];
            let place = places.into_iter().flatten().next();
            return place.map_or(Ok(()), |place| Err((Fault::NoArchive, place)));
        };
        replace_journal(self.journal, self.tables, settings)?;
        replace_instants(self.instants, settings)?;
        if let Some((restore, _)) = self.restore {
            settings.restore = restore;
        }
        replace_in_flight(self.window, self.segment_max, settings)?;
        let mut said_at = None;
        if let Some((text, place)) = self.linger {
            let linger = parse_span(text).ok_or_else(|| Fault::Duration(text.to_owned()));
            settings.linger = linger.map_err(|fault| (fault, place.clone()))?;
            said_at = Some(place);
        }
        if let Some((text, place)) = self.lag_max {
            settings.lag_max = parse_duration(text).map_err(|fault| (fault, place.clone()))?;
            said_at = Some(place);
        }
        // New work would be refused for good.
        if let Some(place) = said_at
            && settings.linger >= settings.lag_max
        {
            let (linger, lag_max) = (settings.linger, settings.lag_max);
            return Err((Fault::ArchiveLinger { linger, lag_max }, place));
        }
        if let Some((text, place)) = self.keep {
            settings.keep = match text {
                FOREVER => None,
                text => {
                    let age = parse_duration(text).ok();
                    let fault = || (Fault::ArchiveKeep(text.to_owned()), place);
                    Some(age.ok_or_else(fault)?)
                }
            };
        }
        Ok(())
    }
}

// Tables are made of what is archived.
fn replace_journal<P>(
    journal: Option<(Shipping, P)>,
    tables: Option<(&str, P)>,
    settings: &mut ArchiveSettings,
) -> Result<(), (Fault, P)> {
    let mut changed = None;
    if let Some((journal, place)) = journal {
        settings.journal = journal;
        changed = Some(place);
    }
    if let Some((text, place)) = tables {
        settings.tables = match parse_interval(text) {
            Ok(tables) => tables,
            Err(fault) => return Err((fault, place)),
        };
        changed = Some(place);
    }
    match changed {
        Some(place) if settings.tables.is_some() && !settings.journal.ships() => {
            Err((Fault::TablesWithoutJournal, place))
        }
        _ => Ok(()),
    }
}

// All puts in flight are in memory.
fn replace_in_flight<P>(
    window: Option<(u16, P)>,
    segment_max: Option<(&str, P)>,
    settings: &mut ArchiveSettings,
) -> Result<(), (Fault, P)> {
    if let Some((count, place)) = window {
        match u64::from(count) {
            1..=WINDOW_MAX => settings.window = count.into(),
            _ => return Err((Fault::ArchiveWindow(count), place)),
        }
        if segment_max.is_none() && !settings.fits() {
            return Err((Fault::ArchiveInFlight, place));
        }
    }
    if let Some((text, place)) = segment_max {
        let size = parse_size(text).map_err(|fault| (fault, &place));
        match size {
            Ok(size @ 1..=SEGMENT_BYTES_MAX) => {
                settings.segment_max = usize::try_from(size).unwrap_or(usize::MAX);
                if !settings.fits() {
                    return Err((Fault::ArchiveInFlight, place));
                }
            }
            Ok(_) => return Err((Fault::ArchiveSegment(text.to_owned()), place)),
            Err((fault, _)) => return Err((fault, place)),
        }
    }
    Ok(())
}

fn replace_instants<P>(
    instants: Option<(&str, P)>,
    settings: &mut ArchiveSettings,
) -> Result<(), (Fault, P)> {
    if let Some((text, place)) = instants {
        settings.instants = parse_interval(text).map_err(|fault| (fault, place))?;
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), Fault> {
    let schemes = ["s3://", "gs://", "az://", "file:///"];
    let names_one = |scheme: &&str| {
        let rest = url.strip_prefix(scheme);
        rest.is_some_and(|rest| !rest.trim_matches('/').is_empty())
    };
    match schemes.iter().any(names_one) {
        true => Ok(()),
        false => Err(Fault::ArchiveUrl(url.to_owned())),
    }
}

impl ArchiveBlock {
    /// The archive; `locate` adds the line to a fault.
    pub(super) fn settings(
        &self,
        locate: impl Fn(std::ops::Range<usize>, Fault) -> ConfigError,
    ) -> Result<Option<ArchiveSettings>, ConfigError> {
        fn text(value: &Option<Spanned<String>>) -> Option<(&str, std::ops::Range<usize>)> {
            value
                .as_ref()
                .map(|value| (&**value.get_ref(), value.span()))
        }
        let said = Said {
            url: text(&self.url),
            journal: self
                .journal
                .as_ref()
                .map(|value| (*value.get_ref(), value.span())),
            window: self
                .window
                .as_ref()
                .map(|value| (*value.get_ref(), value.span())),
            segment_max: text(&self.segment_max),
            linger: text(&self.linger),
            lag_max: text(&self.lag_max),
            keep: text(&self.keep),
            tables: text(&self.tables),
            instants: text(&self.instants),
            restore: self
                .restore
                .as_ref()
                .map(|value| (*value.get_ref(), value.span())),
        };
        let mut archive = None;
        said.replace_in(&mut archive)
            .map_err(|(fault, span)| locate(span, fault))?;
        Ok(archive)
    }
}

impl ArchiveOptions {
    /// Replaces what is given here.
    pub(super) fn replace_in(
        &self,
        archive: &mut Option<ArchiveSettings>,
    ) -> Result<(), ConfigError> {
        let said = Said {
            url: self
                .archive_url
                .as_deref()
                .map(|url| (url, "--archive-url")),
            journal: self
                .archive_journal
                .map(|journal| (journal, "--archive-journal")),
            window: self
                .archive_window
                .map(|window| (window, "--archive-window")),
            segment_max: self
                .archive_segment_max
                .as_deref()
                .map(|size| (size, "--archive-segment-max")),
            linger: self
                .archive_linger
                .as_deref()
                .map(|linger| (linger, "--archive-linger")),
            lag_max: self
                .archive_lag_max
                .as_deref()
                .map(|lag_max| (lag_max, "--archive-lag-max")),
            keep: self
                .archive_keep
                .as_deref()
                .map(|keep| (keep, "--archive-keep")),
            tables: self
                .archive_tables
                .as_deref()
                .map(|tables| (tables, "--archive-tables")),
            instants: self
                .archive_instants
                .as_deref()
                .map(|instants| (instants, "--archive-instants")),
            restore: self
                .archive_restore
                .map(|restore| (restore, "--archive-restore")),
        };
        said.replace_in(archive)
            .map_err(|(fault, option)| fault.of(option))
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
