//! Curves as an SVG chart with logarithmic axes: linear growth has slope one, constant cost is level. The viewer
//! supplies the font.

use std::fmt::Write as _;

use super::super::claims::grouped;
use super::super::figures::Spread;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
/// With space for the title and the names of two curves.
const TOP: f64 = 96.0;
const BOTTOM: f64 = 60.0;
/// Distinguishable with colour vision deficiencies (Okabe and Ito).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// A chart.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// The label of the horizontal axis.
    pub(super) cause: &'a str,
    pub(super) unit: &'a str,
    pub(super) curves: &'a [Curve],
}

/// A curve: figures by cause.
pub(super) struct Curve {
    pub(super) what: String,
    pub(super) points: Vec<(f64, Spread)>,
}

/// A range of whole decades.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Decades {
    from: i32,
    until: i32,
}

impl Decades {
    // The range that contains all positive figures.
    fn around(figures: impl Iterator<Item = f64>) -> Self {
        let logs = figures.filter(|figure| *figure > 0.0).map(f64::log10);
        let (least, most) = logs.fold((f64::MAX, f64::MIN), |(least, most), log| {
            (least.min(log), most.max(log))
        });
        if least > most {
            return Self { from: 0, until: 1 };
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the logarithm of a finite number is small"
        )]
        let (from, until) = (least.floor() as i32, most.ceil() as i32);
        let until = until.max(from + 1);
        Self { from, until }
    }

    // The position within the range, from 0 to 1.
    fn share(self, figure: f64) -> f64 {
        let log = figure.log10().max(f64::from(self.from));
        (log - f64::from(self.from)) / f64::from(self.until - self.from)
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        (self.from..=self.until).map(|decade| 10_f64.powi(decade))
    }
}

struct Frame {
    x: Decades,
    y: Decades,
}

impl Frame {
    fn x(&self, figure: f64) -> f64 {
        LEFT + self.x.share(figure) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, figure: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(figure) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart<'_> {
    pub(super) fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let frame = Frame {
            x: Decades::around(points().map(|(cause, _)| *cause)),
            y: Decades::around(points().flat_map(|(_, of)| [of.min, of.max])),
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        text(&mut svg, middle, 20.0, "middle", self.title);
        text(&mut svg, middle, HEIGHT - 15.0, "middle", self.cause);
        text(&mut svg, 10.0, TOP - 12.0, "start", self.unit);
        grid(&mut svg, &frame);
        for (place, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            curve.draw(&mut svg, &frame, colour);
            let (x, y) = (LEFT, 44.0 + place as f64 * 18.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
                y - 6.0
            );
            text(&mut svg, x + 20.0, y, "start", &curve.what);
        }
        svg + "</svg>\n"
    }
}

fn grid(svg: &mut String, frame: &Frame) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in frame.x.ticks() {
        let x = frame.x(tick);
        line(svg, [x, TOP, x, bottom], "#ddd");
        text(svg, x, bottom + 18.0, "middle", &label(tick));
    }
    for tick in frame.y.ticks() {
        let y = frame.y(tick);
        line(svg, [LEFT, y, right, y], "#ddd");
        text(svg, LEFT - 8.0, y + 4.0, "end", &label(tick));
    }
}

impl Curve {
    // The medians as a line, with bars from minimum to maximum.
    fn draw(&self, svg: &mut String, frame: &Frame, colour: &str) {
        let mut path = String::new();
        for (cause, of) in &self.points {
            let (x, y) = (frame.x(*cause), frame.y(of.median));
            let _ = write!(path, "{x:.1},{y:.1} ");
            line(svg, [x, frame.y(of.min), x, frame.y(of.max)], colour);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        let path = path.trim_end();
        let _ = writeln!(
            svg,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
    }
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

// Draws text at (x, y); `anchor` is the end of the text that is placed there.
fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn label(tick: f64) -> String {
    if tick >= 1.0 {
        grouped(tick, 0)
    } else {
        format!("{tick}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_hold_all_that_is_shown() {
        let around = |figures: &[f64]| {
            let Decades { from, until } = Decades::around(figures.iter().copied());
            (from, until)
        };
        assert_eq!(around(&[12.0, 990.0]), (1, 3));
        assert_eq!(around(&[100.0]), (2, 3), "never without a width");
        assert_eq!(around(&[0.0]), (0, 1));
        assert_eq!(around(&[]), (0, 1));
        let decades = Decades { from: 0, until: 2 };
        assert_eq!(
            [1.0, 10.0, 100.0].map(|of| decades.share(of)),
            [0.0, 0.5, 1.0]
        );
        assert_eq!(decades.share(0.0), 0.0, "what is nothing is at the bottom");
    }

    #[test]
    fn a_picture_has_each_curve() {
        let curve = Curve {
            what: "a < b & c".to_owned(),
            points: vec![(10.0, Spread::of([1.0, 2.0])), (1000.0, Spread::of([3.0]))],
        };
        let chart = Chart {
            title: "t",
            cause: "c",
            unit: "ms",
            curves: &[curve],
        };
        let svg = chart.svg();
        assert_eq!(svg.matches("<circle ").count(), 2);
        assert!(svg.contains("a &lt; b &amp; c"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
