//! Amounts as people write them.

/// How amounts are written: the decimal places of the currency, and its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amounts {
    /// The decimal places; 0 for minor units.
    pub exponent: u8,
    /// The name of the currency; empty if there is none.
    pub label: String,
}

impl Amounts {
    /// An amount in minor units with thousands separators and decimal places, without the name of the currency.
    #[must_use]
    pub fn write(&self, units: i128) -> String {
        let sign = if units < 0 { "−" } else { "" };
        let digits = units.unsigned_abs().to_string();
        let places = usize::from(self.exponent);
        let digits = format!("{digits:0>width$}", width = places + 1);
        let (whole, part) = digits.split_at(digits.len() - places);
        let mut text = sign.to_owned();
        for (index, digit) in whole.chars().enumerate() {
            if index > 0 && (whole.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        if places > 0 {
            text.push('.');
            text.push_str(part);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_separators_and_decimal_places() {
        let euros = Amounts {
            exponent: 2,
            label: "EUR".to_owned(),
        };
        for (units, cents, whole) in [
            (0, "0.00", "0"),
            (7, "0.07", "7"),
            (-1_234_567, "−12,345.67", "−1,234,567"),
            (123_456, "1,234.56", "123,456"),
            (
                i128::from(i64::MAX),
                "92,233,720,368,547,758.07",
                "9,223,372,036,854,775,807",
            ),
        ] {
            assert_eq!(euros.write(units), cents);
            assert_eq!(Amounts::default().write(units), whole);
        }
    }
}
