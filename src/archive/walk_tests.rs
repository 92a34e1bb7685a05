//! Walks along an archive in memory, whole and with holes.

use super::*;
use crate::archive::epochs;
use crate::archive::epochs::Terms;
use crate::archive::read_ahead::AHEAD_BYTES_MAX;
use crate::archive::watched::{chain, watched};
use crate::process::clock::Hlc;
use crate::shipping::object::StateKey;
use crate::shipping::segment::Turns;
use crate::shipping::{Epoch, JournalPoint};

const COUNT: u64 = 150;

async fn archive() -> (Objects, Vec<SegmentHead>) {
    let (objects, _) = watched();
    let counting = chain(&objects, COUNT).await;
    (objects, counting)
}

// Without this, many requests at once would mix the order, or leave out what is large.
#[tokio::test]
async fn what_is_read_ahead_comes_in_order_and_whole() {
    let (objects, counting) = archive().await;
    let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
    let mut segments = Segments::along(&objects, Chain::behind(Link::default()));
    for expected in &counting {
        let head = heads.next().await.expect("it is whole");
        assert_eq!(head.as_ref(), Some(expected));
        let segment = segments.next().await.expect("it is whole");
        let segment = segment.expect("it is there");
        assert_eq!(segment.head, *expected);
        assert_eq!(segment.entries().count(), 1);
    }
    assert_eq!(heads.next().await.expect("it is whole"), None);
    assert_eq!(segments.next().await.expect("it is whole"), None);
}

// Without this an audit would ask for each segment as often as it walks, and for many that are not there.
#[tokio::test]
async fn what_is_remembered_is_asked_for_once() {
    let (objects, seen) = watched();
    let counting = chain(&objects, COUNT).await;
    let (objects, begin) = (objects.remembering(), Chain::behind(Link::default()));
    let end = Some(SegmentIndex(COUNT));
    seen.take_reads();
    let mut heads = Heads::along(&objects, begin.clone()).ahead_to(end);
    let newest = heads.newest().await.expect("it is whole");
    assert_eq!(newest.as_ref(), counting.last());
    let all = usize::try_from(COUNT).expect("few");
    let behind_the_end = 1;
    assert_eq!(seen.take_reads(), all + behind_the_end);
    let mut segments = Segments::along(&objects, begin).ahead_to(end);
    for expected in &counting {
        let segment = segments.next().await.expect("it is whole");
        assert_eq!(segment.map(|found| found.head).as_ref(), Some(expected));
    }
    assert_eq!(segments.next().await.expect("it is whole"), None);
    let large = all / 10;
    assert_eq!(seen.take_reads(), large + behind_the_end);
}

// Without this an archive of large objects would fill the memory of its reader, or be read out of order.
#[tokio::test]
async fn a_large_segment_is_read_when_it_is_its_turn() {
    let (objects, seen) = watched();
    let mut small = chain(&objects, 1).await;
    let first = small.pop().expect("there is one");
    let (mut body, bytes) = (
        Vec::new(),
        usize::try_from(AHEAD_BYTES_MAX).expect("it is small"),
    );
    Turns::push(&mut body, &vec![7; bytes]);
    let after = JournalPoint {
        position: first.after().position.next(),
        ..first.after()
    };
    let turns = Turns {
        before: first.after(),
        after,
        body: body.into(),
    };
    let (owner, writer) = (first.owner(), first.writer());
    let large = Segment::new(&owner, writer, SegmentIndex(2), first.hash(), &turns);
    let last = Turns::none(after);
    let last = Segment::new(&owner, writer, SegmentIndex(3), large.head.hash(), &last);
    for segment in [&large, &last] {
        let put = journal::put(&objects, segment).await;
        put.expect("it is in memory");
    }
    seen.take_reads();
    let mut reads = Reads::from(&objects, SegmentIndex(1));
    let read = reads.next().await.expect("it is whole");
    assert_eq!(read.map(|read| read.head), Some(first));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let ahead = seen.take_reads();
    let read = reads.next().await.expect("it is whole");
    assert_eq!(read.as_ref(), Some(&large));
    assert_eq!(ahead, HEADS_AHEAD + 3, "the beginning of each");
    let read = reads.next().await.expect("it is whole");
    assert_eq!(read.as_ref(), Some(&last));
    assert_eq!(reads.next().await.expect("it is whole"), None);
}

