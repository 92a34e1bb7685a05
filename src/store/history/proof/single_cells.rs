//! The part of a proof for a salted run: the cell of the account, or the two cells between which it would stand, each
//! with the hashes that lead from it to an index chunk named by the revision.
//!
//! Of another cell a proof shows at most the id, if it is an account next to the one in question, and never its content.
//! A proof of presence shows no other cell. That a run is sorted, and names no account twice, is for an audit to find: a
//! proof takes it from the process that recorded the run.

use crate::history::part::{Chunk, Run};
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::{AccountId, Hash};
use crate::store::chunks::source;
use crate::store::chunks::{Chunks, other_content};
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::codec::FramedChunk;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::salted::{self, LeafSalt, Tree};

/// The kind of an account's cell; all others are greater.
const ACCOUNT: u8 = 0;
/// The greatest kind of a cell.
const KIND_MAX: u8 = 3;

/// The cell of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCell {
    /// Where it stands.
    pub place: CellPlace,
    /// The salts of its name and of its content.
    pub salts: [LeafSalt; 2],
    /// Its balance, minor units.
    pub balance: i64,
}

/// Neighbouring cells between which the account would stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentCell {
    /// The cell before; `None` if it would be the first of the run.
    pub before: Option<Neighbour>,
    /// The cell behind; `None` if it would be the last of the run.
    pub after: Option<Neighbour>,
}

/// A cell next to the place of the account. Its content is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Where it stands.
    pub place: CellPlace,
    /// Its name.
    pub name: NeighbourName,
    /// The hash of its content.
    pub content: Hash,
}

/// The name of a neighbouring cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NeighbourName {
    /// An account.
    Account {
        /// Its id.
        account: AccountId,
        /// The salt of the id.
        salt: LeafSalt,
    },
    /// A cell of another kind, 1 to 3; all of them follow the accounts.
    Hidden {
        /// The kind, as in [`Cell::key`].
        kind: u8,
        /// The hash of the name.
        name: Hash,
    },
}

/// Where a cell stands in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellPlace {
    /// The number of the index chunk, from 0.
    pub index: u32,
    /// The entry in it.
    pub entry: Branch,
    /// The hash of the name of the entry.
    pub entry_name: Hash,
    /// The cell in the chunk of the entry.
    pub cell: Branch,
}

/// Where a leaf stands in a chunk, and what leads from it to the hash of the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The number of the leaf, from 0.
    pub position: u32,
    /// The number of leaves.
    pub count: u32,
    /// The siblings on the way to the root.
    pub path: Vec<Hash>,
    /// The hash of the body of the chunk.
    pub body: Hash,
}

impl Branch {
    fn address(&self, leaf: Hash) -> Result<Hash, String> {
        let root = salted::root_of(leaf, self.position, self.count, &self.path);
        let root = root.ok_or("a path in it does not fit its position")?;
        Ok(salted::address(&root, self.count, &self.body))
    }

    fn is_last(&self) -> bool {
        self.position.checked_add(1) == Some(self.count)
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        self.position.checked_add(1) == Some(next.position)
    }
}

impl CellPlace {
    /// Checks that the run has this leaf here.
    fn check(&self, run: &Run, leaf: Hash) -> Result<(), String> {
        let chunk = self.cell.address(leaf)?;
        let entry = salted::entry_leaf(&self.entry_name, &chunk);
        let index = usize::try_from(self.index).ok();
        let index = index.and_then(|index| run.index.get(index));
        if index != Some(&self.entry.address(entry)?) {
            return Err("it does not lead to the root".to_owned());
        }
        Ok(())
    }

    fn is_first(&self) -> bool {
        (self.index, self.entry.position, self.cell.position) == (0, 0, 0)
    }

    fn is_last(&self, run: &Run) -> bool {
        let indexes = u32::try_from(run.index.len()).ok();
        self.index.checked_add(1) == indexes && self.entry.is_last() && self.cell.is_last()
    }

    // Both places are in the run, so the same numbers mean the same chunks.
    fn is_followed_by(&self, next: &Self) -> bool {
        let is_same_index = self.index == next.index;
        if is_same_index && self.entry.position == next.entry.position {
            return self.cell.is_followed_by(&next.cell);
        }
        let is_next_chunk = match is_same_index {
            true => self.entry.is_followed_by(&next.entry),
            false => {
                self.index.checked_add(1) == Some(next.index)
                    && self.entry.is_last()
                    && next.entry.position == 0
            }
        };
        is_next_chunk && self.cell.is_last() && next.cell.position == 0
    }
}

