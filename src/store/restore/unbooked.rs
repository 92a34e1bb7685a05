//! The sum that could not be booked when a store was made from a snapshot. The store keeps it; the node and `store check`
//! report it.

use crate::history::process_totals::Rebooked;
use crate::store::Store;
use crate::store::engine::schema;
use crate::store::engine::schema::{BOOKED, UNBOOKED};
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

impl Store {
    /// The amount in minor units that could not be booked when the store was made from a snapshot; negative if its
    /// accounts have more than there was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unbooked(&self) -> Result<i128, StoreError> {
        unbooked(&self.meta)
    }

    /// What was booked and what was not when the store was made from a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rebooked(&self) -> Result<Rebooked, StoreError> {
        let booked = schema::get::<u64>(&self.meta, BOOKED, Kind::Number)?;
        let booked = booked.map_or(0, |booked| booked.cast_signed().into());
        let unbooked = self.unbooked()?;
        Ok(Rebooked { booked, unbooked })
    }

    /// Notes what was booked and what was not when the store was made from a snapshot; durable with the next turn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_rebooked(&self, rebooked: Rebooked) -> Result<(), StoreError> {
        let Rebooked { booked, unbooked } = rebooked;
        if let Some(sum) = i64::try_from(booked).ok().filter(|sum| *sum != 0) {
            schema::put_numbers(&self.meta, [(BOOKED, sum.cast_unsigned())])?;
        }
        if unbooked != 0 {
            schema::put(&self.meta, UNBOOKED, Kind::Number, &unbooked)?;
        }
        Ok(())
    }
}

/// As [`Store::unbooked`], for a store that is not open.
pub(in crate::store) fn unbooked(meta: &sled::Tree) -> Result<i128, StoreError> {
    Ok(schema::get(meta, UNBOOKED, Kind::Number)?.unwrap_or(0))
}

/// The unbooked amount as a sentence for operators.
#[must_use]
pub fn unbooked_sentence(unbooked: i128) -> String {
    let (amount, advice) = match unbooked {
        ..0 => (
            -unbooked,
            "more was sent than its accounts hold; debit the accounts that paid",
        ),
        _ => (
            unbooked,
            "more was received than the account suspense can hold",
        ),
    };
    format!(
        "the store was restored from a snapshot, and {amount} minor units since then are not booked: {advice}"
    )
}
