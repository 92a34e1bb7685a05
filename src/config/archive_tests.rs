//! The table and the options of the archive.

use super::*;

fn parsed(table: &str) -> Result<Option<ArchiveSettings>, String> {
    let block: ArchiveBlock = toml::from_str(table).map_err(|error| error.to_string())?;
    let settings = block.settings(|_, fault| fault.of("here"));
    settings.map_err(|error| error.to_string())
}

#[test]
fn without_a_url_there_is_no_archive() {
    assert_eq!(parsed(""), Ok(None));
    let refused = parsed("window = 2").expect_err("there is no archive");
    assert!(refused.contains("archive.url"), "{refused}");
}

#[test]
fn the_table_is_completed_with_defaults_and_options_replace_it() {
    let mut archive =
        parsed("url = \"file:///a\"\nlinger = \"0ms\"\nwindow = 2").expect("it is valid");
    let settings = archive.clone().expect("it has a URL");
    assert_eq!((settings.journal, settings.window), (Shipping::Peers, 2));
    let options = ArchiveOptions {
        archive_journal: Some(Shipping::Sync),
        archive_lag_max: Some("2s".to_owned()),
        archive_tables: Some("1m".to_owned()),
        ..ArchiveOptions::default()
    };
    options.replace_in(&mut archive).expect("they are valid");
    let replaced = archive.expect("it has a URL");
    assert_eq!(replaced.journal, Shipping::Sync);
    assert_eq!(replaced.lag_max, Duration::from_secs(2));
    assert_eq!(replaced.window, 2);
    assert_eq!(replaced.keep, None);
    assert_eq!(replaced.instants, Some(Duration::from_secs(60)));
    let idle = parsed("url = \"file:///a\"\ninstants = \"off\"").expect("it is valid");
    assert_eq!(idle.expect("it has a URL").instants, None);
    let kept = parsed("url = \"file:///a\"\nkeep = \"30d\"").expect("it is valid");
    let age = kept.expect("it has a URL").keep;
    assert_eq!(age, Some(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!(replaced.tables, Some(Duration::from_secs(60)));
    assert_eq!(replaced.restore, SelfRestore::Never);
    // Each is valid with the default of the other.
    let mut slow = parsed("url = \"file:///a\"\nlinger = \"5s\"").expect("it is valid");
    let impatient = ArchiveOptions {
        archive_lag_max: Some("5s".to_owned()),
        ..ArchiveOptions::default()
    };
    let refused = impatient
        .replace_in(&mut slow)
        .expect_err("it would refuse work for good");
    assert!(
        refused.to_string().contains("--archive-lag-max"),
        "{refused}"
    );
    let itself = parsed("url = \"file:///a\"\nrestore = \"empty\"").expect("it is valid");
    assert_eq!(itself.expect("it has a URL").restore, SelfRestore::Empty);
}

#[test]
fn what_is_out_of_range_is_refused_with_what_to_write() {
    for (table, part) in [
        ("url = \"ftp://a\"", "s3://"),
        ("url = \"file:///a\"\nwindow = 0", "from 1 to 64"),
        ("url = \"file:///a\"\nwindow = 65", "from 1 to 64"),
        ("url = \"file:///a\"\nsegment_max = \"65MiB\"", "64MiB"),
        ("url = \"file:///a\"\nsegment_max = \"0B\"", "64MiB"),
        (
            "url = \"file:///a\"\nwindow = 16\nsegment_max = \"64MiB\"",
            "512MiB",
        ),
        ("url = \"file:///a\"\nlinger = \"x\"", "duration"),
        ("url = \"file:///a\"\nlinger = \"30s\"", "lag_max"),
        ("url = \"file:///\"", "file:///DIRECTORY"),
        ("url = \"s3://\"", "s3://BUCKET"),
        ("url = \"file:///a\"\nlag_max = \"0s\"", "0s"),
        ("url = \"file:///a\"\nkeep = \"always\"", "forever"),
        ("url = \"file:///a\"\njournal = \"often\"", "async"),
        ("url = \"file:///a\"\ntables = \"often\"", "off"),
        ("url = \"file:///a\"\nrestore = \"often\"", "never"),
        ("url = \"file:///a\"\ninstants = \"often\"", "off"),
        (
            "url = \"file:///a\"\njournal = \"off\"\ntables = \"60s\"",
            "archive.journal",
        ),
    ] {
        let refused = parsed(table).expect_err(table);
        assert!(refused.contains(part), "{refused}");
    }
}
