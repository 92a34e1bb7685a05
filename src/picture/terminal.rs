//! A picture in the characters of a terminal, with the crossing messages as a list below.

use std::fmt::Write as _;

use super::bundle::{Bundle, bundles};
use super::canvas::{Canvas, Dash, Dot, Ink, SOLID};
use super::{Message, Picture};
use crate::process::hidden::is_hidden;

/// The least width of the line of time.
const PLOT_MIN: usize = 40;
/// The longest name that is shown whole.
const NAME_MAX: usize = 16;
/// Rows between lanes, if they are few.
const GAP: usize = 3;
/// More lanes than this have one row between them.
const ROOMY: usize = 12;
/// More other messages than this are not drawn: they would hide those that cross.
const OTHERS_MAX: usize = 60;
/// The most crossing messages in the list.
const LISTED_MAX: usize = 40;
const DASHED: Dash = Dash { dots: 3, gap: 3 };
const DOTTED: Dash = Dash { dots: 1, gap: 3 };
/// How far the line of a message goes whose other end is not known, in dots.
const STUB: i64 = 6;

pub(super) fn draw(picture: &Picture, columns: usize, is_coloured: bool) -> String {
    let names = picture.lanes.iter().map(|lane| lane.name.chars().count());
    let gutter = names.max().unwrap_or(0).min(NAME_MAX) + 1;
    let width = columns.saturating_sub(gutter).max(PLOT_MIN);
    let gap = if picture.lanes.len() > ROOMY { 1 } else { GAP };
    let rows = picture.lanes.len().saturating_sub(1) * (gap + 1) + 1;
    let mut plot = Plot {
        picture,
        canvas: Canvas::new(width, rows),
        width: signed(width),
        pitch: signed(gap + 1),
    };
    let arrows = bundles(picture, signed(width * 2));
    let (crossing, others): (Vec<&Bundle>, Vec<_>) =
        arrows.all.iter().partition(|arrow| arrow.first.crosses);
    let are_drawn = others.len() <= OTHERS_MAX;
    if are_drawn {
        others.iter().for_each(|arrow| plot.message(arrow));
    }
    plot.markers();
    plot.cuts();
    crossing.iter().for_each(|arrow| plot.message(arrow));
    plot.lanes();
    crossing.iter().for_each(|arrow| plot.ends(arrow));
    plot.diamonds();
    crossing.iter().for_each(|arrow| plot.label(arrow));

    let mut out = format!("{}\n\n", printable(&picture.title));
    let lines = plot.canvas.lines(is_coloured);
    for (row, line) in lines.iter().enumerate() {
        let lane = picture.lanes.get(row / (gap + 1));
        let name = lane.filter(|_| row.is_multiple_of(gap + 1));
        let name: String = name.map_or_else(String::new, |lane| short(&lane.name));
        let _ = writeln!(out, "{}", format!("{name:gutter$}{line}").trim_end());
    }
    let _ = writeln!(
        out,
        "{}",
        format!("{:gutter$}{}", "", scale(picture, width)).trim_end()
    );
    out.push_str("\n◆ state recorded   ● sent, ▲▼ delivered across the cut\n");
    for lane in picture.lanes.iter().filter(|lane| !lane.note.is_empty()) {
        let _ = writeln!(
            out,
            "{:gutter$}{}",
            short(&lane.name),
            printable(&lane.note)
        );
    }
    list(picture, &crossing, &mut out);
    let undrawn = others.iter().filter(|_| !are_drawn);
    let undrawn: usize = undrawn.map(|arrow| arrow.count).sum();
    let _ = match (undrawn, arrows.left_out) {
        (0, 0) => Ok(()),
        (undrawn, 0) => writeln!(
            out,
            "{undrawn} other messages are not drawn; the SVG shows them"
        ),
        (undrawn, left_out) => writeln!(out, "{} messages are not drawn", undrawn + left_out),
    };
    for remark in &picture.remarks {
        let _ = writeln!(out, "{}", printable(remark));
    }
    out
}

struct Plot<'a> {
    picture: &'a Picture,
    canvas: Canvas,
    width: i64,
    /// Rows from lane to lane.
    pitch: i64,
}

