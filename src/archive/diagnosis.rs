//! What an error of a storage means.

use std::error::Error as StdError;

use object_store::Error;

/// What S3 says if another request for the object is under way: whether there will be one is not known.
const CONFLICT: &str = "ConditionalRequestConflict";

pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::AlreadyExists { source, .. } if source.to_string().contains(CONFLICT))
}

/// What storages say if the first bytes of an object are asked for that has none.
const EMPTY: [&str; 2] = [
    "416 Range Not Satisfiable",
    "starting at 0, but object was only 0 bytes long",
];

/// How an answer is said to be missing, before the time for which it was waited.
pub(super) const NO_ANSWER: &str = "no answer within ";

/// Whether the first bytes of an object were asked for, and it has none.
pub(super) fn is_empty(error: &Error) -> bool {
    let Error::Generic { source, .. } = error else {
        return false;
    };
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
    while let Some(error) = source {
        let text = error.to_string();
        if EMPTY.iter().any(|part| text.contains(part)) {
            return true;
        }
        source = error.source();
    }
    false
}

/// What to look at first, before the storage's own words, and whether another attempt may succeed.
#[derive(Clone, Copy)]
pub(super) struct Diagnosis {
    pub(super) advice: &'static str,
    pub(super) again: bool,
}

impl Diagnosis {
    const NO_PLACE: Self = Self {
        advice: "there is no such bucket, container or directory: ",
        again: false,
    };
    const NOT_PERMITTED: Self = Self {
        advice: "the storage refuses these credentials, or does not permit them this: ",
        again: false,
    };
    const NO_CREDENTIALS: Self = Self {
        advice: "there are no credentials in the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, \
                 AZURE_STORAGE_ACCOUNT_KEY or others of these services), and this machine has no role: ",
        again: true,
    };
    const FULL: Self = Self {
        advice: "the file system of the archive is full: ",
        again: true,
    };
    const READ_ONLY: Self = Self {
        advice: "the directory of the archive may not be written: ",
        again: true,
    };
    const NO_PERMISSION: Self = Self {
        advice: "the user of this program lacks the permission for a file or directory: ",
        again: true,
    };
    const OTHER_TLS: Self = Self {
        advice: "the endpoint does not speak TLS as https:// expects it; if it is one without, write http:// and set \
                 AWS_ALLOW_HTTP=true (GOOGLE_ALLOW_HTTP, AZURE_ALLOW_HTTP): ",
        again: true,
    };
    const REFUSED: Self = Self {
        advice: "nothing listens at the endpoint: ",
        again: true,
    };

    pub(super) fn of(error: &Error) -> Self {
        match error {
            // A missing object is no failure, so what is missing is the place for it.
            Error::NotFound { .. } => Self::NO_PLACE,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::NOT_PERMITTED,
            Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. } => Self {
                advice: "",
                again: false,
            },
            // The program is ending.
            Error::JoinError { source } if source.is_cancelled() => Self {
                advice: "",
                again: false,
            },
            other => Self::of_text(&told(other)),
        }
    }

    // Lists and metadata services have no errors of their own kind.
    fn of_text(text: &str) -> Self {
        let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        if says(&["NoSuchBucket", "ContainerNotFound"]) {
            Self::NO_PLACE
        } else if says(&[
            "/latest/api/token",
            "/computeMetadata/",
            "/metadata/identity/",
        ]) {
            // Also if the service of the machine forbids it.
            Self::NO_CREDENTIALS
        } else if says(&["403 Forbidden", "401 Unauthorized"]) {
            Self::NOT_PERMITTED
        } else if says(&["No space left on device", "Disk quota exceeded"]) {
            Self::FULL
        } else if says(&["Read-only file system"]) {
            Self::READ_ONLY
        } else if says(&["Permission denied"]) {
            Self::NO_PERMISSION
        } else if says(&["InvalidContentType", "invalid peer certificate"]) {
            Self::OTHER_TLS
        } else if says(&["Connection refused"]) {
            Self::REFUSED
        } else {
            Self {
                advice: "",
                again: true,
            }
        }
    }
}

