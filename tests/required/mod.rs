//! External programs that tests need. Where one is missing, the test says so and passes. With
//! `SNAPLEDGER_REQUIRE_TOOLS=1`, as `.ci/run` sets it after installing them, the test fails instead: a test that never
//! ran must not look green.

const REQUIRE_TOOLS: &str = "SNAPLEDGER_REQUIRE_TOOLS";

/// Reports that nothing is tested here without this program.
///
/// # Panics
///
/// Where programs are required.
pub(crate) fn absent(program: &str) {
    let is_required = std::env::var_os(REQUIRE_TOOLS).is_some_and(|value| value == "1");
    assert!(
        !is_required,
        "{program} is missing or may not do its work here, and {REQUIRE_TOOLS} is set"
    );
    println!("not run: {program} is missing or may not do its work here");
}