impl Plot<'_> {
    fn dot(&self, lane: usize, at: i64) -> Dot {
        Dot {
            x: self.picture.axis.place(at, self.width * 2 - 1),
            y: self.row(lane) * 4 + 2,
        }
    }

    fn row(&self, lane: usize) -> i64 {
        signed(lane) * self.pitch
    }

    // The ends of a message; an unknown one is near the other, or where the cut says that it must be.
    fn dots(&self, message: &Message) -> [Dot; 2] {
        let cut = |lane: usize| {
            let cuts = self.picture.cuts.iter();
            let mut points = cuts.filter_map(|cut| *cut.points.get(lane)?);
            points.next().filter(|_| message.crosses)
        };
        let beside = |lane: usize, known: Option<i64>, steps: i64| {
            let place = known
                .or_else(|| cut(lane))
                .unwrap_or(self.picture.axis.origin);
            let mut dot = self.dot(lane, place);
            dot.x += steps;
            dot
        };
        let sent = message.sent.map(|at| self.dot(message.from, at));
        let delivered = message.delivered.map(|at| self.dot(message.to, at));
        let known = cut(message.to).or(message.sent);
        let delivered = delivered.unwrap_or_else(|| beside(message.to, known, STUB));
        let known = cut(message.from).or(message.delivered);
        let sent = sent.unwrap_or_else(|| beside(message.from, known, -STUB));
        [sent, delivered]
    }

    fn message(&mut self, arrow: &Bundle) {
        let [from, to] = self.dots(&arrow.first);
        match arrow.first.crosses {
            true => self.canvas.line(from, to, SOLID, Ink::Flight),
            false => self.canvas.line(from, to, DOTTED, Ink::Dim),
        }
    }

    fn markers(&mut self) {
        for marker in &self.picture.markers {
            let from = self.dot(marker.from, marker.sent);
            let to = self.dot(marker.to, marker.delivered);
            self.canvas.line(from, to, DASHED, Ink::Marker);
        }
    }

    fn cuts(&mut self) {
        for cut in &self.picture.cuts {
            let points = cut.points.iter().enumerate();
            let points: Vec<_> = points
                .filter_map(|(lane, at)| Some(self.dot(lane, (*at)?)))
                .collect();
            let ink = if cut.is_complete {
                Ink::Cut
            } else {
                Ink::Partial
            };
            for pair in points.windows(2) {
                self.canvas.line(pair[0], pair[1], SOLID, ink);
            }
        }
    }

    fn lanes(&mut self) {
        for (index, lane) in self.picture.lanes.iter().enumerate() {
            let (stroke, ink) = match lane.is_absent {
                true => ("╌", Ink::Dim),
                false => ("─", Ink::Plain),
            };
            let line = stroke.repeat(usize::try_from(self.width).unwrap_or(0));
            self.canvas.text(0, self.row(index), &line, ink);
        }
    }

    fn ends(&mut self, arrow: &Bundle) {
        let message = arrow.first;
        let [from, to] = self.dots(&message);
        let head = if message.from < message.to {
            "▼"
        } else {
            "▲"
        };
        self.canvas
            .text(from.x / 2, self.row(message.from), "●", Ink::Flight);
        self.canvas
            .text(to.x / 2, self.row(message.to), head, Ink::Flight);
    }

    fn diamonds(&mut self) {
        for cut in &self.picture.cuts {
            let ink = if cut.is_complete {
                Ink::Cut
            } else {
                Ink::Partial
            };
            for (lane, at) in cut.points.iter().enumerate() {
                let Some(at) = at else { continue };
                let column = self.dot(lane, *at).x / 2;
                self.canvas.text(column, self.row(lane), "◆", ink);
            }
        }
    }

    // The amount beside the middle of the arrow, where there is room.
    fn label(&mut self, arrow: &Bundle) {
        let Some(label) = arrow.label(self.picture) else {
            return;
        };
        let [from, to] = self.dots(&arrow.first);
        let width = signed(label.chars().count());
        for part in [50, 35, 65] {
            let column = (from.x + (to.x - from.x) * part / 100) / 2 - width / 2;
            let row = (from.y + (to.y - from.y) * part / 100) / 4;
            if row % self.pitch != 0 && self.canvas.is_free(column, row, width) {
                self.canvas.text(column, row, &label, Ink::Flight);
                return;
            }
        }
    }
}

fn scale(picture: &Picture, width: usize) -> String {
    let mut canvas = Canvas::new(width, 1);
    for mark in picture.axis.marks() {
        let column = picture.axis.place(mark.at, signed(width) - 1);
        let length = signed(mark.label.chars().count());
        if canvas.is_free(column - 1, 0, length + 2) {
            canvas.text(column, 0, &mark.label, Ink::Dim);
        }
    }
    canvas.lines(false).concat()
}

fn list(picture: &Picture, crossing: &[&Bundle], out: &mut String) {
    let count: usize = crossing.iter().map(|arrow| arrow.count).sum();
    let amount: i128 = crossing.iter().map(|arrow| arrow.amount).sum();
    let noun = if count == 1 {
        "message crosses"
    } else {
        "messages cross"
    };
    let _ = writeln!(
        out,
        "\n{count} {noun} the cut, with {} in sum",
        picture.amounts.write(amount)
    );
    let name = |lane: usize| {
        let lane = picture.lanes.get(lane);
        lane.map_or_else(String::new, |lane| short(&lane.name))
    };
    let at =
        |at: Option<i64>| at.map_or_else(|| "not known".to_owned(), |at| picture.axis.distance(at));
    for arrow in crossing.iter().take(LISTED_MAX) {
        let message = arrow.first;
        let channel = format!("{} → {}", name(message.from), name(message.to));
        let label = arrow.label(picture).unwrap_or_default();
        let (sent, delivered) = (at(message.sent), at(message.delivered));
        let _ = writeln!(
            out,
            "  {channel:<12} {label:>16}   sent {sent}, delivered {delivered}"
        );
    }
    if crossing.len() > LISTED_MAX {
        let rest = crossing.len() - LISTED_MAX;
        let _ = writeln!(out, "  and {rest} more; --output json lists all");
    }
}

// A name that fits the column, without characters that control a terminal.
fn short(name: &str) -> String {
    let name = printable(name);
    match name.chars().count() > NAME_MAX {
        true => name.chars().take(NAME_MAX - 1).chain(['…']).collect(),
        false => name,
    }
}

fn printable(text: &str) -> String {
    let safe = text
        .chars()
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c });
    safe.collect()
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