/// A failure without the names of hosts, buckets and objects: the advice if there is one, or how the storage has answered.
pub(super) fn in_short(advice: &str, told: &str) -> String {
    if !advice.is_empty() {
        return advice.trim_end_matches(": ").to_owned();
    }
    let behind = |part: &str| told.split_once(part).map(|(_, behind)| behind);
    if let Some(status) = behind("status code: ") {
        let status = status.split(':').next().unwrap_or_default();
        return format!("it answers {}", status.trim());
    }
    match behind(NO_ANSWER) {
        Some(limit) => format!("{NO_ANSWER}{limit}"),
        None => "the log says why".to_owned(),
    }
}

/// The words of an error in one line, with its first cause, which is what says why a connection failed.
pub(super) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause: &dyn StdError = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let first = cause.to_string();
    if !text.contains(&first) {
        text = format!("{text}: {first}");
    }
    without_xml(&text)
}

// Of an XML document, which S3 answers with, the code and the message.
fn without_xml(text: &str) -> String {
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>"))
            .map(|(field, _)| field)
    };
    let begin = text.find("<?xml").or_else(|| text.find("<Error>"));
    let end = text.rfind("</Error>").map(|at| at + "</Error>".len());
    let text = match (begin, end, field("Code")) {
        (Some(begin), Some(end), Some(code)) if begin < end => {
            let message = field("Message").unwrap_or_default();
            format!("{}{code}: {message}{}", &text[..begin], &text[end..])
        }
        _ => text.to_owned(),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this the log has four lines of XML, or "error sending request" and no word of why.
    #[test]
    fn an_answer_of_s3_and_the_first_cause_are_told_in_one_line() {
        let document = "<?xml version=\"1.0\"?>\n<Error>\n  <Code>NoSuchBucket</Code>\n  <Message>It does not \
                        exist</Message>\n  <RequestId>1</RequestId>\n</Error>";
        let error = Error::Generic {
            store: "S3",
            source: format!("404 Not Found: {document}\n").into(),
        };
        assert_eq!(
            told(&error),
            "Generic S3 error: 404 Not Found: NoSuchBucket: It does not exist"
        );
        let refused = std::io::Error::from_raw_os_error(111);
        let error = Error::Generic {
            store: "S3",
            source: Box::new(Outer(refused)),
        };
        let told = told(&error);
        assert!(told.contains("Connection refused"), "{told}");
        assert!(Diagnosis::of(&error).advice.contains("nothing listens"));
    }

    #[test]
    fn a_full_disk_an_endpoint_without_tls_and_missing_credentials_are_named() {
        for (text, advice) in [
            ("No space left on device (os error 28)", "is full"),
            ("Read-only file system (os error 30)", "may not be written"),
            ("Permission denied (os error 13)", "lacks the permission"),
            (
                "received corrupt message of type InvalidContentType",
                "AWS_ALLOW_HTTP",
            ),
            (
                "PUT http://169.254.169.254/latest/api/token: 403 Forbidden",
                "AWS_ACCESS_KEY_ID",
            ),
        ] {
            let error = Error::Generic {
                store: "any",
                source: text.into(),
            };
            let diagnosis = Diagnosis::of(&error);
            assert!(diagnosis.advice.contains(advice), "{}", diagnosis.advice);
            assert!(diagnosis.again);
        }
    }

    // Without this whoever reads `/readyz` would learn the names of buckets, or nothing.
    #[test]
    fn a_failure_in_short_names_no_place() {
        for (advice, told, short) in [
            (
                "the storage refuses: ",
                "403 at http://s3/bucket",
                "the storage refuses",
            ),
            (
                "",
                "Generic S3 error: PUT http://s3/bucket/key in 3ms - Server returned non-2xx status code: 503 Service \
                 Unavailable: SlowDown: bucket",
                "it answers 503 Service Unavailable",
            ),
            (
                "",
                "Generic error: no answer within 30 s",
                "no answer within 30 s",
            ),
            ("", "http://s3/bucket: broken pipe", "the log says why"),
        ] {
            assert_eq!(in_short(advice, told), short);
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct Outer(#[source] std::io::Error);
}
