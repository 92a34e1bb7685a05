//! The lines of strace: one call each, or its beginning and its end apart where another thread came between.

/// Of longer strings strace shows the beginning; only the engine's clearing of a segment's rest is longer.
pub(crate) const BYTES_SHOWN: &str = "1048576";

/// A call as it was made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// All between the parentheses.
    pub(crate) arguments: String,
    pub(crate) result: i64,
    /// The lines of its beginning and of its end.
    pub(crate) began: usize,
    pub(crate) ended: usize,
}

/// The calls of a trace that succeeded, in the order in which they began.
pub(crate) fn calls(text: &str) -> Vec<Call> {
    let mut open: Vec<(&str, String, usize)> = Vec::new();
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            open.push((thread, begun.to_owned(), number));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let place = open.iter().position(|(other, ..)| *other == thread);
            let Some((_, begun, began)) = place.map(|place| open.remove(place)) else {
                continue;
            };
            let tail = resumed.split_once(" resumed>").map_or("", |(_, tail)| tail);
            calls.extend(call(&(begun + tail), began, number));
        } else {
            calls.extend(call(rest, number, number));
        }
    }
    // What never came back, because of a kill, may have been done or not: it began, and it ends never.
    for (_, begun, began) in open {
        calls.extend(call(&format!("{begun}) = 0"), began, usize::MAX));
    }
    calls.sort_by_key(|call| call.began);
    calls
}

fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let digits = result.split(['<', ' ']).next()?;
    let result: i64 = digits.parse().ok()?;
    (result >= 0).then(|| Call {
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        result,
        began,
        ended,
    })
}

/// The path in `3</the/path>`.
pub(crate) fn path_of(descriptor: &str) -> Option<String> {
    let (_, rest) = descriptor.split_once('<')?;
    Some(text(rest.split_once('>')?.0))
}

/// The bytes that a call wrote, all of them shown as `\x2f`.
pub(crate) fn bytes_of(call: &Call) -> Option<Vec<u8>> {
    let (_, rest) = call.arguments.split_once('"')?;
    let (quoted, rest) = rest.split_once('"')?;
    let mut bytes = unescaped(quoted);
    let length = usize::try_from(call.result).expect("only what succeeded is a call here");
    if rest.starts_with("...") && length > bytes.len() {
        let first = *bytes.first()?;
        assert!(
            bytes.iter().all(|byte| *byte == first),
            "cut off, and not a clearing"
        );
        bytes.resize(length, first);
    }
    // A write may have been short, and what was killed in its middle says nothing.
    Some(bytes)
}

/// The strings among arguments, as text.
pub(crate) fn texts_of(arguments: &str) -> Vec<String> {
    let quoted = arguments.split('"').skip(1).step_by(2);
    quoted.map(text).collect()
}

fn text(quoted: &str) -> String {
    match quoted.contains("\\x") {
        true => String::from_utf8_lossy(&unescaped(quoted)).into_owned(),
        false => quoted.to_owned(),
    }
}

fn unescaped(quoted: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte - b'a' + 10,
    };
    let escapes = quoted.as_bytes().chunks_exact(4);
    escapes
        .map(|escape| digit(escape[2]) << 4 | digit(escape[3]))
        .collect()
}
