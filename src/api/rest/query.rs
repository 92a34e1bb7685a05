//! Query parameters, parsed strictly: an unknown parameter is an error, so that a misspelt filter is never ignored.

use axum::http::Uri;

use super::super::error::{Failure, id};
use super::super::range::{Given, Range};
use super::super::time_argument;
use super::cursor::{self, PageStart, QueryFingerprint};
use super::encoding::decode;
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{Malformed, ProcessId};

/// The default number of entries in a page.
pub(in crate::api) const LIMIT_DEFAULT: usize = 50;
/// The largest number of entries in a page.
pub(in crate::api) const LIMIT_MAX: usize = 1000;

/// The parameter for the revision of a snapshot.
pub(super) const REVISION: &str = "revision";

/// The parameter for a status of snapshots.
pub(super) const STATUS: &str = "status";

/// The parameters of a request; each is known and occurs once.
pub(super) struct Parameters {
    given: Vec<(&'static str, String)>,
    question: QueryFingerprint,
}

impl Parameters {
    /// Parses the parameters of `uri`; only `known` ones are allowed.
    pub(super) fn of(uri: &Uri, known: &[&'static str]) -> Result<Self, Failure> {
        let mut given: Vec<(&'static str, String)> = Vec::new();
        let pairs = uri.query().unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| misencoded("the query"))?;
            let Some(field) = known.iter().find(|field| **field == name) else {
                return Err(unknown(&name, known));
            };
            let value = decode(value).ok_or_else(|| misencoded(field))?;
            if given.iter().any(|(other, _)| other == field) {
                return Err(Failure::malformed(*field, "is given twice; give it once"));
            }
            given.push((field, value));
        }
        // Cursor and limit may vary between pages of one query.
        let mut filters: Vec<_> = given
            .iter()
            .filter(|(name, _)| !["cursor", "limit"].contains(name))
            .collect();
        filters.sort_unstable();
        let filters = filters
            .into_iter()
            .flat_map(|(name, value)| [*name, value.as_str()]);
        let question = QueryFingerprint::of(std::iter::once(uri.path()).chain(filters));
        Ok(Self { given, question })
    }

    /// The position where the page begins.
    pub(super) fn cursor<P: PageStart>(&self) -> Result<Option<P>, Failure> {
        cursor::decode(self.question, self.get("cursor"))
    }

    /// The fingerprint of the query, the same for all of its pages.
    pub(super) fn question(&self) -> QueryFingerprint {
        self.question
    }

    /// The value of a parameter, if given.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that is an id.
    pub(super) fn id<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Failure> {
        self.get(name).map(|text| id(name, text, parse)).transpose()
    }

    /// A parameter that is a process id.
    pub(super) fn process(&self, name: &str) -> Result<Option<ProcessId>, Failure> {
        self.id(name, ProcessId::parse)
    }

    /// The `at` parameter, a past instant: a time, a date, `now`, or a relative time.
    pub(super) async fn at(&self, handle: &Handle) -> Result<Option<Hlc>, Failure> {
        match self.get("at") {
            Some(text) => time_argument::asked(handle, "at", text).await.map(Some),
            None => Ok(None),
        }
    }

    /// A parameter that is `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                let why = format!("{other:?} is neither true nor false");
                Err(Failure::malformed(name, why))
            }
        }
    }

    /// A parameter that is a revision number.
    pub(super) fn revision(&self, name: &str) -> Result<Option<u32>, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(revision) if is_number && revision > 0 => Ok(Some(revision)),
            _ => {
                let why = format!(
                    "{text:?} is not a valid revision; give a number that GET /v1/snapshots/{{id}}/revisions lists"
                );
                Err(Failure::malformed(name, why))
            }
        }
    }

    /// The `from` and `to` parameters, and the position where the page begins.
    pub(super) async fn range<P: PageStart>(
        &self,
        handle: &Handle,
    ) -> Result<(Range, Option<P>), Failure> {
        let given = Given {
            from: self.get("from"),
            to: self.get("to"),
            cursor: self.get("cursor"),
        };
        Range::of(handle, self.question, given).await
    }

    /// The `limit` parameter, if given.
    pub(super) fn limit(&self) -> Result<Option<usize>, Failure> {
        let Some(text) = self.get("limit") else {
            return Ok(None);
        };
        match text.parse() {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(Some(limit)),
            _ => {
                let why =
                    format!("{text:?} is not a valid limit; give a number from 1 to {LIMIT_MAX}");
                Err(Failure::malformed("limit", why))
            }
        }
    }

    /// The number of entries in the page.
    pub(super) fn page(&self) -> Result<usize, Failure> {
        Ok(self.limit()?.unwrap_or(LIMIT_DEFAULT))
    }
}

fn unknown(name: &str, known: &[&str]) -> Failure {
    let hint = match known {
        [] => "this route takes no parameters".to_owned(),
        known => format!("this route takes {}", known.join(", ")),
    };
    Failure::malformed(
        name.to_owned(),
        format!("there is no such parameter; {hint}"),
    )
}

fn misencoded(field: &str) -> Failure {
    Failure::malformed(field, "is not UTF-8 in percent-encoding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &'static str) -> Result<Parameters, String> {
        let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
        let uri = uri.expect("a valid URI");
        Parameters::of(&uri, &["from", "limit"]).map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_known_ones() {
        let refused = parameters("limt=5").err().expect("it is misspelt");
        assert!(refused.starts_with("limt: "), "{refused}");
        assert!(refused.ends_with("from, limit"), "{refused}");
    }

    #[test]
    fn values_are_decoded_strictly() {
        let given = parameters("from=a%2Bb+c%C3%BC").expect("it is well-formed");
        assert_eq!(given.get("from"), Some("a+b cü"));
        for odd in ["from=%ff", "from=%zz", "from=%2", "from=1&from=2"] {
            assert!(parameters(odd).is_err(), "{odd}");
        }
        assert!(parameters("").is_ok() && parameters("&").is_ok());
    }

    #[test]
    fn limits_have_borders() {
        let limit = |query| parameters(query).expect("it is well-formed").page().ok();
        assert_eq!(limit(""), Some(LIMIT_DEFAULT));
        assert_eq!(limit("limit=1000"), Some(1000));
        for odd in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit="] {
            assert_eq!(limit(odd), None, "{odd}");
        }
    }
}
