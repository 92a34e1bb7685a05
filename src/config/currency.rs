//! The currency in which people read amounts. It is shown with figures and never used in arithmetic.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::fault::{ConfigError, Fault};

/// The longest label, characters.
const LABEL_MAX: usize = 16;
/// An amount of 64 bits has at most this many digits behind its first one.
const EXPONENT_MAX: u8 = 18;
/// The number of digits of the minor part unless configured otherwise, as most currencies have it.
const EXPONENT_DEFAULT: u8 = 2;

/// A currency: what people call it, and how many of the last digits of an amount are its minor part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency {
    /// 1 to 16 characters, for example `EUR`.
    pub label: String,
    /// With 2, the amount 12345 is shown as 123.45. From 0 to 18.
    pub exponent: u8,
}

/// The `[currency]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CurrencyBlock {
    /// See [`Currency::label`]. If absent, amounts are minor units without a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Spanned<String>>,
    /// See [`Currency::exponent`]. Needs the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponent: Option<Spanned<u8>>,
}

/// Options for the currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct CurrencyOptions {
    /// Name of the currency in which amounts are shown, for example EUR [default: none].
    #[arg(long, env = "SNAPLEDGER_CURRENCY_LABEL", value_name = "NAME")]
    pub currency_label: Option<String>,

    /// Number of digits of the minor part of amounts, with a name of the currency [default: 2].
    #[arg(long, env = "SNAPLEDGER_CURRENCY_EXPONENT", value_name = "DIGITS")]
    pub currency_exponent: Option<u8>,
}

impl CurrencyBlock {
    /// The currency; `locate` adds the line to a fault.
    pub(super) fn settings(
        &self,
        locate: impl Fn(std::ops::Range<usize>, Fault) -> ConfigError,
    ) -> Result<Option<Currency>, ConfigError> {
        let mut currency = None;
        if let Some(label) = &self.label {
            let found = with_label(label.get_ref(), None);
            currency = Some(found.map_err(|fault| locate(label.span(), fault))?);
        }
        if let Some(exponent) = &self.exponent {
            let found = set_exponent(&mut currency, *exponent.get_ref());
            found.map_err(|fault| locate(exponent.span(), fault))?;
        }
        Ok(currency)
    }
}

impl CurrencyOptions {
    /// Replaces what is given here.
    pub(super) fn replace_in(&self, currency: &mut Option<Currency>) -> Result<(), ConfigError> {
        if let Some(label) = &self.currency_label {
            let found = with_label(label, currency.take());
            *currency = Some(found.map_err(|fault| fault.of("--currency-label"))?);
        }
        if let Some(exponent) = self.currency_exponent {
            let found = set_exponent(currency, exponent);
            found.map_err(|fault| fault.of("--currency-exponent"))?;
        }
        Ok(())
    }
}

fn with_label(label: &str, before: Option<Currency>) -> Result<Currency, Fault> {
    let length = label.chars().count();
    let is_shown = !label.chars().any(char::is_control) && label.trim() == label;
    if length == 0 || length > LABEL_MAX || !is_shown {
        return Err(Fault::CurrencyLabel(label.to_owned()));
    }
    Ok(Currency {
        label: label.to_owned(),
        exponent: before.map_or(EXPONENT_DEFAULT, |before| before.exponent),
    })
}

fn set_exponent(currency: &mut Option<Currency>, exponent: u8) -> Result<(), Fault> {
    if exponent > EXPONENT_MAX {
        return Err(Fault::CurrencyExponent(exponent));
    }
    let currency = currency.as_mut().ok_or(Fault::NoCurrencyLabel)?;
    currency.exponent = exponent;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(label: Option<&str>, exponent: Option<u8>) -> CurrencyOptions {
        CurrencyOptions {
            currency_label: label.map(str::to_owned),
            currency_exponent: exponent,
        }
    }

    #[test]
    fn options_replace_what_they_name() {
        let mut currency = None;
        given(None, None)
            .replace_in(&mut currency)
            .expect("nothing");
        assert_eq!(currency, None);
        let found = given(Some("€"), None).replace_in(&mut currency);
        found.expect("a label");
        let euro = |exponent| Currency {
            label: "€".to_owned(),
            exponent,
        };
        assert_eq!(currency, Some(euro(2)));
        let found = given(None, Some(0)).replace_in(&mut currency);
        found.expect("an exponent");
        assert_eq!(currency, Some(euro(0)));
        let found = given(Some("JPY"), None).replace_in(&mut currency);
        found.expect("a label");
        assert_eq!(currency.expect("it is set").exponent, 0, "it stays");
    }

    #[test]
    fn a_label_can_be_shown_and_an_exponent_has_one() {
        for label in ["", " EUR", "E\nR", "seventeen letters"] {
            let wrong = given(Some(label), None).replace_in(&mut None);
            let wrong = wrong.expect_err(label).to_string();
            assert!(wrong.starts_with("--currency-label: "), "{wrong}");
        }
        let wrong = given(None, Some(2)).replace_in(&mut None);
        let wrong = wrong.expect_err("it has no label").to_string();
        assert!(wrong.contains("add its label"), "{wrong}");
        let wrong = given(Some("EUR"), Some(19)).replace_in(&mut None);
        let wrong = wrong.expect_err("too many digits").to_string();
        assert!(wrong.contains("at most 18"), "{wrong}");
    }
}
