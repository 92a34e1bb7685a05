//! The page about security has the table of the code.

use snapledger::access::table::{GRPC, REST};

const PAGE: &str = include_str!("../../docs/security.md");

#[test]
fn the_page_has_the_table_of_roles() {
    let rows = REST
        .iter()
        .chain(GRPC)
        .map(|rule| format!("| `{}` | {} |", rule.call, rule.allowed()));
    let expected: Vec<String> = rows.collect();
    let (_, rest) = PAGE
        .split_once("| call | who |\n|---|---|\n")
        .expect("there is a table of calls");
    let found: Vec<&str> = rest
        .lines()
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(
        found == expected,
        "write into docs/security.md:\n{}",
        expected.join("\n")
    );
}
