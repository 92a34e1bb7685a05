//! Checks each change of what is kept in the archive, at the moment of the change: the boundary is on record before the first
//! deletion behind it, a restore can always begin, and nothing is deleted that something there needs. And at rest: what is left can be
//! restored, to the end and to any instant that is kept.

use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use snapledger::offsite::refill::{Until, Wanted};
use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, Lsn};
use snapledger::shipping::SegmentIndex;
use snapledger::shipping::object::{
    ArchivedObject, ObjectHead, ObjectKey as _, PartKey, PieceKey, RevisionKey, SnapshotName,
    StateKey,
};
use snapledger::store::codec::{decode_state, encode_state};

use crate::archive::desk::{Reply, Verb};
use crate::archive::objects::{Folder, at_once};
use crate::archive::requests::{Request, execute};
use crate::disk::Disk;
use crate::plan::ACCOUNTS;
use crate::sabotage::Sabotage;
use crate::world::{Checked, Life, Place, World};

/// Sabotage: a boundary that only the program that deletes knows.
pub(crate) struct HeldBack {
    by: Life,
    at: Path,
    bytes: PutPayload,
    deletions: u64,
}

/// What a path names in the folder of a process or of its cluster.
pub(super) enum Named {
    Claim,
    Boundary(SegmentIndex),
    Segment(SegmentIndex),
    State(StateKey),
    Part(PartKey),
    Piece(PieceKey),
    Revision(RevisionKey),
    Other,
}

impl Named {
    pub(super) fn of(folder: &Folder, at: &Path) -> Self {
        let Some(parts) = at.prefix_match(&folder.at) else {
            let parts: Vec<_> = at.parts().collect();
            let [.., kind, name] = &parts[..] else {
                return Self::Other;
            };
            let name = (kind.as_ref() == RevisionKey::FOLDER).then_some(name.as_ref());
            let revision = name.and_then(RevisionKey::parse);
            return revision.map_or(Self::Other, Self::Revision);
        };
        let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
        let Some((kind, name)) = parts.split_first() else {
            return Self::Other;
        };
        let name = name.join("/");
        let named = match kind.as_str() {
            "epochs" => Some(Self::Claim),
            "boundary" => index(&name).map(Self::Boundary),
            "journal" => index(&name).map(Self::Segment),
            StateKey::FOLDER => StateKey::parse(&name).map(Self::State),
            PartKey::FOLDER => PartKey::parse(&name).map(Self::Part),
            PieceKey::FOLDER => PieceKey::parse(&name).map(Self::Piece),
            _ => None,
        };
        named.unwrap_or(Self::Other)
    }
}

fn index(name: &str) -> Option<SegmentIndex> {
    name.parse().ok().map(SegmentIndex)
}

impl World {
    /// Executes a request of a task, and checks what it changes.
    pub(super) fn execute_verb(&mut self, request: &Request, verb: &Verb) -> Checked<Reply> {
        if self.plan.is_sabotaged(Sabotage::DeletedBeforeBoundary)
            && let Some(reply) = self.execute_behind_back(request, verb)?
        {
            return Ok(reply);
        }
        if let Verb::Delete(at) = verb
            && !self.is_late_deletion(request, at)
        {
            self.check_deletion(request, at)?;
        }
        let reply = execute(&self.archive.storage, verb)?;
        match (verb, &reply) {
            (Verb::Put(at, bytes, _), Reply::Put(Ok(_))) => {
                self.note_put(request, at, bytes)?;
            }
            (Verb::Get(at, how), Reply::Got(Ok(_)))
                if self.plan.is_sabotaged(Sabotage::NeededFromIgnored) && how.range.is_none() =>
            {
                return self.without_needs(request, at, reply);
            }
            _ => {}
        }
        Ok(reply)
    }

    fn note_put(&mut self, request: &Request, at: &Path, bytes: &PutPayload) -> Checked {
        let now = self.now;
        for folder in &mut self.archive.folders {
            folder.gone.remove(at);
        }
        let folder = &mut self.archive.folders[request.folder];
        folder.put_at.insert(at.clone(), now);
        let head = || {
            let bytes: Vec<u8> = bytes.iter().flat_map(|bytes| bytes.to_vec()).collect();
            let head = ObjectHead::decode(&bytes).map(|(head, _)| head);
            head.map_err(|error| error.to_string())
        };
        match Named::of(folder, at) {
            Named::Claim => folder.note_claim()?,
            Named::Boundary(_) => {
                folder.note_boundary()?;
                return self.check_boundary(request);
            }
            Named::State(key) => {
                folder.states.insert(key);
                folder.named.insert(at.clone(), head()?);
            }
            Named::Part(_) => {
                folder.named.insert(at.clone(), head()?);
            }
            Named::Piece(key) => {
                folder.pieces.insert((key.epoch, key.group, key.piece));
            }
            Named::Segment(_) | Named::Revision(_) | Named::Other => {}
        }
        Ok(())
    }

