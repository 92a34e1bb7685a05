//! The claims of epochs: what they say, and damaged ones.

use std::sync::Arc;

use object_store::memory::InMemory;
use serde_json::Value;

use super::*;

fn start(boot: u64) -> Identity {
    Identity {
        store: [7; 16],
        boot,
        run: boot,
    }
}

fn in_memory() -> Objects {
    Objects::over(Arc::new(InMemory::new()), "".into(), "memory:")
}

// Without this a restore would say that nothing is missing, where a start that waits for the archive was lost before it had
// shipped what an earlier one, which did not wait, had left.
#[tokio::test]
async fn a_promise_counts_from_the_turn_on_with_which_its_writer_began() {
    let objects = in_memory();
    let writers = [
        (Waits::Processes, 10),
        (Waits::Everything, 20),
        (Waits::Nothing, 30),
        (Waits::Everything, 40),
    ];
    for (boot, (waits, behind)) in (1..).zip(writers) {
        let behind = Lsn(behind);
        let terms = Terms {
            promise: Promise { waits, behind },
            max_age: Some(Duration::from_micros(boot)),
            ..Terms::of_window(boot)
        };
        let claimed = claim(&objects, start(boot), &terms).await;
        assert_eq!(claimed.expect("it is in memory"), Epoch(boot));
        let newest = newest_claim(&objects).await.expect("it is in memory");
        let newest = newest.expect("it was made");
        assert_eq!((newest.writer.identity, newest.terms), (start(boot), terms));
    }
    for (end, waits) in [
        (41, Waits::Everything),
        (40, Waits::Everything),
        (39, Waits::Nothing),
        (30, Waits::Nothing),
        (9, Waits::Nothing),
    ] {
        let promises = promises(&objects, Lsn(end)).await;
        let promises = promises.expect("it is in memory");
        assert_eq!(promises.at(Lsn(end)), waits, "{end}");
        // More was shipped after they were read.
        assert_eq!(promises.at(Lsn(40)), Waits::Everything, "{end}");
    }
}

// Without this a rotten bit would be another secret, and an older claim could not be read.
#[tokio::test]
async fn a_claim_is_compared_with_its_hash_and_one_without_is_read() {
    let (objects, terms) = (in_memory(), Terms::of_window(4));
    let old = serde_json::to_vec(&Claim::of(start(1), &terms)).expect("it is plain");
    let put = objects.create(&key(Epoch(1)), old).await;
    put.expect("it is in memory");
    let claimed = claim(&objects, start(2), &terms).await;
    assert_eq!(claimed.expect("it is in memory"), Epoch(2));
    for epoch in [1, 2] {
        let read = at(&objects, Epoch(epoch)).await.expect("it is whole");
        assert_eq!((read.writer.identity, &read.terms), (start(epoch), &terms));
    }
    let new = objects.read(&key(Epoch(2)), SMALL_BYTES_MAX).await;
    let mut rotten = new.expect("it is in memory").expect("it is there");
    // Still a secret in hexadecimal.
    let secret = hex::encode(terms.salts.secret);
    let text = String::from_utf8(rotten.clone()).expect("JSON");
    rotten[text.find(&secret).expect("it has one")] ^= 1;
    let put = objects.create(&key(Epoch(3)), rotten).await;
    put.expect("it is in memory");
    let refused = newest_claim(&objects).await.expect_err("it is rotten");
    assert!(refused.to_string().contains("hash"), "{refused}");
}

// Without this what a claim does not say would be taken for a default: no promise, another secret, no limit.
#[tokio::test]
async fn a_claim_that_lacks_something_is_damaged_and_named() {
    let whole = Claim::of(start(1), &Terms::of_window(4));
    let whole = serde_json::to_value(whole).expect("it is plain");
    let members = whole.as_object().expect("it has members");
    let mut claims: Vec<(String, Value)> = Vec::new();
    for member in members.keys() {
        let mut less = members.clone();
        less.remove(member);
        claims.push((format!("missing field `{member}`"), less.into()));
    }
    for (member, odd, said) in [
        ("journal", "quorum".into(), "journal = \"quorum\""),
        ("store", "07".into(), "16 bytes in hexadecimal"),
        ("window", Value::Null, "invalid type: null"),
        (
            "salts",
            serde_json::json!({ "secret": "05" }),
            "missing field `from`",
        ),
    ] {
        let mut other = members.clone();
        other.insert(member.to_owned(), odd);
        claims.push((said.to_owned(), other.into()));
    }
    for (said, claim) in claims {
        let objects = in_memory();
        let epoch = Epoch(3);
        let created = objects.create(&key(epoch), sealed_json::seal(&claim)).await;
        assert_eq!(created.expect("it is in memory"), Creation::Created);
        for refused in [
            newest_claim(&objects).await.map(drop),
            promises(&objects, Lsn(0)).await.map(drop),
        ] {
            let refused = refused.expect_err(&said).to_string();
            assert!(refused.contains("epochs/0000000003"), "{refused}");
            assert!(refused.contains(&said), "{said}: {refused}");
        }
        // What is taken up behind damage counts on the most.
        let window = Windows::of(&objects).at(epoch).await;
        assert_eq!(window.expect("it is in memory"), WINDOW_MAX);
    }
}
