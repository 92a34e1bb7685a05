//! The file operations and acknowledgements of a store, in order, from the lines of strace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::lines::{self, Call};

/// The identity of a file, independent of its name.
pub(crate) type Inode = usize;

/// One file operation or acknowledgement.
#[derive(Debug)]
pub(crate) enum Act {
    Write {
        inode: Inode,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        inode: Inode,
        length: u64,
    },
    Sync {
        inode: Inode,
    },
    /// A directory entry was added or removed.
    Name {
        name: String,
        inode: Option<Inode>,
    },
    SyncNames,
    Acknowledged {
        position: u64,
        digest: String,
    },
}

/// An act. It counts as completed for events that begin after its end.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) act: Act,
    pub(crate) ended: usize,
    pub(crate) began: usize,
}

/// The events of several runs of one store.
pub(crate) struct Traced {
    dir: PathBuf,
    pub(crate) events: Vec<Event>,
    names: BTreeMap<String, Inode>,
    inodes: usize,
    /// The number of lines of all runs read so far.
    lines: usize,
}

impl Traced {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            events: Vec::new(),
            names: BTreeMap::new(),
            inodes: 0,
            lines: 0,
        }
    }

    /// Returns what was acknowledged before an event: positions and digests.
    pub(crate) fn acknowledged(&self, before: usize) -> impl Iterator<Item = (u64, &str)> {
        self.events[..before]
            .iter()
            .filter_map(|event| match &event.act {
                Act::Acknowledged { position, digest } => Some((*position, digest.as_str())),
                _ => None,
            })
    }

    /// Appends the trace of the next run.
    pub(crate) fn read(&mut self, trace: &Path) {
        let text = std::fs::read_to_string(trace).expect("strace writes text");
        for call in lines::calls(&text) {
            for act in self.acts(&call) {
                self.events.push(Event {
                    act,
                    began: self.lines + call.began,
                    ended: call.ended.saturating_add(self.lines),
                });
            }
        }
        self.lines += text.lines().count();
    }

    fn acts(&mut self, call: &Call) -> Vec<Act> {
        let described = lines::path_of(&call.arguments);
        let inode = described.as_deref().and_then(|path| self.known(path));
        match (call.name.as_str(), inode) {
            ("openat", _) if call.arguments.contains("O_CREAT") => self.created(call),
            ("pwrite64", Some(inode)) => {
                let offset = call.arguments.rsplit(", ").next().map(str::parse);
                let offset = offset
                    .expect("it has arguments")
                    .expect("a number comes last");
                written(call, inode, offset)
            }
            ("write", Some(inode)) => {
                // Only engine snapshot files are written this way, sequentially from the beginning.
                let offset = self.length(inode);
                written(call, inode, offset)
            }
            ("write", None)
                if described
                    .as_ref()
                    .is_some_and(|path| path.ends_with(".acks")) =>
            {
                acknowledged(call)
            }
            ("ftruncate", Some(inode)) => {
                let length = call.arguments.rsplit(", ").next().map(str::parse);
                let length = length
                    .expect("it has arguments")
                    .expect("a number comes last");
                vec![Act::Truncate { inode, length }]
            }
            ("fsync" | "fdatasync", Some(inode)) => vec![Act::Sync { inode }],
            ("fsync", None) if described.is_some_and(|path| Path::new(&path) == self.dir) => {
                vec![Act::SyncNames]
            }
            ("rename", _) => self.renamed(call),
            ("unlink", _) => self.removed(call),
            _ => Vec::new(),
        }
    }

    fn name(&self, path: &str) -> Option<String> {
        let name = Path::new(path).strip_prefix(&self.dir).ok()?;
        Some(name.to_str()?.to_owned())
    }

    fn known(&self, path: &str) -> Option<Inode> {
        self.names.get(&self.name(path)?).copied()
    }

    fn created(&mut self, call: &Call) -> Vec<Act> {
        let path = lines::texts_of(&call.arguments).pop();
        let Some(name) = path.and_then(|path| self.name(&path)) else {
            return Vec::new();
        };
        if self.names.contains_key(&name) {
            return Vec::new();
        }
        let inode = self.inodes;
        self.inodes += 1;
        self.names.insert(name.clone(), inode);
        vec![Act::Name {
            name,
            inode: Some(inode),
        }]
    }

    fn renamed(&mut self, call: &Call) -> Vec<Act> {
        let paths = lines::texts_of(&call.arguments);
        let names: Vec<String> = paths.iter().filter_map(|path| self.name(path)).collect();
        let [from, to] = &names[..] else {
            return Vec::new();
        };
        let inode = self.names.remove(from);
        let inode = inode.expect("what is renamed was created");
        self.names.insert(to.clone(), inode);
        let gone = Act::Name {
            name: from.clone(),
            inode: None,
        };
        vec![
            Act::Name {
                name: to.clone(),
                inode: Some(inode),
            },
            gone,
        ]
    }

    fn removed(&mut self, call: &Call) -> Vec<Act> {
        let path = lines::texts_of(&call.arguments).pop();
        let name = path.and_then(|path| self.name(&path));
        let name = name.filter(|name| self.names.remove(name).is_some());
        name.map(|name| Act::Name { name, inode: None })
            .into_iter()
            .collect()
    }

    fn length(&self, inode: Inode) -> u64 {
        let ends = self.events.iter().filter_map(|event| match &event.act {
            Act::Write {
                inode: other,
                offset,
                bytes,
            } if *other == inode => Some(offset + bytes.len() as u64),
            _ => None,
        });
        ends.max().unwrap_or(0)
    }
}

fn written(call: &Call, inode: Inode, offset: u64) -> Vec<Act> {
    let bytes = lines::bytes_of(call).expect("it writes something");
    vec![Act::Write {
        inode,
        offset,
        bytes,
    }]
}

fn acknowledged(call: &Call) -> Vec<Act> {
    let bytes = lines::bytes_of(call).expect("it writes something");
    let line = String::from_utf8(bytes).expect("it is text");
    let (position, digest) = line.trim_end().split_once(' ').expect("two words");
    vec![Act::Acknowledged {
        position: position.parse().expect("a number"),
        digest: digest.to_owned(),
    }]
}
