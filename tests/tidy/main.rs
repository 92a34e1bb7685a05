//! The structural rules of the project: which part may depend on which, size limits, and what must not be written. The
//! compiler does not enforce boundaries within a crate; without this, they would erode within a month.

mod budgets;
mod circles;
mod documents;
mod layers;
mod scripts;
mod source;
mod vendored;
mod words;

use source::{Finding, Source};

fn assert_none(findings: &[Finding]) {
    let sentences: Vec<_> = findings.iter().map(|finding| finding.0.as_str()).collect();
    assert!(
        findings.is_empty(),
        "{} findings\n{}",
        findings.len(),
        sentences.join("\n")
    );
}

fn each(check: fn(&Source) -> Vec<Finding>) -> Vec<Finding> {
    source::all().iter().flat_map(check).collect()
}

#[test]
fn dependencies_point_one_way() {
    assert_none(&each(layers::check));
}

#[test]
fn imports_between_files_make_no_circle() {
    assert_none(&circles::check(&source::all()));
}

#[test]
fn everything_keeps_its_budget() {
    assert_none(&each(budgets::check));
    assert_none(&budgets::check_medians(&source::all()));
}

#[test]
fn the_console_keeps_its_budget() {
    assert_none(&scripts::check());
}

#[test]
fn what_is_vendored_is_what_was_published() {
    assert_none(&vendored::check());
}

#[test]
fn nothing_is_left_for_later_or_switched_off() {
    assert_none(&each(words::check));
}

#[test]
fn documents_can_be_found_and_their_links_lead_somewhere() {
    assert_none(&documents::check());
}
