//! Builds the part of a foreign process: its contents arrive as reported and are stored like those of any other part.

use std::sync::Arc;

use super::parts::Parts;
use crate::history::part::{Part, RecordedChannel, RecordedMessage, RecordedState};
use crate::history::reported::{NO_JOURNAL, ReportedState};
use crate::process::cell::Cell;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::process::message::Message;
use crate::process::topology::Topology;
use crate::store::chunks::writers::MessageWriter;
use crate::store::error::StoreError;

impl Parts<'_> {
    /// Stores what a foreign process reports about a snapshot as its part. `initiator` started the snapshot; the answer
    /// arrived at the instant `came`, the latest at which the state can have been recorded. The part is held for its
    /// collection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store_reported(
        self,
        told: ReportedState,
        topology: &Topology,
        initiator: &ProcessId,
        came: Hlc,
    ) -> Result<Part, StoreError> {
        let _writing = self.store.chunks.writing();
        let incoming = || topology.incoming(&told.process);
        let (accounts, balances) = (told.accounts.len() as u64, told.accounts.values());
        let balance_total = balances.map(|balance| i128::from(*balance)).sum();
        let figures = told.figures.unwrap_or_default();
        let figures = match figures.cover(incoming(), topology.outgoing(&told.process)) {
            true => figures,
            false => crate::history::reported::ReportedFigures::default(),
        };
        let mut recorded = told.channels;
        let (mut channels, mut open) = (Vec::new(), Vec::new());
        for from in incoming() {
            // Until the part is finished, none of its channels is known to be complete.
            if told.is_finished {
                let messages = recorded.remove(from).unwrap_or_default();
                channels.push(self.store_channel(from, messages)?);
            } else {
                open.push(from.clone());
            }
        }
        let accounts_first = told.accounts.into_iter();
        let accounts_first =
            accounts_first.map(|(account, balance)| Cell::Account { account, balance });
        let keys = told
            .keys
            .into_values()
            .map(|write| Cell::Key(Arc::new(write)));
        let cells = accounts_first.chain(keys);
        let (run, new_bytes) = self
            .store
            .chunks
            .write_run(cells.map(Ok), self.store.chunks.secret_now())?;
        let part = Part {
            snapshot: told.snapshot,
            process: told.process,
            initiator: initiator.clone(),
            state: RecordedState {
                position: Lsn(0),
                time: came,
                clock: told.clock,
                accounts,
                balance_total,
                deposits: figures.deposits,
                withdrawals: figures.withdrawals,
                sent: figures.sent,
                delivered: figures.delivered,
                journal: NO_JOURNAL,
                state_bytes: run.bytes,
                runs: vec![run],
                new_bytes,
            },
            channels,
            open,
            start: None,
        };
        self.store.chunks.hold(&part);
        Ok(part)
    }

    // Messages are numbered from 1; their numbers on the channel are internal to the process.
    fn store_channel(
        self,
        from: &ProcessId,
        messages: Vec<Message>,
    ) -> Result<RecordedChannel, StoreError> {
        let amounts = messages
            .iter()
            .filter_map(|message| message.body.transfer());
        let amounts = amounts.map(|transfer| i128::from(transfer.amount.units()));
        let (transfers, amount) = (amounts.clone().count() as u64, amounts.sum());
        let last = Seq(messages.len() as u64);
        let numbered = (1..).map(Seq).zip(messages);
        let numbered = numbered.map(|(seq, message)| RecordedMessage { seq, message });
        let mut writer = MessageWriter::new(self.store.chunks.secret_now());
        writer.push(&self.store.chunks, numbered.collect())?;
        Ok(RecordedChannel {
            from: from.clone(),
            first: Seq(1),
            last,
            transfers,
            amount,
            chunks: writer.finish(&self.store.chunks)?,
            closing: None,
        })
    }
}
