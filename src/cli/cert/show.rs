//! `cert show`.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::{CliError, OutputFormat, Report, print};
use super::Show;
use crate::tls::certificate::Described;
use crate::tls::files::certificates;

const DAY_SECONDS: i64 = 24 * 60 * 60;

pub(super) fn show(args: &Show) -> Result<(), CliError> {
    let now = Timestamp::now().as_second();
    let mut shown = Vec::new();
    for path in &args.files {
        let read = certificates(path).map_err(|error| CliError::Usage(error.to_string()))?;
        shown.extend(
            read.iter()
                .map(|certificate| described(path, certificate, now)),
        );
    }
    match args.output {
        OutputFormat::Json => print(&json!({ "certificates": shown }).to_string()),
        OutputFormat::Table => {
            let mut report = Report::default();
            for certificate in &shown {
                rows(&mut report, certificate);
            }
            report.print()
        }
    }
}

fn described(path: &Path, described: &Described, now: i64) -> Value {
    let Described {
        certificate,
        identity,
    } = described;
    json!({
        "file": path.display().to_string(),
        "subject": certificate.subject,
        "identity": identity.as_ref().map(ToString::to_string),
        "names": certificate.names,
        "issuer": certificate.issuer,
        "authority": certificate.is_authority,
        "from": instant(certificate.from),
        "until": instant(certificate.until),
        "days_left": (certificate.until - now).div_euclid(DAY_SECONDS),
        "sha256": hex::encode(certificate.fingerprint),
    })
}

fn instant(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds)
        .ok()
        .map(|time| time.to_string())
}

fn rows(report: &mut Report, certificate: &Value) {
    let text = |name: &str| match &certificate[name] {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    let names = certificate["names"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    let days = certificate["days_left"].as_i64().unwrap_or_default();
    let left = match days {
        0.. => format!("{days} days left"),
        _ => "expired".to_owned(),
    };
    let facts = [
        ("subject", text("subject")),
        ("identity", text("identity")),
        ("names", names.join(", ")),
        ("issuer", text("issuer")),
        (
            "kind",
            match certificate["authority"] == true {
                true => "CA".to_owned(),
                false => "process or client".to_owned(),
            },
        ),
        ("from", text("from")),
        ("until", format!("{} ({left})", text("until"))),
        ("SHA-256", text("sha256")),
    ];
    let facts = facts.map(|(name, value)| vec![name.to_owned(), value]);
    report.table(&["file", &text("file")], facts.to_vec());
}