// Without this a restore would end at a hole among the newest segments, and say that all is well.
#[tokio::test]
async fn a_hole_is_in_flight_only_within_the_window_of_its_writer() {
    for (window, behind, is_hole) in [
        (Some(4), 3, false),
        (Some(4), 4, true),
        (Some(1), 1, true),
        (None, 63, false),
        (None, 64, true),
    ] {
        let (objects, _) = watched();
        let counting = chain(&objects, COUNT).await;
        if let Some(window) = window {
            let (claim, terms) = (counting[0].writer(), Terms::of_window(window));
            let claimed = epochs::create(&objects, claim, &terms).await;
            assert!(claimed.expect("it is in memory"));
        }
        let hole = SegmentIndex(COUNT - behind);
        let deleted = journal::delete(&objects, hole).await;
        deleted.expect("it is there");
        let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
        heads.newest().await.expect("it is whole up to there");
        let ended = check_end(&objects, heads.chain()).await;
        assert_eq!(ended.is_err(), is_hole, "{window:?}, {behind}: {ended:?}");
    }
}

// Without this a start, an audit or a restore would list every link and every state that the process ever had: hours of requests,
// and their names in memory.
#[tokio::test]
async fn the_end_of_a_long_journal_is_found_with_few_names() {
    let (objects, seen) = watched();
    let counting = chain(&objects, COUNT).await;
    let last = Link::of(&counting[counting.len() - 1]);
    let heads = Heads::along(&objects, Chain::behind(last));
    seen.take_listed();
    let mut names = Vec::new();
    for many in [0, 20_000] {
        // What names turns of long ago, as far as names say it.
        for one in 0..many {
            let link = format!("links/{:020}-{:020}", 0, one);
            let (cut, time, epoch) = (Lsn(0), Hlc(one), Epoch(2));
            let state = StateKey { cut, time, epoch }.to_string();
            for key in [link, state] {
                let put = objects.create(&key, Vec::new()).await;
                put.expect("it is in memory");
            }
        }
        seen.take_listed();
        let ended = check_end(&objects, heads.chain()).await;
        ended.expect("it is whole");
        names.push(seen.take_listed());
    }
    assert_eq!(names, [0, 0]);
}

// Without this a restore would give up turns for a segment that nobody needs, and an audit would end.
#[tokio::test]
async fn the_damaged_body_of_a_void_segment_does_not_matter() {
    let (objects, counting) = archive().await;
    let (void, counts) = (SegmentIndex(70), counting[70].index());
    let spoil = async |index| {
        let whole = journal::segment(&objects, index)
            .await
            .expect("it is whole");
        let mut bytes = whole.expect("it is there").encode();
        *bytes.last_mut().expect("it has a body") ^= 1;
        let deleted = journal::delete(&objects, index).await;
        deleted.expect("it is there");
        let key = format!("journal/{:020}", index.0);
        let put = objects.create(&key, bytes).await;
        put.expect("it is in memory");
    };
    let read = async || {
        let mut segments = Segments::along(&objects, Chain::behind(Link::default()));
        let mut read = Vec::new();
        loop {
            match segments.next().await {
                Ok(Some(segment)) => read.push(segment.head),
                Ok(None) => return Ok(read),
                Err(error) => return Err((read.len(), error.to_string())),
            }
        }
    };
    spoil(void).await;
    assert_eq!(read().await, Ok(counting.clone()));
    spoil(counts).await;
    let (whole, error) = read().await.expect_err("it is damaged");
    assert_eq!(whole, 70);
    assert!(error.contains(&format!("{:020}", counts.0)), "{error}");
}

