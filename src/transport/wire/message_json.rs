//! The content of a message as JSON, shown for recorded messages and exchanged with foreign processes.

use serde::{Deserialize, Serialize};

use crate::process::clock::Lamport;
use crate::process::ids::{AccountId, Amount, Key, Malformed, ProcessId};
use crate::process::message::VALUE_BYTES_MAX;
use crate::process::message::{
    Body, Stamp, TRANSFER_ID_BYTES_MAX, Transfer, Write, is_transfer_id,
};
use crate::process::refusal::Refusal;

/// The greatest foreign clock that is followed. The own clock then passes it, so that no write wins for ever.
const CLOCK_MAX: u64 = u64::MAX / 2;

/// An invalid field of a message, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct BadMessageJson {
    field: &'static str,
    why: String,
}

impl BadMessageJson {
    fn new(field: &'static str, why: impl ToString) -> Self {
        let why = why.to_string();
        Self { field, why }
    }
}

/// The content of a message, by its kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum MessageJson<'a> {
    /// A transfer.
    Transfer {
        /// The transfer id, unique in the cluster.
        transfer_id: &'a str,
        /// The debited account.
        from_account: &'a str,
        /// The credited account.
        to_account: &'a str,
        /// The amount, minor units.
        amount: i64,
    },
    /// A write; `value` is null for a deletion. `clock` and `process` are its stamp.
    Put {
        /// The key.
        key: &'a str,
        /// The new value.
        value: Option<&'a str>,
        /// The writer's Lamport clock.
        clock: u64,
        /// The writing process.
        process: &'a str,
    },
    /// A marker of another snapshot that arrived while the channel was recorded.
    Marker {
        /// The id of that snapshot.
        snapshot_id: &'a str,
        /// The process that started it.
        initiator: &'a str,
    },
}

impl<'a> From<&'a Body> for MessageJson<'a> {
    fn from(body: &'a Body) -> Self {
        match body {
            Body::Transfer(transfer) => Self::Transfer {
                transfer_id: &transfer.transfer_id,
                from_account: transfer.from_account.as_str(),
                to_account: transfer.to_account.as_str(),
                amount: transfer.amount.units(),
            },
            Body::Put(write) => Self::Put {
                key: write.key.as_str(),
                value: write.value.as_deref(),
                clock: write.stamp.clock.0,
                process: write.stamp.process.as_str(),
            },
            Body::Marker(marker) => Self::Marker {
                snapshot_id: marker.snapshot.as_str(),
                initiator: marker.initiator.as_str(),
            },
        }
    }
}

/// A message from a foreign process.
pub struct Foreign<'a> {
    /// `transfer` or `put`.
    pub message_type: &'a str,
    /// The content, JSON in UTF-8.
    pub payload: &'a [u8],
    /// The sending process.
    pub from: &'a ProcessId,
    /// Its Lamport clock at the sending.
    pub clock: Lamport,
    /// The transfer id to use if the message has none.
    pub fallback_id: String,
}

#[derive(Deserialize)]
struct ForeignTransfer {
    transfer_id: Option<String>,
    from_account: String,
    to_account: String,
    amount: i64,
}

#[derive(Deserialize)]
struct ForeignPut {
    key: String,
    // An absent field is an error and null deletes, so that a forgotten field does not delete anything.
    #[serde(deserialize_with = "Option::deserialize")]
    value: Option<String>,
    clock: Option<u64>,
    process: Option<String>,
}

