//! Every error sentence about a cluster file, with its line number.

use std::time::Duration;

use super::*;
use crate::config::LIMITS_DEFAULT;

const GOOD: &str = r#"cluster = "demo"
channels = [["n2", "n1"], ["n1", "n2"]]

[[process]]
id   = "n2"
grpc = "127.0.0.1:7102"
rest = "127.0.0.1:7202"
transport = "unary"

[[process]]
id   = "n1"
grpc = "127.0.0.1:7101"
rest = "127.0.0.1:7201"
dir  = "data/store/n1"

[snapshot]
interval = "off"
deadline = "500ms"
open_max = 4

[history]
max_age = "12h"
max_count = 7

[store]
free_space_min = "64KiB"
commit_deadline = "2s"
"#;

fn check(text: &str) -> Result<Cluster, ConfigError> {
    let source = Source {
        path: PathBuf::from("cluster.toml"),
        text: text.to_owned(),
    };
    source.validate(&source.parse()?)
}

fn sentence(text: &str) -> String {
    check(text).expect_err("the text is wrong").to_string()
}

#[test]
fn a_good_file_says_it_all() {
    let cluster = check(GOOD).expect("a good file");
    assert_eq!(cluster.name, "demo");
    let ids: Vec<&str> = cluster.members.iter().map(|m| m.id.as_str()).collect();
    assert_eq!(ids, ["n1", "n2"], "sorted");
    assert_eq!(cluster.members[0].transport, Transport::Native);
    assert_eq!(cluster.members[1].transport, Transport::Unary);
    assert_eq!(cluster.topology.channels().count(), 2);
    assert_eq!(cluster.dirs.len(), 1);
    assert_eq!(
        cluster.snapshot,
        SnapshotSettings {
            interval: None,
            deadline: Duration::from_millis(500),
            open_max: 4
        }
    );
    assert_eq!(
        cluster.store,
        StoreSettings {
            free_space_min: 65_536,
            commit_deadline: Duration::from_secs(2),
        }
    );
    let half_a_day = Duration::from_secs(12 * 3600);
    assert_eq!(cluster.history.max_age, Some(half_a_day));
    assert_eq!(cluster.history.max_count, Some(7));
}

#[test]
fn absent_tables_are_the_defaults() {
    let text = "cluster = \"c\"\n[[process]]\nid = \"a\"\ngrpc = \"h:1\"\n";
    let cluster = check(text).expect("the least file");
    assert_eq!(cluster.snapshot, SnapshotSettings::default());
    assert_eq!(cluster.store, StoreSettings::default());
    assert_eq!(cluster.members[0].rest, None);
}

#[test]
fn limits_are_positive_and_the_others_stay() {
    let text = GOOD.to_owned() + "[limits]\naccounts_max = 7\nvalues_max = \"1MiB\"\n";
    let expected = Limits {
        accounts: 7,
        value_bytes: 1 << 20,
        ..LIMITS_DEFAULT
    };
    assert_eq!(check(&text).expect("a good file").limits, expected);
    for (line, fault) in [
        ("accounts_max = 0", "the limit of accounts is 0"),
        ("keys_max = 0", "the limit of keys is 0"),
        ("keys_max = -1", "invalid value"),
        ("values_max = \"1MB\"", "`1MB` is not a valid size"),
        ("request_ids_max = 0", "the limit of request ids is 0"),
        ("request_ids_max = 262145", "give at most 262144"),
    ] {
        let wrong = sentence(&format!("{GOOD}[limits]\n{line}\n"));
        assert!(wrong.contains(fault), "{line}: {wrong}");
    }
}

#[test]
fn the_bound_of_clocks_is_a_duration() {
    let text = GOOD.to_owned() + "[clock]\nahead_max = \"5m\"\n";
    let cluster = check(&text).expect("a good file");
    assert_eq!(cluster.clock.ahead_max, Duration::from_secs(300));
    let wrong = sentence(&text.replace("5m", "off"));
    assert!(wrong.contains("`off` is not a valid duration"), "{wrong}");
}

