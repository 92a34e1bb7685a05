//! Amounts in files: units with up to two decimals, parsed exactly, without floating point.

use std::fmt;

use crate::process::ids::Amount;

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AmountError {
    #[error("is not a valid amount; write units with up to two decimals, for example 12 or 12.50")]
    Form,
    #[error("has more than two decimals; an amount cannot be smaller than 0.01")]
    Decimals,
    #[error("is too large; at most 92233720368547758.07 fits")]
    TooLarge,
    #[error("is not positive; write at least 0.01")]
    NotPositive,
}

/// Parses `12`, `12.5` or `12.50` as hundredths.
pub(super) fn parse(text: &str) -> Result<Amount, AmountError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (units, decimals) = match digits.split_once('.') {
        Some((units, decimals)) => (units, Some(decimals)),
        None => (digits, None),
    };
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(units) || !decimals.is_none_or(is_digits) {
        return Err(AmountError::Form);
    }
    if digits.len() < text.len() {
        return Err(AmountError::NotPositive);
    }
    let hundredths: i64 = match decimals.unwrap_or_default().as_bytes() {
        [] => 0,
        [tenths] => i64::from(tenths - b'0') * 10,
        [tenths, hundredths] => i64::from(tenths - b'0') * 10 + i64::from(hundredths - b'0'),
        _ => return Err(AmountError::Decimals),
    };
    // Only overflow can fail here, since the text is all digits.
    let units: i64 = units.parse().map_err(|_| AmountError::TooLarge)?;
    let minor = units
        .checked_mul(100)
        .and_then(|minor| minor.checked_add(hundredths));
    Amount::new(minor.ok_or(AmountError::TooLarge)?).ok_or(AmountError::NotPositive)
}

/// A sum of hundredths, displayed in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Units(pub(super) i128);

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let minor = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", minor / 100, minor % 100)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_and_up_to_two_decimals() {
        for (text, minor) in [
            ("12", 1200),
            ("12.5", 1250),
            ("12.50", 1250),
            ("0.01", 1),
            ("007", 700),
            ("0.29", 29),
            ("92233720368547758.07", i64::MAX),
        ] {
            assert_eq!(parse(text).map(Amount::units), Ok(minor), "{text}");
        }
    }

    #[test]
    fn everything_else_says_why() {
        use AmountError::{Decimals, Form, NotPositive, TooLarge};
        for (text, error) in [
            ("", Form),
            (".", Form),
            (".5", Form),
            ("5.", Form),
            ("+5", Form),
            ("1e3", Form),
            ("1,50", Form),
            (" 1", Form),
            ("٣", Form),
            ("1.2.3", Form),
            ("0.001", Decimals),
            ("1.000", Decimals),
            ("0", NotPositive),
            ("0.00", NotPositive),
            ("-1", NotPositive),
            ("92233720368547758.08", TooLarge),
            ("99999999999999999999", TooLarge),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(minor in 1..=i64::MAX) {
            let text = Units(i128::from(minor)).to_string();
            prop_assert_eq!(parse(&text).map(Amount::units), Ok(minor));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
