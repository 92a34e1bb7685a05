//! The limits of what clients can make a process store.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::fault::{ConfigError, Fault};
use super::size::parse_size;
use crate::process::limits::Limits;
use crate::process::requests::REQUESTS_KEPT_MAX;

/// The limits unless configured otherwise: some 9 GB of accounts, 1 GiB of keys and values and some 300 MB beside them.
pub const LIMITS_DEFAULT: Limits = Limits {
    accounts: 50_000_000,
    keys: 1_000_000,
    value_bytes: 1 << 30,
    requests: REQUESTS_KEPT_MAX,
};

/// The `[limits]` table. Counts are at least 1; a bank has fewer than four billion accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsBlock {
    /// See [`Limits::accounts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts_max: Option<Spanned<u32>>,
    /// See [`Limits::keys`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_max: Option<Spanned<u32>>,
    /// A size; see [`Limits::value_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values_max: Option<Spanned<String>>,
    /// See [`Limits::requests`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_ids_max: Option<Spanned<u32>>,
}

/// Options for the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct LimitsOptions {
    /// Number of accounts of this process over which clients can open none [default: 50000000].
    #[arg(long, env = "SNAPLEDGER_LIMITS_ACCOUNTS_MAX", value_name = "COUNT")]
    pub limits_accounts_max: Option<u32>,

    /// Number of keys, including deleted ones, over which clients can write no further key [default: 1000000].
    #[arg(long, env = "SNAPLEDGER_LIMITS_KEYS_MAX", value_name = "COUNT")]
    pub limits_keys_max: Option<u32>,

    /// Size of all keys and values over which clients can write no larger ones: 256MiB, 1GiB, … [default: 1GiB].
    #[arg(long, env = "SNAPLEDGER_LIMITS_VALUES_MAX", value_name = "SIZE")]
    pub limits_values_max: Option<String>,

    /// Number of request ids and idempotency keys that are remembered; the oldest are forgotten first [default: 262144,
    /// which is the most].
    #[arg(long, env = "SNAPLEDGER_LIMITS_REQUEST_IDS_MAX", value_name = "COUNT")]
    pub limits_request_ids_max: Option<u32>,
}

impl LimitsBlock {
    /// The limits; `locate` adds the line to a fault.
    pub(super) fn settings(
        &self,
        locate: impl Fn(std::ops::Range<usize>, Fault) -> ConfigError,
    ) -> Result<Limits, ConfigError> {
        let mut limits = LIMITS_DEFAULT;
        if let Some(max) = &self.accounts_max {
            limits.accounts =
                count(*max.get_ref(), "accounts").map_err(|f| locate(max.span(), f))?;
        }
        if let Some(max) = &self.keys_max {
            limits.keys = count(*max.get_ref(), "keys").map_err(|f| locate(max.span(), f))?;
        }
        if let Some(max) = &self.values_max {
            limits.value_bytes = parse_size(max.get_ref()).map_err(|f| locate(max.span(), f))?;
        }
        if let Some(max) = &self.request_ids_max {
            limits.requests = requests(*max.get_ref()).map_err(|f| locate(max.span(), f))?;
        }
        Ok(limits)
    }
}

impl LimitsOptions {
    /// Replaces the limits that are given here.
    pub(super) fn replace_in(&self, limits: &mut Limits) -> Result<(), ConfigError> {
        if let Some(max) = self.limits_accounts_max {
            limits.accounts = count(max, "accounts").map_err(|f| f.of("--limits-accounts-max"))?;
        }
        if let Some(max) = self.limits_keys_max {
            limits.keys = count(max, "keys").map_err(|f| f.of("--limits-keys-max"))?;
        }
        if let Some(max) = &self.limits_values_max {
            limits.value_bytes = parse_size(max).map_err(|f| f.of("--limits-values-max"))?;
        }
        if let Some(max) = self.limits_request_ids_max {
            limits.requests = requests(max).map_err(|f| f.of("--limits-request-ids-max"))?;
        }
        Ok(())
    }
}

fn count(max: u32, of: &'static str) -> Result<u64, Fault> {
    match max {
        0 => Err(Fault::NoneAllowed(of)),
        max => Ok(max.into()),
    }
}

fn requests(max: u32) -> Result<usize, Fault> {
    let max = usize::try_from(count(max, "request ids")?).unwrap_or(usize::MAX);
    match max <= REQUESTS_KEPT_MAX {
        true => Ok(max),
        false => Err(Fault::TooManyRequestIds(max)),
    }
}