#[test]
fn a_currency_has_a_name_and_two_digits_unless_written_otherwise() {
    let currency = |lines: &str| {
        let text = format!("{GOOD}[currency]\n{lines}\n");
        check(&text).expect("a good file").currency
    };
    let euro = |exponent| {
        Some(Currency {
            label: "EUR".to_owned(),
            exponent,
        })
    };
    assert_eq!(currency(""), None);
    assert_eq!(currency("label = \"EUR\""), euro(2));
    assert_eq!(currency("exponent = 0\nlabel = \"EUR\""), euro(0));
    for (line, fault) in [
        ("label = \"\"", "`` is not a name of a currency"),
        ("exponent = 2", "add its label"),
        ("label = \"EUR\"\nexponent = 19", "give at most 18"),
        ("exponent = -1", "invalid value"),
    ] {
        let wrong = sentence(&format!("{GOOD}[currency]\n{line}\n"));
        assert!(wrong.contains(fault), "{line}: {wrong}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let file: ClusterFile = toml::from_str(GOOD).expect("a good file");
    let text = toml::to_string(&file).expect("a file can be written");
    assert_eq!(
        check(&text).expect("the written file"),
        check(GOOD).expect("a good file")
    );
}

#[test]
fn every_fault_names_file_line_and_remedy() {
    let cases = [
        (
            "rest = \"127.0.0.1:7202\"",
            "rset = \"127.0.0.1:7202\"",
            7,
            "unknown field `rset`",
        ),
        ("interval", "intervall", 17, "unknown field `intervall`"),
        ("id   = \"n2\"\n", "", 4, "missing field `id`"),
        ("\"unary\"", "\"pigeon\"", 8, "unknown variant `pigeon`"),
        (
            "\"n1\"\ngrpc",
            "\"n2\"\ngrpc",
            11,
            "process n2 is named twice",
        ),
        ("\"n1\"\ngrpc", "\"\"\ngrpc", 11, "process id is empty"),
        (
            "127.0.0.1:7101",
            "127.0.0.1:7202",
            12,
            "is already used by n2",
        ),
        (
            "127.0.0.1:7101",
            "127.0.0.1",
            12,
            "`127.0.0.1` is not a valid address",
        ),
        ("[\"n1\", \"n2\"]", "[\"n1\"]", 2, "a channel is a pair"),
        (", [\"n1\", \"n2\"]", "", 2, "not strongly connected"),
        (
            "[\"n1\", \"n2\"]",
            "[\"n1\", \"n9\"]",
            2,
            "not in the cluster",
        ),
        (
            "\"off\"",
            "\"often\"",
            17,
            "`often` is not a valid interval",
        ),
        ("\"500ms\"", "\"off\"", 18, "`off` is not a valid duration"),
        ("= 4", "= 0", 19, "at least 1"),
        ("\"demo\"", "\"\"", 1, "name is empty"),
        ("[snapshot]", "[snapshot", 16, "see data/cluster.toml"),
    ];
    for (good, bad, line, reason) in cases {
        assert!(GOOD.contains(good), "{good}");
        let sentence = sentence(&GOOD.replacen(good, bad, 1));
        assert!(
            sentence.starts_with(&format!("cluster.toml:{line}: ")),
            "{bad}: {sentence}"
        );
        assert!(sentence.contains(reason), "{bad}: {sentence}");
    }
    assert!(sentence("cluster = \"c\"").contains("has no process"));
}

#[test]
fn the_example_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cluster.toml");
    let source = Source::read(Path::new(path)).expect("the example is there");
    let file = source.parse().expect("it has the keys of a cluster file");
    let cluster = source.validate(&file).expect("it is valid as a whole");
    assert_eq!(cluster.snapshot, SnapshotSettings::default());
}
