//! The parts of the reports, each by itself.

use serde_json::Value;

use crate::report::chart::{decades, svg};
use crate::report::claims::{Bound, Claim, Figure, Row};
use crate::report::growth::{Curve, Growth, Point};
use crate::report::marked::Marked;
use crate::report::measured::{Measured, Spread, grouped};

#[test]
fn numbers_are_grouped() {
    assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
    assert_eq!(grouped(-1234.56, 1), "-1,234.6");
    assert_eq!(grouped(999.0, 0), "999");
}

#[test]
fn what_is_not_the_output_of_the_measurement_is_refused() {
    let read = |text| Measured::<Value>::read("all", text).map(drop);
    let other = read(r#"{"bench": "growth"}"#).expect_err("another measurement");
    assert!(
        other.contains("bench all") && other.contains("growth"),
        "{other}"
    );
    assert!(read("").is_err() && read(r#"{"bench": "all"}"#).is_err());
}

fn figure(median: f64) -> Figure {
    let spread = Spread::exactly(median);
    Figure { spread, unit: "ms" }
}

#[test]
fn a_row_is_met_when_all_its_claims_are() {
    let claim = |over, bound| Claim::ratio("x", [figure(over), figure(100.0)], bound);
    let row = |claims| Row {
        number: "P0",
        what: "x",
        target: "y",
        claims,
    };
    let met = row(Ok(vec![
        claim(150.0, Bound::AtMost(1.5)),
        claim(150.0, Bound::AtLeast(1.5)),
    ]));
    assert_eq!(met.is_met(), Some(true));
    assert!(
        met.markdown()
            .contains("x: 150 (150 – 150) / 100 (100 – 100) ms = 1.50")
    );
    let missed = row(Ok(vec![
        claim(150.0, Bound::AtMost(1.5)),
        claim(149.0, Bound::AtLeast(1.5)),
    ]));
    assert_eq!(missed.is_met(), Some(false));
    assert_eq!(row(Err("no".to_owned())).is_met(), None);
    let half = |bound| {
        let missing = Claim::missing("y", Bound::AtLeast(1.0));
        row(Ok(vec![claim(150.0, bound), missing])).is_met()
    };
    assert_eq!(half(Bound::AtLeast(1.5)), None);
    assert_eq!(half(Bound::AtLeast(1.6)), Some(false));
}

#[test]
fn only_what_is_between_the_markers_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a.md");
    std::fs::write(&path, "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n").expect("written");
    for text in ["one\n", "two\n"] {
        let marked = Marked::read(&path, "x").expect("both are there");
        marked.write(text).expect("written");
    }
    let text = std::fs::read_to_string(&path).expect("a document");
    assert_eq!(text, "a\n<!-- x: begin -->\n\ntwo\n\n<!-- x: end -->\nb\n");
    assert!(Marked::read(&path, "y").is_err());
}

#[test]
fn decades_contain_all_figures() {
    let around = |figures: &[f64]| decades(figures.iter().copied());
    assert_eq!(around(&[12.0, 990.0]), 10.0..1000.0);
    assert_eq!(around(&[100.0]), 100.0..1000.0, "a range is never empty");
    assert_eq!(around(&[0.0]), 1.0..10.0);
    assert_eq!(around(&[]), 1.0..10.0);
}

#[test]
fn a_chart_has_each_curve() {
    let point = |count, figures: [f64; 3]| {
        let [min, median, max] = figures;
        Point {
            count,
            spread: Spread { median, min, max },
        }
    };
    let growth = Growth {
        name: "n".to_owned(),
        title: "t".to_owned(),
        by: "c".to_owned(),
        unit: "ms".to_owned(),
        curves: vec![Curve {
            what: "a < b & c".to_owned(),
            points: vec![point(10.0, [0.0, 1.5, 2.0]), point(1000.0, [3.0; 3])],
        }],
    };
    let svg = svg(&growth).expect("it is drawn");
    // One in the legend.
    assert_eq!(svg.matches("<circle ").count(), 3, "{svg}");
    assert!(svg.contains("a &lt; b &amp; c"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}
