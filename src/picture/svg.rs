//! A picture as an SVG document. All styles are inside, for light and dark surroundings; nothing is loaded.
//!
//! Coordinates are integers in tenths of a pixel, so that the same facts give the same document everywhere.

use std::fmt::{self, Write as _};

use super::bundle::{Bundle, bundles};
use super::{Cut, Picture};
use crate::process::hidden::is_hidden;

/// The drawing in tenths of a pixel.
const WIDTH: i64 = 11_040;
const LEFT: i64 = 1_340;
const RIGHT: i64 = 240;
const LENGTH: i64 = WIDTH - LEFT - RIGHT;
const TOP: i64 = 1_030;
/// Between lanes, if they are few.
const GAP: i64 = 920;
const GAP_MIN: i64 = 300;
/// The height of all gaps together, as far as they can be narrowed.
const GAPS: i64 = 6_000;
/// How far the line of a message goes whose other end is not known.
const STUB: i64 = 240;
/// The most amounts that are written; further arrows have none.
const LABELS_MAX: usize = 200;
const PALETTE: usize = 6;

const STYLE: &str = include_str!("picture.css");

pub(super) fn draw(picture: &Picture) -> String {
    let mut drawing = Drawing::new(picture);
    // Writing to a string does not fail.
    let _ = drawing.all();
    drawing.out
}

struct Drawing<'a> {
    picture: &'a Picture,
    gap: i64,
    out: String,
}

impl<'a> Drawing<'a> {
    fn new(picture: &'a Picture) -> Self {
        let gaps = i64::try_from(picture.lanes.len()).unwrap_or(1).max(2) - 1;
        Self {
            picture,
            gap: GAP.min((GAPS / gaps).max(GAP_MIN)),
            out: String::new(),
        }
    }

