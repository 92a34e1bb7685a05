//! A canvas of characters. Lines are drawn in the dots of braille characters, two by four in each cell.

use std::fmt::Write as _;

/// The dots of a braille character, by column and row.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
const BRAILLE: u32 = 0x2800;

/// The ink of a cell, the least important first: a cell shows the most important of those that were drawn into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ink {
    Plain,
    Dim,
    Marker,
    Partial,
    Cut,
    Flight,
}

impl Ink {
    // The escape sequence that selects the colour.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "\x1b[0m",
            Self::Dim => "\x1b[90m",
            Self::Marker => "\x1b[37m",
            Self::Partial => "\x1b[33m",
            Self::Cut => "\x1b[32m",
            Self::Flight => "\x1b[35m",
        }
    }
}

#[derive(Clone, Copy)]
struct Cell {
    dots: u8,
    text: Option<char>,
    ink: Ink,
}

/// The canvas. Whatever lies outside is not drawn.
pub(super) struct Canvas {
    columns: usize,
    cells: Vec<Cell>,
}

/// A point in dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dot {
    pub(super) x: i64,
    pub(super) y: i64,
}

/// A pattern of a line: so many dots, then so many gaps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dash {
    pub(super) dots: i64,
    pub(super) gap: i64,
}

pub(super) const SOLID: Dash = Dash { dots: 1, gap: 0 };

impl Canvas {
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        let empty = Cell {
            dots: 0,
            text: None,
            ink: Ink::Plain,
        };
        Self {
            columns,
            cells: vec![empty; columns * rows],
        }
    }

    fn cell(&mut self, column: i64, row: i64) -> Option<&mut Cell> {
        let column = usize::try_from(column).ok()?;
        let row = usize::try_from(row).ok()?;
        if column >= self.columns {
            return None;
        }
        self.cells.get_mut(row * self.columns + column)
    }

    /// Draws a line, both ends included (Bresenham 1965).
    pub(super) fn line(&mut self, from: Dot, to: Dot, dash: Dash, ink: Ink) {
        let (dx, dy) = ((to.x - from.x).abs(), -(to.y - from.y).abs());
        let (step_x, step_y) = ((to.x - from.x).signum(), (to.y - from.y).signum());
        let (mut at, mut error) = (from, dx + dy);
        for number in 0.. {
            if number % (dash.dots + dash.gap) < dash.dots {
                self.dot(at, ink);
            }
            if at == to {
                return;
            }
            let twice = 2 * error;
            if twice >= dy {
                error += dy;
                at.x += step_x;
            }
            if twice <= dx {
                error += dx;
                at.y += step_y;
            }
        }
    }

    fn dot(&mut self, at: Dot, ink: Ink) {
        let (column, row) = (at.x.div_euclid(2), at.y.div_euclid(4));
        let within = |place: i64| usize::try_from(place).unwrap_or(0);
        let bit = DOTS[within(at.x.rem_euclid(2))][within(at.y.rem_euclid(4))];
        if let Some(cell) = self.cell(column, row) {
            cell.dots |= bit;
            cell.ink = cell.ink.max(ink);
        }
    }

    /// Writes a text over what is drawn.
    pub(super) fn text(&mut self, column: i64, row: i64, text: &str, ink: Ink) {
        for (at, c) in (column..).zip(text.chars()) {
            if let Some(cell) = self.cell(at, row) {
                (cell.text, cell.ink) = (Some(c), ink);
            }
        }
    }

    /// Whether no text is in these cells.
    pub(super) fn is_free(&mut self, column: i64, row: i64, width: i64) -> bool {
        (column..column + width)
            .all(|at| self.cell(at, row).is_some_and(|cell| cell.text.is_none()))
    }

    /// The rows as lines.
    pub(super) fn lines(&self, is_coloured: bool) -> Vec<String> {
        let rows = self.cells.chunks(self.columns.max(1));
        let rows = rows.map(|row| {
            let mut line = String::new();
            let mut ink = Ink::Plain;
            for cell in row {
                let shown = cell.text.unwrap_or_else(|| match cell.dots {
                    0 => ' ',
                    dots => char::from_u32(BRAILLE + u32::from(dots)).unwrap_or(' '),
                });
                if is_coloured && shown != ' ' && ink != cell.ink {
                    ink = cell.ink;
                    line.push_str(ink.code());
                }
                line.push(shown);
            }
            let mut line = line.trim_end().to_owned();
            if ink != Ink::Plain {
                let _ = write!(line, "{}", Ink::Plain.code());
            }
            line
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_drawn_in_dots_and_text_lies_over_it() {
        let mut canvas = Canvas::new(3, 2);
        canvas.line(Dot { x: 0, y: 0 }, Dot { x: 5, y: 7 }, SOLID, Ink::Flight);
        canvas.text(1, 1, "◆ beyond", Ink::Cut);
        let plain = canvas.lines(false);
        assert_eq!(plain, ["⠱⡀", " ◆"]);
        let coloured = canvas.lines(true);
        assert_eq!(coloured[1], " \u{1b}[32m◆\u{1b}[0m");
    }
}
