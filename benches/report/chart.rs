//! A growth as an SVG chart with logarithmic axes. The viewer of the picture supplies the font.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::growth::{Curve, Growth, Point};
use super::measured::grouped;

const SIZE: (u32, u32) = (760, 480);
const MARGIN: i32 = 16;
/// The height of the title and of each line of the legend.
const TITLE_HEIGHT: i32 = 34;
const LEGEND_LINE_HEIGHT: i32 = 22;
/// The space for the labels at the left; the legend begins at the same place.
const LABELS_WIDTH: i32 = 84;
const LABELS_HEIGHT: i32 = 48;
/// Distinguishable with colour vision deficiencies (Okabe and Ito).
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
];
const TEXT: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The chart as an SVG document.
///
/// # Errors
/// A figure that cannot be drawn.
pub(crate) fn svg(growth: &Growth) -> Result<String, String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let drawn = draw(&area, growth);
    drop(area);
    drawn.map_err(|error| format!("{}: {error}", growth.title))?;
    Ok(svg)
}

fn draw(area: &Area<'_>, growth: &Growth) -> Drawn {
    area.fill(&WHITE)?;
    let area = area.margin(MARGIN, MARGIN, MARGIN, MARGIN);
    let lines = i32::try_from(growth.curves.len()).unwrap_or(i32::MAX);
    let (head, plot) =
        area.split_vertically(TITLE_HEIGHT + LEGEND_LINE_HEIGHT * lines + MARGIN / 2);
    let title = (FONT, 20).into_font().color(&TEXT);
    head.draw(&Text::new(growth.title.as_str(), (0, 0), title))?;
    legend(&head, &growth.curves)?;
    plotted(&plot, growth)?;
    area.present()
}

fn legend(head: &Area<'_>, curves: &[Curve]) -> Drawn {
    for ((curve, colour), line) in curves.iter().zip(colours()).zip(0..) {
        let y = TITLE_HEIGHT + LEGEND_LINE_HEIGHT * line;
        let stroke = [(0, y + 7), (24, y + 7)];
        head.draw(&PathElement::new(stroke, colour.stroke_width(2)))?;
        head.draw(&Circle::new((12, y + 7), 3, colour.filled()))?;
        let style = (FONT, 16).into_font().color(&TEXT);
        head.draw(&Text::new(curve.what.as_str(), (34, y), style))?;
    }
    Ok(())
}

fn plotted(plot: &Area<'_>, growth: &Growth) -> Drawn {
    let points = || growth.curves.iter().flat_map(|curve| &curve.points);
    let counts = widened(decades(points().map(|point| point.count)));
    let figures = points().flat_map(|point| [point.spread.min, point.spread.max]);
    let figures = widened(decades(figures));
    let floor = figures.start;
    let mut chart = ChartBuilder::on(plot)
        .set_label_area_size(LabelAreaPosition::Left, LABELS_WIDTH)
        .set_label_area_size(LabelAreaPosition::Bottom, LABELS_HEIGHT)
        .margin_right(2 * MARGIN)
        .margin_top(MARGIN / 2)
        .build_cartesian_2d(counts.log_scale(), figures.log_scale())?;
    chart
        .configure_mesh()
        .x_desc(growth.by.as_str())
        .y_desc(growth.unit.as_str())
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style((FONT, 15).into_font().color(&TEXT))
        .axis_desc_style((FONT, 16).into_font().color(&TEXT))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (curve, colour) in growth.curves.iter().zip(colours()) {
        // A logarithmic axis has no zero: it is drawn at the bottom.
        let points = curve.points.iter().map(|Point { count, spread }| {
            (
                *count,
                [spread.min, spread.median, spread.max].map(|figure| figure.max(floor)),
            )
        });
        let medians = points
            .clone()
            .map(|(count, [_, median, _])| (count, median));
        chart.draw_series(LineSeries::new(medians, colour.stroke_width(2)))?;
        chart.draw_series(points.map(|(count, [min, median, max])| {
            ErrorBar::new_vertical(count, min, median, max, colour.filled(), 8)
        }))?;
    }
    Ok(())
}

fn colours() -> impl Iterator<Item = RGBColor> {
    COLOURS.into_iter().cycle()
}

/// The range of whole decades that contains all positive figures.
pub(crate) fn decades(figures: impl Iterator<Item = f64>) -> Range<f64> {
    let logs = figures.filter(|figure| *figure > 0.0).map(f64::log10);
    let (least, most) = logs.fold((f64::MAX, f64::MIN), |(least, most), log| {
        (least.min(log), most.max(log))
    });
    if least > most {
        return 1.0..10.0;
    }
    let from = least.floor();
    10_f64.powf(from)..10_f64.powf(most.ceil().max(from + 1.0))
}

// The labels of an axis come from sums of floating-point numbers, so that the outermost may be just outside of its range.
fn widened(range: Range<f64>) -> Range<f64> {
    range.start * 0.999..range.end * 1.001
}

fn label(tick: &f64) -> String {
    match *tick {
        large if large >= 1.0 => grouped(large, 0),
        // 0.1, and not 0.10000000000000002.
        small => format!("{:.9}", small).trim_end_matches('0').to_owned(),
    }
}
