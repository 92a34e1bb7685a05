//! Where turns may be missing in the journal of a process: one object for each note, whose key says all.

use super::{ArchiveError, Objects};
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::shipping::gaps::NotedGaps;

const FOLDER: &str = "gaps";
const FROM: &str = "-from-";
const ANSWERS: &str = "-answers-";

/// The notes of a process.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn read(process: &Objects) -> Result<NotedGaps, ArchiveError> {
    let mut gaps = NotedGaps::default();
    for name in process.list(FOLDER).await? {
        take(&mut gaps, &name);
    }
    Ok(gaps)
}

// Other files are passed over.
fn take(gaps: &mut NotedGaps, name: &str) -> Option<()> {
    let numbers = |separator| {
        let (last, number) = name.split_once(separator)?;
        Some((Lsn(last.parse().ok()?), number.parse::<u64>().ok()?))
    };
    if let Some((last, first)) = numbers(FROM) {
        gaps.note(Lsn(first), last);
    }
    let (last, since) = numbers(ANSWERS)?;
    gaps.note_answers(last, Hlc(since));
    Some(())
}

/// Puts notes, durably.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn put(process: &Objects, gaps: &NotedGaps) -> Result<(), ArchiveError> {
    let ranges = gaps.ranges();
    let ranges = ranges.map(|(first, last)| format!("{:020}{FROM}{:020}", last.0, first.0));
    let answers = gaps.answers();
    let answers = answers.map(|(gap, since)| format!("{:020}{ANSWERS}{:020}", gap.0, since.0));
    for name in ranges.chain(answers) {
        let key = format!("{FOLDER}/{name}");
        process.create(&key, b"{}".to_vec()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    // Without this a restored store would answer about instants in the gaps of the lost one.
    #[tokio::test]
    async fn notes_come_back() {
        let objects = Objects::over(Arc::new(InMemory::new()), "".into(), "memory:");
        let mut gaps = NotedGaps::default();
        for (first, last) in [(0, 0), (3, 9), (12, 12)] {
            gaps.note(Lsn(first), Lsn(last));
            gaps.note_answers(Lsn(last), Hlc(u64::MAX - last));
        }
        for _ in 0..2 {
            put(&objects, &gaps).await.expect("it is in memory");
        }
        let other = objects.create("gaps/other", Vec::new()).await;
        other.expect("it is in memory");
        assert_eq!(read(&objects).await.expect("it is in memory"), gaps);
    }
}