// Without this a journal that ends before what was made of it would be taken for whole.
#[tokio::test]
async fn a_state_proves_that_the_turn_behind_its_cut_was_archived() {
    let (objects, _) = watched();
    let counting = chain(&objects, COUNT).await;
    let walked = async || {
        let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
        heads.newest().await.expect("it is whole up to there");
        heads.chain().clone()
    };
    let whole = walked().await;
    let cut = Lsn(whole.last().journal.position.0 - 1);
    let (time, epoch) = (Hlc(7), Epoch(2));
    let key = StateKey { cut, time, epoch }.to_string();
    let put = objects.create(&key, Vec::new()).await;
    put.expect("it is in memory");
    check_end(&objects, &whole).await.expect("it is whole");
    for lost in &counting[counting.len() - 2..] {
        let deleted = journal::delete(&objects, lost.index()).await;
        deleted.expect("it is there");
    }
    let ended = check_end(&objects, &walked().await).await;
    ended.expect_err("the last two segments are missing");
}

// Without this a walk that begins at a link would end early, or not see that a segment is missing.
#[tokio::test]
async fn a_hole_is_found_where_it_is_read_and_a_link_names_what_counts() {
    let (objects, counting) = archive().await;
    let end = Lsn(u64::MAX);
    for linked in [50, 100] {
        let link = Link::of(&counting[linked]);
        links::put(&objects, link).await.expect("it is in memory");
    }
    let hole = counting[70].index();
    journal::delete(&objects, hole).await.expect("it is there");
    let near = links::nearest(&objects, end).await.expect("it is there");
    assert_eq!(near.last, Link::of(&counting[100]));
    let before = counting[100].after().position.0 - 1;
    let near = links::nearest(&objects, Lsn(before)).await;
    let near = near.expect("it is there");
    assert_eq!(near.last, Link::of(&counting[50]));
    let mut segments = Segments::along(&objects, Chain::behind(near.last));
    let error = loop {
        match segments.next().await {
            Ok(Some(segment)) => assert!(segment.head.index() < hole),
            Ok(None) => unreachable!("there are later segments"),
            Err(error) => break error.to_string(),
        }
    };
    let expected = format!("{:020}", hole.0);
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("missing"), "{error}");

    // One hole within what may be in flight, before a link.
    let (objects, counting) = archive().await;
    let near_end = counting.len() - 5;
    let hole = counting[near_end].index();
    journal::delete(&objects, hole).await.expect("it is there");
    let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
    heads.newest().await.expect("the rest may be in flight");
    let ended = check_end(&objects, heads.chain()).await;
    ended.expect("the rest may be in flight");
    let link = Link::of(&counting[near_end + 2]);
    links::put(&objects, link).await.expect("it is in memory");
    let ended = check_end(&objects, heads.chain()).await;
    ended.expect_err("the link is acknowledged");
    // Also where the missing one is the newest.
    let (newest, _) = archive().await;
    let last = counting.last().expect("there are some");
    let link_to_last = links::put(&newest, Link::of(last));
    link_to_last.await.expect("it is in memory");
    let deleted = journal::delete(&newest, last.index()).await;
    deleted.expect("it is there");
    let mut walked = Heads::along(&newest, Chain::behind(Link::default()));
    walked.newest().await.expect("it is whole up to there");
    let ended = check_end(&newest, walked.chain()).await;
    ended.expect_err("the link names it");

    let linked = link.index;
    journal::delete(&objects, linked)
        .await
        .expect("it is there");
    let error = links::nearest(&objects, end).await.map(|near| near.last);
    let error = error.expect_err("it is missing").to_string();
    assert!(error.contains("a link names it"), "{error}");
}
