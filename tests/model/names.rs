//! A short name for every message, so that a channel is a sequence of small numbers.

use std::collections::HashMap;

use snapledger::process::clock::Lamport;
use snapledger::process::message::Message;

/// A message by its name. The clock is erased: it is only a label, and no two histories shall differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    pub(crate) name: usize,
    /// Minor units; 0 for a marker.
    pub(crate) units: i64,
}

impl Named {
    pub(crate) fn is_marker(self) -> bool {
        self.units == 0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    names: HashMap<String, usize>,
    messages: Vec<Message>,
}

impl Names {
    pub(crate) fn name(&mut self, message: &Message) -> Named {
        let message = Message {
            clock: Lamport(0),
            body: message.body.clone(),
        };
        let units = message
            .body
            .transfer()
            .map(|transfer| transfer.amount.units());
        let next = self.messages.len();
        let name = *self
            .names
            .entry(format!("{:?}", message.body))
            .or_insert(next);
        if name == next {
            self.messages.push(message);
        }
        Named {
            name,
            units: units.unwrap_or(0),
        }
    }

    pub(crate) fn message(&self, named: Named) -> Message {
        self.messages[named.name].clone()
    }
}
