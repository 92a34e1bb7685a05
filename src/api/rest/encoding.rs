//! Percent-encoding of paths and queries.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The bytes that are encoded in a path segment: all but the unreserved characters (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Decodes `%XX` and `+`; `None` if the encoding is invalid or not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    if !is_encoded(text) {
        return None;
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.ok().map(Into::into)
}

/// Whether every `%` is followed by two hexadecimal digits.
pub(super) fn is_encoded(text: &str) -> bool {
    let mut rests = text.split('%').skip(1);
    rests.all(|rest| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Encodes an id as one path segment.
pub(super) fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_survive_the_way_into_a_url_and_back() {
        for id in ["n1-7", "../etc", "a b+c", "100%", "ü/🦀", "a?b#c"] {
            let encoded = encode_segment(id);
            assert!(!encoded.contains(['/', ' ', '?', '#', '+']), "{encoded}");
            assert!(is_encoded(&encoded));
            assert_eq!(decode(&encoded).as_deref(), Some(id));
        }
        assert_eq!(encode_segment("-._~ü/"), "-._~%C3%BC%2F");
        for odd in ["/a%2", "/%zz", "%", "%%41", "%+1"] {
            assert!(!is_encoded(odd), "{odd}");
            assert_eq!(decode(odd), None, "{odd}");
        }
        assert_eq!(decode("%ff"), None);
        assert_eq!(decode("%c3%Bc+%2b").as_deref(), Some("ü +"));
    }
}