impl FoundCell {
    /// The balance of the account.
    pub(super) fn look_up(&self, run: &Run, account: &AccountId) -> Result<i64, String> {
        let mut scratch = Vec::new();
        let [name, content] = &self.salts;
        let name = salted::salted(name, &[account.as_str().as_bytes()], &mut scratch);
        let balance = self.balance.to_le_bytes();
        let content = salted::salted(content, &[&balance], &mut scratch);
        let leaf = salted::leaf(ACCOUNT, &name, &content);
        self.place.check(run, leaf)?;
        Ok(self.balance)
    }
}

impl AbsentCell {
    /// Checks that the run does not have the account.
    pub(super) fn look_up(&self, run: &Run, account: &AccountId) -> Result<(), String> {
        let is_between = match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.place.is_followed_by(&after.place),
            (None, Some(after)) => after.place.is_first(),
            (Some(before), None) => before.place.is_last(run),
            (None, None) => run.index.is_empty(),
        };
        if !is_between {
            return Err("the cells that it shows are not next to each other".to_owned());
        }
        for neighbour in self.before.iter().chain(&self.after) {
            neighbour.check(run)?;
        }
        let is_before = self.before.as_ref().is_none_or(|before| {
            matches!(&before.name, NeighbourName::Account { account: id, .. } if id < account)
        });
        let is_behind = self.after.as_ref().is_none_or(|after| match &after.name {
            NeighbourName::Account { account: id, .. } => id > account,
            NeighbourName::Hidden { kind, .. } => (1..=KIND_MAX).contains(kind),
        });
        if !(is_before && is_behind) {
            return Err("the account does not belong between the cells that it shows".to_owned());
        }
        Ok(())
    }

    /// The ids of other accounts that it shows.
    pub(super) fn shown(&self) -> impl Iterator<Item = &AccountId> {
        let neighbours = self.before.iter().chain(&self.after);
        neighbours.filter_map(|neighbour| match &neighbour.name {
            NeighbourName::Account { account, .. } => Some(account),
            NeighbourName::Hidden { .. } => None,
        })
    }
}

impl Neighbour {
    fn check(&self, run: &Run) -> Result<(), String> {
        let (kind, name) = match &self.name {
            NeighbourName::Account { account, salt } => {
                let id = account.as_str().as_bytes();
                (ACCOUNT, salted::salted(salt, &[id], &mut Vec::new()))
            }
            NeighbourName::Hidden { kind, name } => (*kind, *name),
        };
        self.place
            .check(run, salted::leaf(kind, &name, &self.content))
    }
}

/// The cell of an account in a salted run, or its neighbours.
pub(super) fn prove(
    chunks: &Chunks,
    run: &Run,
    account: &AccountId,
) -> Result<Result<FoundCell, AbsentCell>, StoreError> {
    let key = CellKey::of_account(account.as_str());
    let Some(place) = source::place(chunks, run, key)? else {
        let first = Position::default();
        let after = Some(first.neighbour(chunks, run)?);
        return Ok(Err(AbsentCell {
            before: None,
            after,
        }));
    };
    let cells = source::cells(chunks, &place.chunk)?;
    let behind = cells.partition_point(|cell| cell.key() <= key);
    // The chunk begins at or before the key.
    let cell = behind.checked_sub(1);
    let cell = cell.ok_or_else(|| other_content(&place.chunk))?;
    let position = Position {
        index: place.index,
        entry: place.entry,
        cell,
    };
    if let Cell::Account {
        account: found,
        balance,
    } = &cells[cell]
        && found == account
    {
        let opened = position.open(chunks, run)?;
        return Ok(Ok(FoundCell {
            place: opened.place(position)?,
            salts: opened.cells.tree.salts(cell),
            balance: *balance,
        }));
    }
    let next = position.next(chunks, run, cells.len())?;
    Ok(Err(AbsentCell {
        before: Some(position.neighbour(chunks, run)?),
        after: next.map(|next| next.neighbour(chunks, run)).transpose()?,
    }))
}

/// The number of an index chunk, of an entry in it, and of a cell in the chunk of the entry.
#[derive(Clone, Copy, Default)]
struct Position {
    index: usize,
    entry: usize,
    cell: usize,
}

