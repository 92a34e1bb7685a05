//! Names of folders and of numbers in the log: any id becomes letters, digits, dots, hyphens and underscores, so that no id can
//! leave its folder, needs an escape in a URL, or looks like another one.

use std::fmt::Write as _;

/// An id as a name: each byte that is not a letter, a digit, a dot or a hyphen becomes `_` and two hexadecimal digits. Names of
/// different ids differ. A name does not begin with a dot.
#[must_use]
pub(super) fn name_of(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for (place, byte) in id.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            b'.' if place > 0 => name.push('.'),
            byte => {
                // Writing to a string cannot fail.
                _ = write!(name, "_{byte:02x}");
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_ids_keep_their_names_and_others_are_harmless() {
        assert_eq!(name_of("n1"), "n1");
        assert_eq!(name_of("bank-7.eu"), "bank-7.eu");
        assert_eq!(name_of("../a b"), "_2e._2fa_20b");
        assert_eq!(name_of("a_b"), "a_5fb");
        assert_eq!(name_of("ß"), "_c3_9f");
    }

    proptest! {
        #[test]
        fn different_ids_have_different_names(ids in prop::collection::hash_set(".{1,8}", 2..20)) {
            let names: HashSet<String> = ids.iter().map(|id| name_of(id)).collect();
            prop_assert_eq!(names.len(), ids.len());
            for name in names {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                prop_assert!(name.chars().all(is_plain) && !name.starts_with('.'));
            }
        }
    }
}
