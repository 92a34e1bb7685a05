//! Percent-encoding of paths and queries, and hexadecimal digits.

/// Decodes `%XX` and `+`; `None` if the encoding is invalid or not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Whether every `%` of a path is followed by two hexadecimal digits.
pub(super) fn is_encoded(path: &str) -> bool {
    let mut rests = path.split('%').skip(1);
    rests.all(|rest| {
        let mut digits = rest.bytes().take(2).filter_map(hex);
        digits.next().is_some() && digits.next().is_some()
    })
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Encodes an id as one path segment.
pub(super) fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
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
        assert!(!is_encoded("/a%2") && !is_encoded("/%zz") && !is_encoded("%"));
    }
}