    // Behind a boundary there is a state from which a restore can begin, and it has everything that is needed there.
    fn check_boundary(&mut self, request: &Request) -> Checked {
        let folder = &self.archive.folders[request.folder];
        let behind = folder.boundary.journal.position;
        if behind == Lsn(0) {
            return Ok(());
        }
        self.sometimes.saw("beginning of an archive moved");
        let Some(begin) = folder.begin().copied() else {
            return Err(format!(
                "no state is kept behind the boundary at turn {behind}"
            ));
        };
        let since = folder.since(request.by);
        let Some(since) = since.filter(|since| begin.time <= *since) else {
            return Err(format!(
                "the journal begins with {begin}; the limit is {since:?}"
            ));
        };
        let mut at_limit = folder
            .states
            .iter()
            .rev()
            .filter(|state| state.time <= since);
        if at_limit.next().is_some_and(|newest| newest.cut > begin.cut) {
            self.sometimes
                .saw("beginning of an archive held for what is needed");
        }
        Ok(())
    }

    fn check_deletion(&mut self, request: &Request, at: &Path) -> Checked {
        let folder = &mut self.archive.folders[request.folder];
        folder.deletions += 1;
        let is_zombie = self.archive.zombie.is_some() && self.is_zombie(request.by);
        let folder = &mut self.archive.folders[request.folder];
        let what = match Named::of(folder, at) {
            Named::Segment(index) => {
                let boundary = folder.boundary.index;
                if index > boundary {
                    return Err(format!(
                        "segment {index} is deleted, and the boundary is {boundary}"
                    ));
                }
                "archived segment deleted"
            }
            Named::State(key) => {
                folder.states.remove(&key);
                folder.named.remove(at);
                if folder.is_shortened() && folder.begin().is_none() {
                    return Err(format!("{key} is deleted, and no restore can begin"));
                }
                "archived state deleted"
            }
            Named::Part(key) => {
                folder.named.remove(at);
                if !folder.is_due(request.by, key.time, &key.snapshot) {
                    return Err(format!("{key} is deleted, and is kept"));
                }
                "archived part deleted"
            }
            Named::Revision(key) => {
                if !folder.is_due(request.by, key.began, &key.snapshot) {
                    return Err(format!("{key} is deleted, and is kept"));
                }
                "archived revision deleted"
            }
            Named::Piece(key) => {
                folder.pieces.remove(&(key.epoch, key.group, key.piece));
                folder.check_unneeded(&key)?;
                "archived chunks deleted"
            }
            Named::Claim | Named::Boundary(_) | Named::Other => return Ok(()),
        };
        self.sometimes.saw(what);
        if is_zombie {
            self.sometimes
                .saw("deletion by a program that was given up");
        }
        Ok(())
    }

    // Sabotage: a boundary is put only when two segments before it are deleted. Until then its program alone sees it.
    fn execute_behind_back(&mut self, request: &Request, verb: &Verb) -> Checked<Option<Reply>> {
        let storage = self.archive.storage.clone();
        let folder = &self.archive.folders[request.folder];
        if let Verb::Put(at, bytes, _) = verb
            && self.archive.held_back.is_none()
            && let Named::Boundary(SegmentIndex(1..)) = Named::of(folder, at)
        {
            let put = execute(&storage, verb)?;
            at_once(storage.delete(at))?.map_err(|error| error.to_string())?;
            self.archive.held_back = Some(HeldBack {
                by: request.by,
                at: at.clone(),
                bytes: bytes.clone(),
                deletions: 0,
            });
            return Ok(Some(put));
        }
        let held = self.archive.held_back.take_if(|held| held.by == request.by);
        let Some(mut held) = held else {
            return Ok(None);
        };
        if let Verb::Delete(at) = verb
            && let Named::Segment(_) = Named::of(folder, at)
        {
            held.deletions += 1;
            self.check_deletion(request, at)?;
        }
        let put = at_once(storage.put(&held.at, held.bytes.clone()))?;
        put.map_err(|error| error.to_string())?;
        if held.deletions > 2 {
            self.archive.folders[request.folder].note_boundary()?;
            return Ok(None);
        }
        let reply = execute(&storage, verb)?;
        at_once(storage.delete(&held.at))?.map_err(|error| error.to_string())?;
        self.archive.held_back = Some(held);
        Ok(Some(reply))
    }

