//! Parses strace output: one call per line, or its beginning and end on separate lines if another thread came between.

/// strace truncates longer strings. Only the engine's clearing of the rest of a segment is longer.
pub(crate) const BYTES_SHOWN: &str = "1048576";

/// A traced call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Everything between the parentheses.
    pub(crate) arguments: String,
    pub(crate) result: i64,
    /// The line numbers of its beginning and end.
    pub(crate) began: usize,
    pub(crate) ended: usize,
}

/// Returns the successful calls of a trace, in the order in which they began.
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
            let index = open.iter().position(|(other, ..)| *other == thread);
            let Some((_, begun, began)) = index.map(|index| open.remove(index)) else {
                continue;
            };
            let tail = resumed.split_once(" resumed>").map_or("", |(_, tail)| tail);
            calls.extend(call(&(begun + tail), began, number));
        } else {
            calls.extend(call(rest, number, number));
        }
    }
    // A call that never returned because of a kill may or may not have taken effect: it began and never ends.
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

/// Returns the path in `3</the/path>`.
pub(crate) fn path_of(descriptor: &str) -> Option<String> {
    let (_, rest) = descriptor.split_once('<')?;
    Some(text(rest.split_once('>')?.0))
}

/// Returns the bytes that a call wrote; strace shows every byte in the form `\x2f`.
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
    // A write may have been short, and a call that was killed reports no length.
    Some(bytes)
}

/// Returns the quoted strings among the arguments as text.
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
