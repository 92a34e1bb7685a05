//! The file `peers` next to sled's log: the process found at each address for which the configuration gives no id. With
//! it a node can restart while these processes are down.
//!
//! It is read before the store is opened, because opening needs a complete configuration, and written when the store is
//! open and locked. It can be lost without harm: the node asks the peers again.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::process::ids::ProcessId;
use crate::store::Store;
use crate::store::engine::files::{PEERS, failed, replace};
use crate::store::error::StoreError;

/// The size limit; the members of the largest cluster need less.
const BYTES_MAX: u64 = 1 << 20;

/// Processes by the address, `host:port`, at which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses(BTreeMap<String, MetProcess>);

/// A process that answered at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetProcess {
    /// The id it reported.
    pub process: ProcessId,
    /// The REST address it reported, if any.
    pub rest: Option<String>,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct StoredAddress {
    process: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<String>,
}

impl Addresses {
    /// Reads the addresses from the directory of a store; empty if the file does not exist or cannot be read.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let path = dir.join(PEERS);
        match read(&path) {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the saved ids; peers without an id are \
                    queried again");
                Self::default()
            }
        }
    }

    /// The process found at an address.
    #[must_use]
    pub fn get(&self, address: &str) -> Option<&MetProcess> {
        self.0.get(address)
    }

    /// The content of the file.
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let line = |(address, met): (&String, &MetProcess)| {
            let process = met.process.to_string();
            let rest = met.rest.clone();
            (address.clone(), StoredAddress { process, rest })
        };
        let lines: BTreeMap<String, StoredAddress> = self.0.iter().map(line).collect();
        let text = serde_json::to_string_pretty(&lines).expect("text is always JSON");
        (text + "\n").into_bytes()
    }

    /// Parses the content of the file.
    ///
    /// # Errors
    /// The file is damaged.
    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, Box<dyn std::error::Error>> {
        let lines: BTreeMap<String, StoredAddress> = serde_json::from_slice(bytes)?;
        let mut addresses = Self::default();
        for (address, StoredAddress { process, rest }) in lines {
            let process = ProcessId::parse(&process)?;
            addresses.insert(address, MetProcess { process, rest });
        }
        Ok(addresses)
    }

    /// Writes the file durably.
    pub(in crate::store) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        replace(dir, PEERS, &self.encode())
    }

    /// Whether there are no addresses.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a process.
    pub fn insert(&mut self, address: String, met: MetProcess) {
        self.0.insert(address, met);
    }
}

impl Store {
    /// Replaces the remembered addresses durably.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the store itself is unchanged.
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
        fs::write(dir.path().join(PEERS), "{\"h2:1\": {\"proc").expect("there is room");
        assert_eq!(Addresses::read(dir.path()), Addresses::default());
        store.remember(&addresses).expect("there is room");
        assert_eq!(Addresses::read(dir.path()), addresses);
    }
}
