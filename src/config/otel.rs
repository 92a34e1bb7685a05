//! Where traces go: `[otel]`. Only a program with the feature `otel` accepts it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::address::check_address;
use super::fault::{ConfigError, Fault};
use crate::tls::client::{ClientFiles, ClientTls};

/// The collector of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtelSettings {
    /// Its OTLP endpoint for gRPC, `http://host:port` or `https://host:port`.
    pub endpoint: String,
    /// The share of snapshots that are traced.
    pub sample: Sampling,
    /// With what the certificate of an `https` endpoint is verified.
    pub trust: Option<CollectorCa>,
}

/// The CAs of a collector.
#[derive(Debug, Clone)]
pub struct CollectorCa {
    path: PathBuf,
    /// The TLS that trusts them.
    pub tls: ClientTls,
}

impl CollectorCa {
    fn load(path: &Path) -> Result<Self, Fault> {
        let loaded = ClientTls::load(&ClientFiles::trusting(path));
        let tls = loaded.map_err(|error| Fault::Tls(error.to_string()))?;
        let path = path.to_owned();
        Ok(Self { path, tls })
    }
}

// What was read of the file is not compared.
impl PartialEq for CollectorCa {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for CollectorCa {}

/// A share of snapshots, decided from the id of the trace, so that all nodes decide alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    millionths: u64,
}

const MILLION: u64 = 1_000_000;

impl Sampling {
    const ALL: Self = Self {
        millionths: MILLION,
    };

    fn of(share: f64) -> Result<Self, Fault> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Fault::Sample(share.to_string()));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "it is between 0 and a million"
        )]
        let millionths = (share * MILLION as f64).round() as u64;
        Ok(Self { millionths })
    }

    /// Whether a trace is recorded.
    #[must_use]
    pub fn has(self, trace: u128) -> bool {
        trace % u128::from(MILLION) < u128::from(self.millionths)
    }
}

/// The `[otel]` table.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OtelBlock {
    /// See [`OtelSettings::endpoint`].
    pub endpoint: Spanned<String>,
    /// From 0 to 1. If absent, 1: all snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Spanned<f64>>,
    /// The file with the CAs of the collector. `https` needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// Options for traces.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct OtelOptions {
    /// OTLP endpoint (gRPC) of a collector of traces, for example http://127.0.0.1:4317; needs a build with the feature otel
    /// [default: none].
    #[arg(long, env = "SNAPLEDGER_OTEL_ENDPOINT", value_name = "URL")]
    pub otel_endpoint: Option<String>,

    /// Share of snapshots that are traced, from 0 to 1 [default: 1].
    #[arg(long, env = "SNAPLEDGER_OTEL_SAMPLE", value_name = "SHARE")]
    pub otel_sample: Option<String>,

    /// The CAs of a collector with https, in PEM.
    #[arg(long, env = "SNAPLEDGER_OTEL_CA", value_name = "FILE")]
    pub otel_ca: Option<PathBuf>,
}

impl OtelBlock {
    /// The settings; `locate` adds the line to a fault.
    pub(super) fn settings(
        &self,
        locate: impl Fn(Range<usize>, Fault) -> ConfigError,
    ) -> Result<OtelSettings, ConfigError> {
        let endpoint = self.endpoint.get_ref();
        let at_endpoint = |fault| locate(self.endpoint.span(), fault);
        is_available().map_err(at_endpoint)?;
        let trust = trusted(endpoint, self.ca.as_deref()).map_err(at_endpoint)?;
        let sample = match &self.sample {
            None => Sampling::ALL,
            Some(share) => {
                Sampling::of(*share.get_ref()).map_err(|fault| locate(share.span(), fault))?
            }
        };
        Ok(OtelSettings {
            endpoint: endpoint.clone(),
            sample,
            trust,
        })
    }
}

impl OtelOptions {
    /// Replaces what is given here.
    pub(super) fn replace_in(
        &self,
        settings: &mut Option<OtelSettings>,
    ) -> Result<(), ConfigError> {
        if *self == Self::default() {
            return Ok(());
        }
        let endpoint = settings.as_ref().map(|settings| &settings.endpoint);
        let endpoint = self.otel_endpoint.as_ref().or(endpoint).cloned();
        let endpoint = endpoint.ok_or_else(|| Fault::NoCollector.of("--otel-endpoint"))?;
        let ca = settings
            .as_ref()
            .and_then(|settings| Some(&settings.trust.as_ref()?.path));
        let ca = self.otel_ca.as_ref().or(ca);
        let trust = is_available().and_then(|()| trusted(&endpoint, ca.map(PathBuf::as_path)));
        let trust = trust.map_err(|fault| fault.of("--otel-endpoint"))?;
        let sample = match &self.otel_sample {
            None => settings
                .as_ref()
                .map_or(Sampling::ALL, |settings| settings.sample),
            Some(text) => {
                let share = text.parse().map_err(|_| Fault::Sample(text.clone()));
                let share = share.and_then(Sampling::of);
                share.map_err(|fault| fault.of("--otel-sample"))?
            }
        };
        *settings = Some(OtelSettings {
            endpoint,
            sample,
            trust,
        });
        Ok(())
    }
}

