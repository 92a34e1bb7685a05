//! One damage of each kind. Those that keep frames, checksums and hashes valid show that each deeper comparison can
//! fail, and that the finding names what was damaged.

use crate::sample::{ALICE, BOB, PADDING, Sample, TURNS, paid_in, s1};
use crate::{assert_bad, findings, run};

fn position(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

#[track_caller]
fn assert_first(sample: &Sample, sentence: &str) {
    let findings = findings(sample.path());
    let first = findings.first().map_or("nothing is wrong", |first| first);
    assert!(
        first.contains(sentence),
        "`{sentence}` is not first in {findings:#?}"
    );
}

#[track_caller]
fn assert_among(sample: &Sample, sentence: &str) {
    let findings = findings(sample.path());
    let is_named = findings.iter().any(|finding| finding.contains(sentence));
    assert!(is_named, "`{sentence}` is not in {findings:#?}");
}

#[test]
fn the_sample_is_whole() {
    let sample = Sample::new();
    assert_eq!(findings(sample.path()), [""; 0]);
}

#[test]
fn a_flipped_bit_in_each_tree_is_named() {
    for (tree, sentence) in [
        ("journal", "journal entry 1: its checksum does not match"),
        ("states-2", "recorded state 2: its checksum does not match"),
        ("chunks", "chunk "),
        (
            "parts",
            "part of snapshot \"s1\": its checksum does not match",
        ),
        (
            "history",
            "global state of snapshot \"s1\": its checksum does not match",
        ),
        ("meta", "its checksum does not match"),
    ] {
        let sample = Sample::new();
        sample.edit(tree, |tree| {
            let (key, value) = tree.first().expect("it is read").expect("a value");
            let mut value = value.to_vec();
            *value.last_mut().expect("it has bytes") ^= 1;
            tree.insert(key, value).expect("it is written");
        });
        assert_bad(&run("check", sample.path(), &[]), sentence);
    }
}

#[test]
fn an_entry_that_is_lost_in_the_middle_is_named_and_what_follows_is_read() {
    let sample = Sample::new();
    sample.remove("journal", &position(4));
    sample.remove("journal", &position(5));
    sample.replace("journal", &BOB.to_le_bytes(), &7i64.to_le_bytes());
    let findings = findings(sample.path());
    assert!(
        findings[0].contains("journal entry 4: it is missing, and all up to entry 5"),
        "{findings:#?}"
    );
    assert!(
        findings[1].contains("journal entry 9: it does not continue"),
        "{findings:#?}"
    );
}

#[test]
fn an_entry_with_another_amount_breaks_the_chain() {
    let sample = Sample::new();
    assert_eq!(
        sample.replace("journal", &50i64.to_le_bytes(), &51i64.to_le_bytes()),
        1
    );
    assert_first(
        &sample,
        "journal entry 3: it does not continue the entry before it",
    );
}

#[test]
fn the_newest_entry_is_missed() {
    let sample = Sample::new();
    sample.remove("journal", &position(TURNS));
    assert_first(&sample, "it ends at entry 9, and entry 10 was acknowledged");
    let told = findings(sample.path()).concat();
    let dir = sample.path().display().to_string();
    assert!(
        told.contains(&dir),
        "it names the store's own directory: {told}"
    );
}

#[test]
fn a_state_of_which_the_journal_has_no_end_is_named() {
    let sample = Sample::new();
    for entry in 8..=TURNS {
        sample.remove("journal", &position(entry));
    }
    assert_among(&sample, "recorded state 8: the journal ends at 7");
}

#[test]
fn a_state_that_is_lost_is_named() {
    let sample = Sample::new();
    sample.remove("states-2", &position(2));
    assert_first(&sample, "recorded state 2: it is missing");
}

#[test]
fn a_cell_with_another_balance_is_named() {
    let sample = Sample::without_salts();
    sample.replace("chunks", &ALICE.to_le_bytes(), &(ALICE + 1).to_le_bytes());
    let sentence = format!(
        "account \"alice\" holds {}, expected from the journal: {ALICE}",
        ALICE + 1
    );
    assert_first(&sample, &format!("recorded state 2: {sentence}"));
}

#[test]
fn a_salted_cell_with_another_balance_does_not_match_the_root_of_its_cells() {
    let sample = Sample::new();
    sample.replace("chunks", &ALICE.to_le_bytes(), &(ALICE + 1).to_le_bytes());
    assert_among(&sample, "its content does not match the root of its cells");
}

#[test]
fn a_cell_of_a_later_run_is_compared_as_well() {
    let sample = Sample::without_salts();
    sample.replace("chunks", &BOB.to_le_bytes(), &(BOB - 1).to_le_bytes());
    assert_first(&sample, "recorded state 8: account \"bob\" holds");
}

#[test]
fn a_remembered_answer_that_changed_is_named() {
    let sample = Sample::without_salts();
    let fingerprint = paid_in("bob", BOB).fingerprint();
    sample.replace("chunks", &fingerprint.to_le_bytes(), &7u64.to_le_bytes());
    assert_first(
        &sample,
        "recorded state 8: the answer to request \"request-bob\" differs",
    );
}

#[test]
fn totals_that_are_wrong_are_named() {
    let sample = Sample::new();
    let total = i128::from(ALICE + 50 + PADDING);
    sample.replace("states-2", &total.to_le_bytes(), &(total + 1).to_le_bytes());
    assert_among(&sample, "recorded state 2: its balances are");
    assert_among(&sample, "recorded state 2: its deposits are");
}

#[test]
fn a_chunk_in_the_place_of_another_is_named() {
    let sample = Sample::new();
    sample.edit("chunks", |chunks| {
        let mut pairs = chunks.iter().flatten();
        let (first, second) = (
            pairs.next().expect("a chunk"),
            pairs.next().expect("a chunk"),
        );
        chunks.insert(first.0, second.1).expect("it is written");
    });
    assert_among(&sample, "its content does not match its hash");
}

#[test]
fn a_chunk_that_is_lost_is_named() {
    let whole = Sample::new();
    let report = crate::examine(whole.path()).report;
    let mut unnamed = 0;
    for lost in 0..report.chunks {
        let sample = Sample::new();
        let mut key = Vec::new();
        sample.edit("chunks", |chunks| {
            let mut keys = chunks.iter().keys().flatten();
            let lost = keys.nth(usize::try_from(lost).expect("there are few"));
            key = lost.expect("every sample has the same").to_vec();
            chunks.remove(&key).expect("it can be removed");
        });
        let name = hex::encode(&key[..32]);
        let findings = findings(sample.path());
        let is_named = findings.iter().any(|finding| finding.contains(&name));
        unnamed += u64::from(!is_named);
    }
    assert!(report.chunks > 4, "there are cells, indices and messages");
    assert_eq!(
        unnamed, report.chunks_unreferenced,
        "all that is needed is named"
    );
}

#[test]
fn a_part_that_is_lost_is_named() {
    let sample = Sample::new();
    sample.remove("parts", s1().as_str().as_bytes());
    assert_first(
        &sample,
        "part of snapshot \"s1\": it is missing, although journal entry 7 states that it is stored",
    );
    assert_among(
        &sample,
        "its part of this process is finished, and is not stored",
    );
}

#[test]
fn a_part_with_another_message_is_named() {
    let sample = Sample::without_salts();
    assert_eq!(sample.replace("chunks", b"n2>n1#2", b"n2>n1#9"), 1);
    assert_first(
        &sample,
        "part of snapshot \"s1\": its messages from \"n2\" differ from the journal",
    );
}

#[test]
fn a_part_with_another_amount_is_named() {
    let sample = Sample::new();
    let amount = |units: i128| [&2u64.to_le_bytes()[..], &units.to_le_bytes()].concat();
    assert_eq!(sample.replace("parts", &amount(15), &amount(16)), 1);
    assert_first(
        &sample,
        "part of snapshot \"s1\": amount of the channel from \"n2\" is 16",
    );
}

#[test]
fn a_part_with_another_closing_is_named() {
    let sample = Sample::new();
    let time = 6000_u64 << 12;
    let closing = |position: u64| [position.to_le_bytes(), time.to_le_bytes()].concat();
    assert_eq!(sample.replace("parts", &closing(6), &closing(5)), 1);
    assert_first(
        &sample,
        "part of snapshot \"s1\": the turn that closed the channel from \"n2\" differs from the journal",
    );
}

#[test]
fn a_published_part_that_changed_is_named() {
    let sample = Sample::new();
    let total = i128::from(ALICE + 50 + PADDING);
    assert_eq!(
        sample.replace("history", &total.to_le_bytes(), &(total + 1).to_le_bytes()),
        2
    );
    assert_first(
        &sample,
        "its part of this process differs from the stored one",
    );
}

#[test]
fn a_revision_that_is_lost_is_named() {
    let sample = Sample::new();
    sample.remove("history", b"s1\0\0\0\0\x01");
    assert_first(&sample, "revision 2: the previous revision 1 is missing");
}

#[test]
fn a_fragment_without_its_value_is_named() {
    let sample = Sample::new();
    sample.edit("states-2", |states| {
        let key = [&position(5)[..], &[0, 1]].concat();
        states.insert(key, b"left over").expect("it is written");
    });
    assert_first(
        &sample,
        "recorded state 5: it has fragments outside of any value",
    );
}
