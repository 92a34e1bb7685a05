//! Characters that make a text look like another one.

/// Whether a character shows nothing and changes what is shown: control characters, the separators of lines and paragraphs, and
/// the controls of the direction of writing (`Bidi_Control`, Unicode TR 9). Names and log lines do not have them.
#[must_use]
pub fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_all_scripts_are_shown() {
        for shown in ["till 7", "Zoë", "קופה", "صندوق", "出納"] {
            assert!(!shown.chars().any(is_hidden), "{shown}");
        }
        for hidden in [
            '\n', '\u{7f}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{200f}',
        ] {
            assert!(is_hidden(hidden), "{}", hidden.escape_unicode());
        }
    }
}