fn is_available() -> Result<(), Fault> {
    match cfg!(feature = "otel") {
        true => Ok(()),
        false => Err(Fault::WithoutOtel),
    }
}

// The endpoint must be good; the CAs are read.
fn trusted(endpoint: &str, ca: Option<&Path>) -> Result<Option<CollectorCa>, Fault> {
    let bad = || Fault::Collector(endpoint.to_owned());
    let (scheme, address) = endpoint.split_once("://").ok_or_else(bad)?;
    check_address(address).map_err(|_| bad())?;
    match (scheme, ca) {
        ("http", None) => Ok(None),
        ("https", Some(ca)) => CollectorCa::load(ca).map(Some),
        ("http", Some(_)) => Err(Fault::CollectorCa("leave ca out, or write https")),
        ("https", None) => Err(Fault::CollectorCa(
            "add ca, the file with the CA of its certificate",
        )),
        _ => Err(bad()),
    }
}

#[cfg(all(test, feature = "otel"))]
mod tests {
    use super::*;
    use crate::tls::issue::Authority;

    fn block(text: &str) -> Result<OtelSettings, ConfigError> {
        let block: OtelBlock = toml::from_str(text).expect("a table");
        block.settings(|_, fault| fault.into())
    }

    fn fault(result: Result<OtelSettings, ConfigError>) -> Fault {
        match result.expect_err("it is wrong") {
            ConfigError::Whole(fault) | ConfigError::InOption { fault, .. } => fault,
            other => unreachable!("{other}"),
        }
    }

    #[test]
    fn options_replace_what_the_file_says() {
        let mut settings = Some(
            block("endpoint = \"http://127.0.0.1:4317\"\nsample = 0.25").expect("it is complete"),
        );
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("ca.crt");
        let mut options = OtelOptions {
            otel_endpoint: Some("https://collector.example.org:4317".to_owned()),
            otel_sample: None,
            otel_ca: Some(path.clone()),
        };
        let missing = options.replace_in(&mut settings);
        let missing = missing.expect_err("there is no such file").to_string();
        assert!(missing.contains("ca.crt"), "{missing}");
        let (_, ca) = Authority::new("c", 1).expect("a CA");
        std::fs::write(&path, ca.certificate).expect("there is room");
        options.replace_in(&mut settings).expect("it is complete");
        options = OtelOptions {
            otel_sample: Some("0.5".to_owned()),
            ..OtelOptions::default()
        };
        options.replace_in(&mut settings).expect("it is complete");
        let settings = settings.expect("it was given");
        assert_eq!(settings.endpoint, "https://collector.example.org:4317");
        assert_eq!(settings.sample, Sampling::of(0.5).expect("a share"));
        assert_eq!(settings.trust.expect("it was given").path, path);
    }

    #[test]
    fn a_mistake_is_named() {
        for address in [
            "127.0.0.1:4317",
            "http://127.0.0.1",
            "http://127.0.0.1:4317/v1",
            "unix://a:1",
            "",
        ] {
            let found = block(&format!("endpoint = {address:?}"));
            assert_eq!(fault(found), Fault::Collector(address.to_owned()));
        }
        for text in [
            "endpoint = \"https://a:1\"",
            "endpoint = \"http://a:1\"\nca = \"c\"",
        ] {
            assert!(
                matches!(fault(block(text)), Fault::CollectorCa(_)),
                "{text}"
            );
        }
        for share in ["-0.1", "1.5", "nan", "inf"] {
            let found = block(&format!("endpoint = \"http://a:1\"\nsample = {share}"));
            assert!(matches!(fault(found), Fault::Sample(_)), "{share}");
        }
        let alone = OtelOptions {
            otel_sample: Some("1".to_owned()),
            ..OtelOptions::default()
        };
        let found = alone.replace_in(&mut None).expect_err("no collector");
        assert_eq!(
            found.to_string(),
            format!("--otel-endpoint: {}", Fault::NoCollector)
        );
    }

    #[test]
    fn a_share_of_traces_is_about_that_share() {
        let quarter = Sampling::of(0.25).expect("a share");
        let traces = (0..4000_u128).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let found = traces.filter(|trace| quarter.has(*trace)).count();
        assert!((900..1100).contains(&found), "{found}");
        assert!((0..100).all(|trace| Sampling::ALL.has(trace)));
        let none = Sampling::of(0.0).expect("a share");
        assert!(!(0..100).any(|trace| none.has(trace)));
    }
}

#[cfg(all(test, not(feature = "otel")))]
mod tests {
    use super::*;

    // Without this an operator would wait for traces that never come.
    #[test]
    fn a_program_without_the_feature_refuses_the_table_and_the_option() {
        let block: OtelBlock =
            toml::from_str("endpoint = \"http://127.0.0.1:4317\"").expect("a table");
        let refused = block
            .settings(|_, fault| fault.into())
            .expect_err("it is refused");
        assert!(refused.to_string().contains("--features otel"), "{refused}");
        let options = OtelOptions {
            otel_endpoint: Some("http://127.0.0.1:4317".to_owned()),
            ..OtelOptions::default()
        };
        let refused = options.replace_in(&mut None).expect_err("it is refused");
        assert!(refused.to_string().contains("--features otel"), "{refused}");
    }
}