impl Foreign<'_> {
    /// Decodes the message.
    ///
    /// # Errors
    /// [`BadMessageJson`] with the name of the field.
    pub fn read(self) -> Result<Body, BadMessageJson> {
        match self.message_type {
            "transfer" => self.transfer(),
            "put" => self.put(),
            other => Err(BadMessageJson::new(
                "message_type",
                format!("{other:?} is not a known type; send \"transfer\" or \"put\""),
            )),
        }
    }

    fn transfer(self) -> Result<Body, BadMessageJson> {
        let sent: ForeignTransfer = parse(self.payload)?;
        let transfer_id = sent.transfer_id.unwrap_or(self.fallback_id);
        if !is_transfer_id(&transfer_id) {
            let why = format!("give 1 to {TRANSFER_ID_BYTES_MAX} bytes without control characters");
            return Err(BadMessageJson::new("transfer_id", why));
        }
        Ok(Body::from(Transfer {
            transfer_id: transfer_id.into(),
            from_account: parsed("from_account", &sent.from_account, AccountId::parse)?,
            to_account: parsed("to_account", &sent.to_account, AccountId::parse)?,
            amount: Amount::new(sent.amount)
                .ok_or_else(|| BadMessageJson::new("amount", Refusal::Amount(sent.amount)))?,
        }))
    }

    fn put(self) -> Result<Body, BadMessageJson> {
        let sent: ForeignPut = parse(self.payload)?;
        let bytes = sent.value.as_deref().map_or(0, str::len);
        if bytes > VALUE_BYTES_MAX {
            let why = Refusal::ValueTooLong(bytes as u64);
            return Err(BadMessageJson::new("value", why));
        }
        let clock = sent.clock.unwrap_or(self.clock.0);
        let process = match sent.process {
            Some(process) => parsed("process", &process, ProcessId::parse)?,
            None => self.from.clone(),
        };
        let stamp = Stamp {
            clock: Lamport(clock.min(self.clock.0).min(CLOCK_MAX)),
            process,
        };
        Ok(Body::from(Write {
            key: parsed("key", &sent.key, Key::parse)?,
            value: sent.value.map(Into::into),
            stamp,
        }))
    }
}

fn parsed<T>(
    field: &'static str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, Malformed>,
) -> Result<T, BadMessageJson> {
    parse(text).map_err(|why| BadMessageJson::new(field, why))
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, BadMessageJson> {
    serde_json::from_slice(payload).map_err(|why| BadMessageJson::new("payload", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message_type: &str, payload: &str) -> Result<Body, String> {
        let foreign = Foreign {
            message_type,
            payload: payload.as_bytes(),
            from: &ProcessId::parse("n2").expect("a valid id"),
            clock: Lamport(7),
            fallback_id: "n2/m1".to_owned(),
        };
        foreign.read().map_err(|bad| bad.to_string())
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let shown = [
            (
                "transfer",
                r#"{"transfer_id":"t","from_account":"a","to_account":"b","amount":9223372036854775807}"#,
            ),
            (
                "put",
                r#"{"key":"k","value":null,"clock":5,"process":"n1"}"#,
            ),
            ("put", r#"{"key":"k","value":"ü","clock":7,"process":"n2"}"#),
        ];
        for (message_type, json) in shown {
            let body = read(message_type, json).expect("it was written here");
            assert_eq!(body.kind(), message_type);
            let again = serde_json::to_string(&MessageJson::from(&body)).expect("plain fields");
            assert_eq!(again, json);
        }
    }

    #[test]
    fn a_transfer_without_a_name_gets_one_and_a_put_the_senders_clock() {
        let body = read(
            "transfer",
            r#"{"from_account":"a","to_account":"b","amount":1}"#,
        );
        let named = body.expect("it is whole");
        assert_eq!(
            named.transfer().map(|transfer| &*transfer.transfer_id),
            Some("n2/m1")
        );
        let Ok(Body::Put(write)) = read("put", r#"{"key":"k","value":"v","clock":99}"#) else {
            unreachable!("it is a put")
        };
        assert_eq!(
            write.stamp.clock,
            Lamport(7),
            "no write is newer than its message"
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_name() {
        let refused = [
            ("loan", "{}", "message_type"),
            ("transfer", "{", "payload"),
            (
                "transfer",
                r#"{"from_account":"a","to_account":"b","amount":1.5}"#,
                "payload",
            ),
            (
                "transfer",
                r#"{"from_account":"","to_account":"b","amount":1}"#,
                "from_account",
            ),
            (
                "transfer",
                r#"{"from_account":"a","to_account":"b","amount":0}"#,
                "amount",
            ),
            ("put", r#"{"key":"k"}"#, "payload"),
        ];
        for (message_type, json, named) in refused {
            let sentence = read(message_type, json).expect_err("it is malformed");
            assert!(sentence.contains(named), "{json}: {sentence}");
        }
    }
}
