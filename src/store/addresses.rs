//! The file `peers` beside sled's log: which process was met at an address of which the configuration gives no id. With
//! it a node starts again while these processes are dead.
//!
//! It is read before the store is opened, since a store is opened for a configuration that is whole, and is written once
//! the store is open and locked. Without it nothing is lost: the peers are asked again.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use super::files::{failed, replace};
use crate::process::ids::ProcessId;

pub(super) const NAME: &str = "peers";
/// More than the members of the largest cluster take.
const BYTES_MAX: u64 = 1 << 20;

/// Processes by the address, `host:port`, at which they were met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses(BTreeMap<String, MetProcess>);

/// A process that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetProcess {
    /// Its id.
    pub process: ProcessId,
    /// Its REST address, where it told one.
    pub rest: Option<String>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct StoredAddress {
    process: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<String>,
}

impl Addresses {
    /// What is remembered in the directory of a store; nothing where there is none, or where the file cannot be read.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let path = dir.join(NAME);
        match read(&path) {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "not read: peers without an id are asked again");
                Self::default()
            }
        }
    }

    /// The process that was met at an address.
    #[must_use]
    pub fn get(&self, address: &str) -> Option<&MetProcess> {
        self.0.get(address)
    }

    /// As the file has it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let line = |(address, met): (&String, &MetProcess)| {
            let process = met.process.to_string();
            let rest = met.rest.clone();
            (address.clone(), StoredAddress { process, rest })
        };
        let lines: BTreeMap<String, StoredAddress> = self.0.iter().map(line).collect();
        let text = serde_json::to_string_pretty(&lines).expect("text is always JSON");
        (text + "\n").into_bytes()
    }

    /// Reads what the file has.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Box<dyn std::error::Error>> {
        let lines: BTreeMap<String, StoredAddress> = serde_json::from_slice(bytes)?;
        let mut addresses = Self::default();
        for (address, StoredAddress { process, rest }) in lines {
            let process = ProcessId::parse(&process)?;
            addresses.insert(address, MetProcess { process, rest });
        }
        Ok(addresses)
    }

    /// Writes them beside a store, durably.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        replace(dir, NAME, &self.encode())
    }

    /// Whether no process is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of a process.
    pub fn insert(&mut self, address: String, met: MetProcess) {
        self.0.insert(address, met);
    }
}

impl Store {
    /// Remembers these addresses alone, durably.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the store itself is as before.
    pub fn remember(&self, addresses: &Addresses) -> Result<(), StoreError> {
        let dir = &self.engine.dir;
        if Addresses::read(dir) == *addresses {
            return Ok(());
        }
        addresses.write(dir)
    }
}

fn read(path: &Path) -> Result<Addresses, Box<dyn std::error::Error>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Addresses::default()),
        Ok(found) if found.len() > BYTES_MAX => return Err("it is too long".into()),
        found => found.map_err(failed("cannot read", path))?,
    };
    Addresses::decode(&fs::read(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_and_what_is_damaged_is_asked_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(Addresses::read(dir.path()), Addresses::default());
        let me = ProcessId::parse("n1").expect("an id");
        let store = Store::open(dir.path(), "c", &me).expect("a new store");
        let mut addresses = Addresses::default();
        let met = MetProcess {
            process: ProcessId::parse("n2").expect("an id"),
            rest: None,
        };
        addresses.insert("h2:1".to_owned(), met.clone());
        store.remember(&addresses).expect("there is room");
        let read = Addresses::read(dir.path());
        assert_eq!(read.get("h2:1"), Some(&met));
        assert_eq!(read.get("h3:1"), None);
        fs::write(dir.path().join(NAME), "{\"h2:1\": {\"proc").expect("there is room");
        assert_eq!(Addresses::read(dir.path()), Addresses::default());
        store.remember(&addresses).expect("there is room");
        assert_eq!(Addresses::read(dir.path()), addresses);
    }
}
