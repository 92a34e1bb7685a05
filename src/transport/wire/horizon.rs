//! The retention horizon in an error: a status that names the earliest instant for which the process answers.

use tonic::Status;

use crate::process::clock::Hlc;

/// The metadata entry with the earliest clock value that is answered.
const SINCE: &str = "snapledger-since";

/// The status for a query before the horizon.
#[must_use]
pub fn before_horizon(since: Hlc, sentence: &str) -> Status {
    let mut status = Status::out_of_range(sentence);
    status.metadata_mut().insert(SINCE, since.0.into());
    status
}

/// The earliest answered clock value, if the status names one.
#[must_use]
pub fn answers_since(status: &Status) -> Option<Hlc> {
    let since = status.metadata().get(SINCE)?.to_str().ok()?;
    since.parse().ok().map(Hlc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instant_travels_with_the_status() {
        let status = before_horizon(Hlc::at(7), "too early");
        assert_eq!(answers_since(&status), Some(Hlc::at(7)));
        assert_eq!(answers_since(&Status::out_of_range("too early")), None);
    }
}