    // Sabotage: a state is read as if nothing before it were needed.
    fn without_needs(&mut self, request: &Request, at: &Path, reply: Reply) -> Checked<Reply> {
        let is_start = self.nodes[request.by.place].start.is_some();
        let folder = &self.archive.folders[request.folder];
        let (Named::State(key), false, Reply::Got(got)) = (Named::of(folder, at), is_start, reply)
        else {
            return execute(
                &self.archive.storage,
                &Verb::Get(at.clone(), Default::default()),
            );
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let got = got.map_err(|error| text(&error))?;
        let bytes = at_once(got.bytes())?.map_err(|error| text(&error))?;
        let object = ArchivedObject::decode(&bytes).map_err(|error| text(&error))?;
        let mut state = decode_state(object.body).map_err(|error| text(&error))?;
        state.registers.recordings.clear();
        for channel in state.registers.outgoing.values_mut() {
            channel.landmarks.clear();
        }
        let (owner, groups) = (folder.source().owner(), object.head.groups().to_vec());
        let object = ArchivedObject::new(owner, &key, groups, encode_state(&state));
        let object = object.ok_or("it does not fit")?;
        let aside = Path::from("sabotage");
        let put = at_once(self.archive.storage.put(&aside, object.encode().into()))?;
        put.map_err(|error| text(&error))?;
        execute(&self.archive.storage, &Verb::Get(aside, Default::default()))
    }
}

impl Folder {
    /// What is older may not be kept.
    pub(super) fn oldest_kept(&self) -> Hlc {
        let limits = self.limits.values().flatten();
        limits.map(|limit| limit.since).max().unwrap_or_default()
    }

    // Whether a snapshot is too old by a limit of a program, and not kept for another reason.
    fn is_due(&self, by: Life, time: Hlc, snapshot: &SnapshotName) -> bool {
        let mut limits = self.limits.get(&by.boot).into_iter().flatten();
        limits.any(|limit| time < limit.since && !limit.kept.contains(snapshot))
    }

    // The latest limit by which a program deletes.
    fn since(&self, by: Life) -> Option<Hlc> {
        let limits = self.limits.get(&by.boot)?;
        limits.iter().map(|limit| limit.since).max()
    }

    // Whether nothing names a piece of a group that is deleted.
    fn check_unneeded(&self, piece: &PieceKey) -> Checked {
        let mut needing = self.named.iter().filter(|(at, head)| {
            let epoch = match Named::of(self, at) {
                Named::State(key) => key.epoch,
                Named::Part(key) => key.epoch,
                _ => return false,
            };
            let mut groups = head.groups().iter();
            epoch == piece.epoch && groups.any(|one| one.group == piece.group)
        });
        match needing.next() {
            None => Ok(()),
            Some((at, _)) => Err(format!("{piece} is deleted, and {at} needs it")),
        }
    }
}

impl World {
    /// Checks at rest that each process can be restored from the archive as it is, and as it was at the oldest instant that is kept.
    pub(crate) fn check_kept(&mut self) -> Checked {
        let keeps = self.archive.plan.as_ref().and_then(|plan| plan.kept);
        if keeps.is_none() {
            return Ok(());
        }
        for place in 0..self.nodes.len() {
            if self.plan.never_returns == Some(place) || self.nodes[place].life.is_none() {
                continue;
            }
            self.check_restorable(place)
                .map_err(|why| format!("{place} restored at rest: {why}"))?;
            let since = self.archive.folder(place).oldest_kept();
            if since == Hlc::default() {
                continue;
            }
            self.check_instant(place, since)
                .map_err(|why| format!("{place} restored to {since}: {why}"))?;
        }
        Ok(())
    }

    // Everything is archived at rest.
    fn check_restorable(&mut self, place: Place) -> Checked {
        let process = self.refilled_now(place, RESTORED)?;
        let Some((process, _)) = process else {
            return Err("nothing was restored".to_owned());
        };
        let alive = self.nodes[place].life.as_ref().ok_or("it is down")?;
        match process.registers() == alive.process.registers() {
            true => self.checkers.is_same(place, &process),
            false => Err("its registers are others".to_owned()),
        }
    }

    fn check_instant(&mut self, place: Place, since: Hlc) -> Checked {
        let wanted = Wanted {
            until: Some(Until::Instant(since)),
            ..RESTORED
        };
        let Some((process, disk)) = self.refilled_now(place, wanted)? else {
            return Ok(());
        };
        if disk.begins().position > Lsn(0) {
            self.sometimes
                .saw("instant restored from a shortened archive");
        }
        for account in ACCOUNTS {
            let account = AccountId::parse(account).expect("a valid id");
            let balance = process.bank().balance(&account).map(i128::from);
            self.checkers.balance(place, &account, since, balance)?;
        }
        Ok(())
    }

    // The process as it would be restored; `None` if it did not exist yet by then.
    fn refilled_now(&mut self, place: Place, wanted: Wanted) -> Checked<Option<(Process, Disk)>> {
        let folder = self.archive.folder(place);
        let work = folder.refilled(wanted);
        let is_shortened = folder.is_shortened();
        let (mut disk, filled) = match self.archive.desk.run_at_once(work) {
            Ok(filled) => filled,
            // The process had done nothing by then.
            Err(_) if wanted.until.is_some() && !is_shortened => return Ok(None),
            Err(why) => return Err(why),
        };
        if let Some(lost) = filled.lost_messages.first() {
            return Err(format!("messages are needed and not kept: {lost:?}"));
        }
        let (process, _) = self.recovered_from(place, &mut disk)?;
        Ok(Some((process, disk)))
    }
}

const RESTORED: Wanted = Wanted {
    revisions: false,
    ..Wanted::ALL
};