    fn all(&mut self) -> fmt::Result {
        let picture = self.picture;
        let arrows = bundles(picture, LENGTH / 10);
        let mut remarks = picture.remarks.clone();
        if arrows.is_coarse {
            let (messages, arrows) = (picture.messages.len() - arrows.left_out, arrows.all.len());
            remarks.push(format!(
                "{messages} messages are drawn as {arrows} arrows: those close together are one."
            ));
        }
        if arrows.left_out > 0 {
            let left_out = arrows.left_out;
            remarks.push(format!(
                "{left_out} messages have no arrow: those across the cut and the heaviest others are drawn."
            ));
        }
        let height = self.bottom() + 640 + 200 * i64::try_from(remarks.len()).unwrap_or(0);
        let title = escaped(&picture.title);
        let told = escaped(&self.told());
        writeln!(
            self.out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-labelledby="t d">
<title id="t">{title}</title>
<desc id="d">{told}</desc>
<style>
{STYLE}</style>
<defs>
<marker id="m" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="f-msg" d="M0 1L8 4L0 7z"/></marker>
<marker id="k" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="f-ink" d="M0 1L8 4L0 7z"/></marker>
<marker id="v" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" markerHeight="6" orient="auto-start-reverse"><path class="f-flight" d="M0 .5L8 4L0 7.5z"/></marker>
<clipPath id="p"><rect x="{}" y="0" width="{}" height="{}"/></clipPath>
</defs>
<rect class="ground" width="100%" height="100%" rx="8"/>"#,
            px(WIDTH),
            px(height),
            px(LEFT),
            px(LENGTH),
            px(height),
        )?;
        writeln!(
            self.out,
            r#"<text class="title" x="16" y="26">{title}</text>"#
        )?;
        self.legend()?;
        self.scale()?;
        self.shade()?;
        self.lanes()?;
        writeln!(self.out, r#"<g clip-path="url(#p)">"#)?;
        let mut others = arrows.all.iter().filter(|arrow| !arrow.first.crosses);
        others.try_for_each(|arrow| self.other(arrow))?;
        self.markers()?;
        self.recordings()?;
        self.cuts()?;
        let crossing: Vec<_> = arrows.all.iter().filter(|one| one.first.crosses).collect();
        self.crossing(&crossing)?;
        writeln!(self.out, "</g>")?;
        for (remark, line) in remarks.iter().zip(0..) {
            let y = px(self.bottom() + 640 + 200 * line);
            let remark = escaped(remark);
            writeln!(
                self.out,
                r#"<text class="axis" x="16" y="{y}">{remark}</text>"#
            )?;
        }
        writeln!(self.out, "</svg>")
    }

    // What a reader hears who does not see it.
    fn told(&self) -> String {
        let picture = self.picture;
        let crossing = picture.messages.iter().filter(|message| message.crosses);
        let amount: i128 = crossing
            .clone()
            .filter_map(|one| one.amount)
            .map(i128::from)
            .sum();
        format!(
            "A line for each of {} processes, time to the right. {} of {} messages cross the cut, with {} in sum.",
            picture.lanes.len(),
            crossing.count(),
            picture.messages.len(),
            picture.amounts.write(amount),
        )
    }

    fn legend(&mut self) -> fmt::Result {
        let y = 48;
        let is_complete = self.picture.cuts.iter().all(|cut| cut.is_complete);
        let cut = if is_complete { "complete" } else { "partial" };
        writeln!(
            self.out,
            r##"<g class="legend">
<path class="f-{cut}" d="M21 {a}l6 6-6 6-6-6z"/><text x="33" y="{t}">state recorded</text>
<path class="cut {cut}" d="M136 {y}h20"/><text x="162" y="{t}">the cut</text>
<path class="marker" d="M220 {y}h20"/><text x="246" y="{t}">marker</text>
<path class="flight" d="M302 {y}h20"/><text x="328" y="{t}">in flight: crosses the cut</text>
<path class="msg" d="M486 {y}h20"/><text x="512" y="{t}">other message</text>
<rect class="f-flight bar" x="610" y="{b}" width="20" height="4" rx="2"/><text x="636" y="{t}">channel recorded until its marker</text>
</g>"##,
            a = y - 6,
            b = y - 2,
            t = y + 4,
        )
    }

    fn scale(&mut self) -> fmt::Result {
        let (top, bottom) = (px(TOP - 320), px(self.bottom()));
        let text = px(self.bottom() + 200);
        for mark in self.picture.axis.marks() {
            let x = px(self.x(mark.at));
            writeln!(
                self.out,
                r#"<path class="grid" d="M{x} {top}V{bottom}"/><text class="axis" x="{x}" y="{text}" text-anchor="middle">{}</text>"#,
                mark.label
            )?;
        }
        Ok(())
    }

    // What is in the snapshot, where there is one cut through all lanes.
    fn shade(&mut self) -> fmt::Result {
        let [cut] = &self.picture.cuts[..] else {
            return Ok(());
        };
        let Some(line) = self.line(cut) else {
            return Ok(());
        };
        let (left, top, bottom) = (px(LEFT), px(TOP - 320), px(self.bottom()));
        let (x, y) = (px(WIDTH - RIGHT), px(TOP - 180));
        writeln!(
            self.out,
            r#"<path class="shade" d="M{left} {top}L{line}L{left} {bottom}z"/>
<text class="axis side" x="{x}" y="{y}" text-anchor="end">after the cut</text>"#
        )?;
        // Where the cut begins far enough to the right of it.
        let first = cut.points.iter().flatten().next();
        if first.is_some_and(|at| self.x(*at) > LEFT + 1_200) {
            let (x, kind) = (px(LEFT + 80), kind(cut));
            writeln!(
                self.out,
                r#"<text class="f-{kind} side" x="{x}" y="{y}">in the snapshot</text>"#
            )?;
        }
        Ok(())
    }

    fn lanes(&mut self) -> fmt::Result {
        for (index, lane) in self.picture.lanes.iter().enumerate() {
            let y = self.y(index);
            let kind = match lane.is_absent {
                true => "absent".to_owned(),
                false => format!("lane l{}", index % PALETTE),
            };
            let (name, note) = (escaped(&lane.name), escaped(&lane.note));
            writeln!(
                self.out,
                r#"<path class="{kind}" d="M{} {}H{}"/><text class="name" x="16" y="{}">{name}</text><text class="axis" x="16" y="{}">{note}</text>"#,
                px(LEFT),
                px(y),
                px(WIDTH - RIGHT),
                px(y - 10),
                px(y + 150),
            )?;
        }
        Ok(())
    }

    fn other(&mut self, arrow: &Bundle) -> fmt::Result {
        let message = arrow.first;
        let (up, down) = (self.y(message.from), self.y(message.to));
        // A third of the way, where the other end is not known.
        let part = |from: i64, to: i64| from + (to - from) * 32 / 100;
        match (message.sent, message.delivered) {
            (Some(sent), Some(delivered)) => {
                let (sent, delivered) = (self.x(sent), self.x(delivered));
                self.stroke("msg", "m", [sent, up, delivered, down])
            }
            (Some(sent), None) => {
                let end = [self.x(sent) + STUB, part(up, down)];
                self.stroke("msg open", "", [self.x(sent), up, end[0], end[1]])?;
                let [x, y] = end.map(px);
                writeln!(
                    self.out,
                    r#"<circle class="msg open" cx="{x}" cy="{y}" r="2.4"/>"#
                )
            }
            (None, Some(delivered)) => {
                let x = self.x(delivered);
                self.stroke("msg open", "m", [x - STUB, part(down, up), x, down])
            }
            (None, None) => Ok(()),
        }
    }

    fn markers(&mut self) -> fmt::Result {
        for marker in &self.picture.markers {
            let (from, to) = (self.x(marker.sent), self.x(marker.delivered));
            let ends = [from, self.y(marker.from), to, self.y(marker.to)];
            self.stroke("marker", "k", ends)?;
        }
        Ok(())
    }

    fn recordings(&mut self) -> fmt::Result {
        let mut rows = vec![0; self.picture.lanes.len()];
        for bar in &self.picture.recordings {
            let Some(row) = rows.get_mut(bar.lane) else {
                continue;
            };
            let y = self.y(bar.lane) + 80 + 110 * *row;
            let from = self.x(bar.from);
            let to = bar.to.map_or(WIDTH - RIGHT, |to| self.x(to));
            if to - from < 15 || y > self.y(bar.lane) + self.gap - 80 {
                continue;
            }
            *row += 1;
            let kind = if bar.to.is_some() {
                "flight"
            } else {
                "partial"
            };
            let label = escaped(&bar.label);
            let note = if bar.to.is_some() { "" } else { " still open" };
            let (at, anchor) = match to > WIDTH - RIGHT - 700 {
                true => (to - 60, "end"),
                false => (to + 60, "start"),
            };
            writeln!(
                self.out,
                r#"<rect class="f-{kind} bar" x="{}" y="{}" width="{}" height="4" rx="2"/><text class="small halo" x="{}" y="{}" text-anchor="{anchor}">{label}{note}</text>"#,
                px(from),
                px(y),
                px(to - from),
                px(at),
                px(y + 55),
            )?;
        }
        Ok(())
    }

    fn cuts(&mut self) -> fmt::Result {
        let are_many = self.picture.cuts.len() > 1;
        for cut in &self.picture.cuts {
            let kind = kind(cut);
            if let Some(line) = self.line(cut) {
                writeln!(self.out, r#"<path class="cut {kind}" d="M{line}"/>"#)?;
                if are_many {
                    let at = cut.points.iter().flatten().next().copied();
                    let x = px(at.map_or(LEFT, |at| self.x(at)));
                    let (y, name) = (px(TOP - 360), escaped(&cut.name));
                    writeln!(
                        self.out,
                        r#"<text class="f-{kind} side" x="{x}" y="{y}" text-anchor="middle">{name}</text>"#
                    )?;
                }
            }
            for (lane, at) in cut.points.iter().enumerate() {
                let Some(at) = at else { continue };
                let (x, y) = (px(self.x(*at)), px(self.y(lane) - 80));
                writeln!(
                    self.out,
                    r#"<path class="f-{kind} diamond" d="M{x} {y}l8 8-8 8-8-8z"/>"#
                )?;
            }
        }
        Ok(())
    }

    fn crossing(&mut self, arrows: &[&Bundle]) -> fmt::Result {
        let mut labels = Labels::default();
        let mut written = String::new();
        for arrow in arrows {
            let ends = self.ends(arrow);
            let is_known = arrow.first.sent.is_some() && arrow.first.delivered.is_some();
            let class = if is_known { "flight" } else { "flight open" };
            self.stroke(class, "v", ends)?;
            let [x, y, ..] = ends.map(px);
            writeln!(
                self.out,
                r#"<circle class="f-flight" cx="{x}" cy="{y}" r="3.4"/>"#
            )?;
            let Some(label) = arrow.label(self.picture) else {
                continue;
            };
            if labels.taken.len() == LABELS_MAX {
                continue;
            }
            let width = 64 * i64::try_from(label.chars().count()).unwrap_or(0) + 100;
            let Some(at) = labels.place(self, ends, width) else {
                continue;
            };
            let _ = writeln!(
                written,
                r#"<rect class="label" x="{}" y="{}" width="{}" height="18" rx="5"/><text class="amount" x="{}" y="{}" text-anchor="middle">{}</text>"#,
                px(at.x),
                px(at.y),
                px(width),
                px(at.x + width / 2),
                px(at.y + 130),
                escaped(&label),
            );
        }
        self.out.push_str(&written);
        Ok(())
    }

    // The ends of a crossing arrow. An unknown end lies where it must: before the cut of the sender, behind that of the receiver.
    fn ends(&self, arrow: &Bundle) -> [i64; 4] {
        let message = arrow.first;
        let cut = |lane: usize| {
            let cuts = self.picture.cuts.iter();
            let mut points = cuts.filter_map(|cut| *cut.points.get(lane)?);
            points.next().map(|at| self.x(at))
        };
        let sent = message.sent.map(|at| self.x(at));
        let sent = sent.or_else(|| cut(message.from).map(|x| x - STUB));
        let delivered = message.delivered.map(|at| self.x(at));
        let delivered = delivered.or_else(|| cut(message.to).map(|x| x + STUB));
        let sent = sent.or(delivered.map(|x| x - 2 * STUB)).unwrap_or(LEFT);
        let delivered = delivered.unwrap_or(sent + 2 * STUB);
        [sent, self.y(message.from), delivered, self.y(message.to)]
    }

    fn stroke(&mut self, class: &str, head: &str, ends: [i64; 4]) -> fmt::Result {
        let [x1, y1, x2, y2] = ends.map(px);
        let head = match head {
            "" => String::new(),
            head => format!(r##" marker-end="url(#{head})""##),
        };
        writeln!(
            self.out,
            r#"<path class="{class}" d="M{x1} {y1}L{x2} {y2}"{head}/>"#
        )
    }

    // Through the recorded lanes, from above the first to below the last.
    fn line(&self, cut: &Cut) -> Option<String> {
        let points = cut.points.iter().enumerate();
        let points = points.filter_map(|(lane, at)| Some((self.x((*at)?), self.y(lane))));
        let points: Vec<_> = points.collect();
        let (first, last) = (points.first()?, points.last()?);
        let above = (first.0, TOP - 320);
        let below = (last.0, last.1 + 340);
        let all = std::iter::once(above).chain(points.iter().copied());
        let all = all.chain(std::iter::once(below));
        let all: Vec<String> = all.map(|(x, y)| format!("{} {}", px(x), px(y))).collect();
        Some(all.join("L"))
    }

    fn x(&self, at: i64) -> i64 {
        LEFT + self.picture.axis.place(at, LENGTH)
    }

    fn y(&self, lane: usize) -> i64 {
        TOP + self.gap * i64::try_from(lane).unwrap_or(0)
    }

    fn bottom(&self) -> i64 {
        self.y(self.picture.lanes.len().saturating_sub(1)) + 340
    }
}

/// A rectangle of a label.
#[derive(Clone, Copy)]
struct Place {
    x: i64,
    y: i64,
}

/// The places of labels, which do not cover each other.
#[derive(Default)]
struct Labels {
    taken: Vec<(Place, i64)>,
}

impl Labels {
    // Along the arrow, beside lanes and other labels.
    fn place(&mut self, drawing: &Drawing<'_>, ends: [i64; 4], width: i64) -> Option<Place> {
        const HEIGHT: i64 = 180;
        let [x1, y1, x2, y2] = ends;
        for part in [50, 40, 60, 30, 70, 22, 78, 85] {
            let (x, y) = (x1 + (x2 - x1) * part / 100, y1 + (y2 - y1) * part / 100);
            let lanes = 0..drawing.picture.lanes.len();
            let mut lanes = lanes.map(|lane| drawing.y(lane));
            if lanes.any(|lane| (y - lane).abs() < 110) {
                continue;
            }
            let place = Place {
                x: x - width / 2,
                y: y - HEIGHT / 2,
            };
            let is_free = |(other, wide): &(Place, i64)| {
                place.x + width < other.x
                    || other.x + wide < place.x
                    || (place.y - other.y).abs() > HEIGHT
            };
            if self.taken.iter().all(is_free) {
                self.taken.push((place, width));
                return Some(place);
            }
        }
        None
    }
}

fn kind(cut: &Cut) -> &'static str {
    if cut.is_complete {
        "complete"
    } else {
        "partial"
    }
}

/// Tenths of a pixel as a number of pixels.
fn px(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    match tenths % 10 {
        0 => format!("{sign}{}", tenths / 10),
        rest => format!("{sign}{}.{rest}", tenths / 10),
    }
}

/// Text for XML. Characters that XML does not allow are replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            c if is_hidden(c) => safe.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
