//! Programs that tests need beside Rust. Where one is absent, the test says so and passes; but not where
//! `SNAPLEDGER_REQUIRED` names it, as it does for all that `.ci/run` installs: a test that never ran must not look green.

/// The variable; names, with spaces between them.
const REQUIRED: &str = "SNAPLEDGER_REQUIRED";

/// Says that nothing is tested here without this program, or fails.
///
/// # Panics
/// Where the program is required.
pub(crate) fn absent(program: &str) {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    let is_required = required.split_whitespace().any(|name| name == program);
    assert!(
        !is_required,
        "{program} is missing or may not do its work here, and {REQUIRED} names it"
    );
    println!("not run: {program} is missing or may not do its work here");
}
