//! The time range of a list, given by instants or by `now` and `-5m`. Relative bounds are resolved for the first page
//! and keep their values on later pages.

use super::error::Failure;
use super::rest::cursor::{self, PageStart, QueryFingerprint, Within};
use super::time::Instant;
use super::time_argument::{self, Bound};
use crate::node::Handle;
use crate::process::clock::Hlc;

/// The bounds of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// Inclusive.
    pub(super) from: Option<Hlc>,
    /// Exclusive.
    pub(super) to: Option<Hlc>,
    is_relative: bool,
}

/// The parameters of a request, each if given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) from: Option<&'a str>,
    pub(super) to: Option<&'a str>,
    pub(super) cursor: Option<&'a str>,
}

impl Range {
    /// The bounds, and the position after which the page begins.
    pub(super) async fn of<P: PageStart>(
        handle: &Handle,
        question: QueryFingerprint,
        given: Given<'_>,
    ) -> Result<(Self, Option<P>), Failure> {
        let bound = |field, text: Option<&str>| text.map(|text| time_argument::bound(field, text));
        let from = bound("from", given.from).transpose()?;
        let to = bound("to", given.to).transpose()?;
        let is_relative = [from, to]
            .iter()
            .any(|it| matches!(it, Some(Bound::Ago(_))));
        if is_relative && let Some(within) = cursor::decode::<Within<P>>(question, given.cursor)? {
            let Within { from, to, position } = within;
            let range = Self {
                from,
                to,
                is_relative,
            };
            return Ok((range, Some(position)));
        }
        let present = match is_relative {
            true => Instant::of_us(handle.present().await?.wall_us()),
            false => Instant::of_us(0),
        };
        let instant = |bound: Bound| bound.instant(present);
        let (from, to) = time_argument::range("from", from.map(instant), "to", to.map(instant))?;
        let range = Self {
            from,
            to,
            is_relative,
        };
        let position = match is_relative {
            true => None,
            false => cursor::decode(question, given.cursor)?,
        };
        Ok((range, position))
    }

    /// The cursor of the page that begins after `position`.
    pub(super) fn cursor(&self, question: QueryFingerprint, position: impl PageStart) -> String {
        match self.is_relative {
            true => cursor::encode(
                question,
                &Within {
                    from: self.from,
                    to: self.to,
                    position,
                },
            ),
            false => cursor::encode(question, &position),
        }
    }
}
