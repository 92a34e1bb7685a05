//! Sizes in options and files: `256MiB`, `1GiB`, `64KiB`, `0B`.

use super::fault::Fault;

/// The bytes of a whole number with a unit: `B`, `KiB`, `MiB`, `GiB` or `TiB`.
///
/// # Errors
/// [`Fault::Size`].
pub fn parse_size(text: &str) -> Result<u64, Fault> {
    size(text).ok_or_else(|| Fault::Size(text.to_owned()))
}

/// Formats bytes for people: in the largest unit that gives at least one, rounded down.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_fit() {
        assert_eq!(parse_size("0B"), Ok(0));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("256MiB"), Ok(268_435_456));
        for bad in [
            "",
            "1",
            "MiB",
            "-1B",
            "1.5GiB",
            "1 GiB",
            "1MB",
            "16777216TiB",
        ] {
            assert_eq!(parse_size(bad), Err(Fault::Size(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (3 << 20, "3 MiB"),
            (1 << 30, "1 GiB"),
        ] {
            assert_eq!(show_size(bytes), shown);
        }
    }
}
