//! Space-time pictures of snapshots: a line per process, time to the right, a diamond where a state was recorded, messages that
//! cross the cut with their amounts. Drawn as SVG or in the characters of a terminal.
//!
//! Pure: a [`Picture`] in, text out. It does not know where the facts come from.

mod amount;
mod axis;
mod bundle;
mod canvas;
mod svg;
mod terminal;

pub use amount::Amounts;
pub use axis::{Axis, Unit};

/// Everything that is drawn. Instants are in the unit of the axis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picture {
    /// What it shows.
    pub title: String,
    /// The interval.
    pub axis: Axis,
    /// The processes, from top to bottom.
    pub lanes: Vec<Lane>,
    /// The cuts.
    pub cuts: Vec<Cut>,
    /// The recordings of channels.
    pub recordings: Vec<Recording>,
    /// The markers.
    pub markers: Vec<Marker>,
    /// The messages.
    pub messages: Vec<Message>,
    /// How amounts are written.
    pub amounts: Amounts,
    /// Sentences below the picture: what is not in it.
    pub remarks: Vec<String>,
}

/// The line of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// A few words below the name.
    pub note: String,
    /// Whether it recorded no state.
    pub is_absent: bool,
}

/// A cut: where each process recorded its state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    /// The name, drawn if there are several.
    pub name: String,
    /// By lane.
    pub points: Vec<Option<i64>>,
    /// Whether the snapshot is complete.
    pub is_complete: bool,
}

/// A channel that was recorded, from the recording of the receiver to its marker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recording {
    /// The lane of the receiver.
    pub lane: usize,
    /// When the receiver recorded its state.
    pub from: i64,
    /// When the marker came; `None` if it did not.
    pub to: Option<i64>,
    /// The channel.
    pub label: String,
}

/// A marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marker {
    /// The lane of the sender.
    pub from: usize,
    /// The lane of the receiver.
    pub to: usize,
    /// When it was sent.
    pub sent: i64,
    /// When it was delivered.
    pub delivered: i64,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Message {
    /// The lane of the sender.
    pub from: usize,
    /// The lane of the receiver.
    pub to: usize,
    /// When it was sent, if known.
    pub sent: Option<i64>,
    /// When it was delivered, if known.
    pub delivered: Option<i64>,
    /// The amount of a transfer, minor units.
    pub amount: Option<i64>,
    /// Whether it crosses a cut.
    pub crosses: bool,
}

impl Picture {
    /// The picture as a self-contained SVG document, for light and dark surroundings.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::draw(self)
    }

    /// The picture in characters, `columns` wide, in colours if wanted.
    #[must_use]
    pub fn text(&self, columns: usize, is_coloured: bool) -> String {
        terminal::draw(self, columns, is_coloured)
    }

    /// How many messages cross a cut.
    #[must_use]
    pub fn crossing(&self) -> usize {
        let crossing = self.messages.iter().filter(|message| message.crosses);
        crossing.count()
    }
}

#[cfg(test)]
mod tests;
