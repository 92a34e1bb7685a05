//! A bad line is reported with file, line and reason before anything is sent.

use super::*;

fn read_text(text: &[u8]) -> Result<Vec<Order>, CliError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("orders.csv");
    std::fs::write(&path, text).expect("a file in it");
    read(&path)
}

const GOOD: &str = "op,process,account,to_process,to_account,amount
deposit,n1,a,,,12.50
deposit,n2,b,,,1

transfer,n1,a,n1,\"c,d\",2.5
deposit,n1,a,,,1
transfer,n1,a,n2,b,0.01
withdraw,n1,a,,,3
";

#[test]
fn a_good_file_is_read_whole() {
    let orders = read_text(GOOD.as_bytes()).expect("a good file");
    assert_eq!(orders.len(), 6);
    assert_eq!(orders[0].amount.units(), 1250);
    assert_eq!(
        (orders[1].line, orders[2].line),
        (3, 5),
        "the blank line counts"
    );
    let OrderKind::Transfer {
        to_process,
        to_account,
    } = &orders[2].kind
    else {
        unreachable!("the third is a transfer");
    };
    assert_eq!(*to_process, None, "its own process is a local transfer");
    assert_eq!(to_account.as_str(), "c,d");
    let (deposits, rest) = split_leading_deposits(orders);
    assert_eq!(
        (deposits.len(), rest.len()),
        (2, 4),
        "a later deposit stays in its place"
    );
}

#[test]
fn lines_are_counted_whatever_ends_them() {
    let text = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    let lines = |text: &str| -> Vec<u64> {
        let orders = read_text(text.as_bytes()).expect("a good file");
        orders.iter().map(|order| order.line).collect()
    };
    assert_eq!(lines(&text), [2, 3, 5, 6, 7, 8]);
    assert_eq!(lines(GOOD), lines(&text));
}

#[test]
fn every_bad_line_says_which_and_why() {
    let cases = [
        (
            "op,process",
            "op;process",
            1,
            "first line has to be op,process",
        ),
        (
            "deposit,n2",
            "borrow,n2",
            3,
            "`borrow` is not a valid operation",
        ),
        ("deposit,n2,b,,,1", "deposit,n2,b,,1", 3, "has 5 fields"),
        (
            "deposit,n2,b,,,1",
            "deposit,n2,,,,1",
            3,
            "account: account id is empty",
        ),
        (
            "deposit,n2,b,,,1",
            "deposit,,b,,,1",
            3,
            "process: process id is empty",
        ),
        (
            "deposit,n2,b,,,1",
            "deposit,n2,b,n1,,1",
            3,
            "has no receiver",
        ),
        (
            "n2,b,0.01",
            "n2,,0.01",
            7,
            "to_account: account id is empty",
        ),
        (
            "0.01",
            "0.001",
            7,
            "amount: `0.001` has more than two decimals",
        ),
        (
            "withdraw,n1,a,,,3",
            "withdraw,n1,a,,,1e3",
            8,
            "amount: `1e3` is not a valid amount",
        ),
    ];
    for (good, wrong, line, reason) in cases {
        assert!(GOOD.contains(good), "{good}");
        let error = read_text(GOOD.replacen(good, wrong, 1).as_bytes()).expect_err("a bad line");
        let sentence = error.to_string();
        assert!(
            sentence.contains(&format!("orders.csv:{line}: ")),
            "{sentence}"
        );
        assert!(sentence.contains(reason), "{sentence}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn what_is_no_text_or_nothing_is_refused() {
    let empty = read_text(b"").expect_err("an empty file").to_string();
    assert!(empty.contains("orders.csv:1: the file is empty"), "{empty}");
    let latin = [GOOD.as_bytes(), b"deposit,n1,\xe9,,,1\n"].concat();
    let latin = read_text(&latin).expect_err("not UTF-8").to_string();
    assert!(
        latin.contains("orders.csv:9: the line is not UTF-8"),
        "{latin}"
    );
}