impl Position {
    // The next cell; the chunk of this one has `cells` cells.
    fn next(self, chunks: &Chunks, run: &Run, cells: usize) -> Result<Option<Self>, StoreError> {
        if self.cell + 1 < cells {
            let cell = self.cell + 1;
            return Ok(Some(Self { cell, ..self }));
        }
        let entries = chunks.index(&run.index[self.index])?.len();
        if self.entry + 1 < entries {
            let entry = self.entry + 1;
            return Ok(Some(Self {
                entry,
                cell: 0,
                ..self
            }));
        }
        let index = self.index + 1;
        Ok((index < run.index.len()).then_some(Self {
            index,
            entry: 0,
            cell: 0,
        }))
    }

    fn open(self, chunks: &Chunks, run: &Run) -> Result<OpenedPlace, StoreError> {
        let hash = run.index[self.index];
        let index = OpenedChunk::read(chunks, hash)?;
        let Chunk::Index(entries) = &index.content else {
            return Err(other_content(&hash));
        };
        let entry = entries
            .get(self.entry)
            .ok_or_else(|| other_content(&hash))?;
        let cells = OpenedChunk::read(chunks, entry.chunk)?;
        let [salt, _] = index.tree.salts(self.entry);
        Ok(OpenedPlace {
            entry_name: salted::name_of(entry, &salt, &mut Vec::new()),
            index,
            cells,
        })
    }

    fn neighbour(self, chunks: &Chunks, run: &Run) -> Result<Neighbour, StoreError> {
        let opened = self.open(chunks, run)?;
        let Chunk::Cells(cells) = &opened.cells.content else {
            return Err(other_content(&opened.cells.hash));
        };
        let cell = cells.get(self.cell);
        let cell = cell.ok_or_else(|| other_content(&opened.cells.hash))?;
        let [salt, hides] = opened.cells.tree.salts(self.cell);
        let mut scratch = Vec::new();
        let content = salted::content_of(cell, &hides, &mut scratch);
        let name = match cell {
            Cell::Account { account, .. } => NeighbourName::Account {
                account: account.clone(),
                salt,
            },
            other => {
                let CellKey { kind, name } = other.key();
                let name = salted::salted(&salt, &[name.as_bytes()], &mut scratch);
                NeighbourName::Hidden { kind, name }
            }
        };
        Ok(Neighbour {
            place: opened.place(self)?,
            name,
            content,
        })
    }
}

/// The chunks that lead to a cell.
struct OpenedPlace {
    index: OpenedChunk,
    entry_name: Hash,
    cells: OpenedChunk,
}

impl OpenedPlace {
    fn place(&self, position: Position) -> Result<CellPlace, StoreError> {
        let index = u32::try_from(position.index);
        Ok(CellPlace {
            index: index.map_err(|_| other_content(&self.index.hash))?,
            entry: self.index.branch(position.entry)?,
            entry_name: self.entry_name,
            cell: self.cells.branch(position.cell)?,
        })
    }
}

/// A salted chunk of the store with its tree.
struct OpenedChunk {
    hash: Hash,
    content: Chunk,
    tree: Tree,
    body: Hash,
}

impl OpenedChunk {
    fn read(chunks: &Chunks, hash: Hash) -> Result<Self, StoreError> {
        let framed = chunks.framed(&hash)?;
        let damaged = |damage| StoreError::damaged(schema::name(Kind::Chunk, &hash.0), damage);
        let chunk = FramedChunk::of(&framed).and_then(|chunk| chunk.addressed(&hash));
        let FramedChunk::Salted(salted) = chunk.map_err(damaged)? else {
            let problem = "it is not salted, unlike the others of its run".to_owned();
            return Err(damaged(Damage::Contradiction(problem)));
        };
        let content = salted.decode().map_err(damaged)?;
        Ok(Self {
            hash,
            tree: salted.tree(&content).map_err(damaged)?,
            body: salted.body(),
            content,
        })
    }

    fn branch(&self, position: usize) -> Result<Branch, StoreError> {
        let number = u32::try_from(position);
        Ok(Branch {
            position: number.map_err(|_| other_content(&self.hash))?,
            count: self.tree.count(),
            path: self.tree.path(position),
            body: self.body,
        })
    }
}
