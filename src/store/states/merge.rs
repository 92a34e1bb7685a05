//! Reads a recorded state by merging its runs, in which the newest value wins, with one chunk per run in memory.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::history::part::{IndexEntry, Run};
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::Hash;
use crate::store::chunks::source;
use crate::store::chunks::source::ChunkSource;
use crate::store::error::StoreError;

/// The cells of a recorded state in ascending key order.
pub struct Cells<'a> {
    /// Oldest first, as in the manifest.
    runs: Vec<RunCells<'a>>,
}

impl<'a> Cells<'a> {
    /// Starts at the first cell with a key of at least `from`.
    pub(in crate::store) fn new(
        chunks: &'a dyn ChunkSource,
        runs: &[Run],
        from: Option<CellKey<'_>>,
    ) -> Result<Self, StoreError> {
        let runs = runs.iter().map(|run| RunCells::new(chunks, run, from));
        Ok(Self {
            runs: runs.collect::<Result<_, _>>()?,
        })
    }

    // Takes the smallest key among the heads; of equal keys that of the newest run, skipping the others.
    fn next_cell(&mut self) -> Result<Option<Cell>, StoreError> {
        for run in &mut self.runs {
            run.fill()?;
        }
        let heads = self.runs.iter().enumerate();
        let newest = heads
            .filter_map(|(age, run)| Some((run.head()?.key(), Reverse(age))))
            .min();
        let Some((_, Reverse(newest))) = newest else {
            return Ok(None);
        };
        let cell = self.runs[newest].cells.pop_front();
        let key = cell.as_ref().map(Cell::key);
        for older in &mut self.runs[..newest] {
            if older.head().map(Cell::key) == key {
                older.cells.pop_front();
            }
        }
        Ok(cell)
    }
}

impl Iterator for Cells<'_> {
    type Item = Result<Cell, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_cell();
        if next.is_err() {
            self.runs.clear();
        }
        next.transpose()
    }
}

struct RunCells<'a> {
    chunks: &'a dyn ChunkSource,
    index: VecDeque<Hash>,
    entries: VecDeque<IndexEntry>,
    cells: VecDeque<Cell>,
}

impl<'a> RunCells<'a> {
    fn new(
        chunks: &'a dyn ChunkSource,
        run: &Run,
        from: Option<CellKey<'_>>,
    ) -> Result<Self, StoreError> {
        let mut cells = Self {
            chunks,
            index: run.index.iter().copied().collect(),
            entries: VecDeque::new(),
            cells: VecDeque::new(),
        };
        if let Some(from) = from {
            cells.skip_to(from)?;
        }
        Ok(cells)
    }

    fn head(&self) -> Option<&Cell> {
        self.cells.front()
    }

    // Skips whole chunks that end before the key, then cells of the chunk that would contain it.
    fn skip_to(&mut self, from: CellKey<'_>) -> Result<(), StoreError> {
        let mut all = Vec::new();
        for hash in std::mem::take(&mut self.index) {
            all.append(&mut source::index(self.chunks, &hash)?);
        }
        let behind = all.partition_point(|entry| source::key_of(entry) <= from);
        self.entries = all.split_off(behind.saturating_sub(1)).into();
        self.fill()?;
        while self.head().is_some_and(|cell| cell.key() < from) {
            self.cells.pop_front();
            self.fill()?;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), StoreError> {
        while self.cells.is_empty() {
            if let Some(entry) = self.entries.pop_front() {
                self.cells = source::cells(self.chunks, &entry.chunk)?.into();
            } else if let Some(hash) = self.index.pop_front() {
                self.entries = source::index(self.chunks, &hash)?.into();
            } else {
                break;
            }
        }
        Ok(())
    }
}
