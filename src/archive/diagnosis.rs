//! What an error of a storage means.

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
            other => Self::of_text(&other.to_string()),
        }
    }

    // Lists and metadata services have no errors of their own kind.
    fn of_text(text: &str) -> Self {
        let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        if says(&["NoSuchBucket", "ContainerNotFound"]) {
            Self::NO_PLACE
        } else if says(&["403 Forbidden", "401 Unauthorized"]) {
            Self::NOT_PERMITTED
        } else if says(&[
            "/latest/api/token",
            "/computeMetadata/",
            "/metadata/identity/",
        ]) {
            Self::NO_CREDENTIALS
        } else {
            Self {
                advice: "",
                again: true,
            }
        }
    }
}
