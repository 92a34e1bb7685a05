//! The actions of a Delta log as far as this program writes and reads them: JSON, one action per line. See the Delta transaction
//! log protocol, `PROTOCOL.md` in github.com/delta-io/delta.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::schema::Table;

/// Readers and writers of these versions understand the tables: append-only ones without further features.
const READER_VERSION: u32 = 1;
const WRITER_VERSION: u32 = 2;
/// The name of the cluster, in the configuration of a table.
const CLUSTER: &str = "snapledger.cluster";
/// The program that wrote a version.
const ENGINE: &str = "snapledger";
/// How the log is written, in the same place: since 2, each version has the numbers of all writers.
const LAYOUT: &str = "snapledger.layout";
const NEWEST_LAYOUT: &str = "2";

/// A data file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    /// Its path below the table: plain characters only, so a URI of it is the same.
    pub(super) path: String,
    /// The process whose rows it has.
    pub(super) process: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Its rows.
    pub(super) rows: u64,
    /// The least and the greatest value of some columns.
    pub(super) ranges: Vec<(&'static str, i64, i64)>,
}

/// The numbers of a writer, by what is counted.
pub(super) type Numbers = BTreeMap<String, i64>;

/// One version of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    /// Different for each commit, so that a writer recognizes its own one.
    pub(super) id: String,
    /// Microseconds since the Unix epoch.
    pub(super) at_us: u64,
    /// The name of the writer, without a colon.
    pub(super) writer: String,
    /// The snapshot to which the version belongs.
    pub(super) snapshot: Option<String>,
    /// The files that it adds.
    pub(super) files: Vec<Added>,
    /// The numbers of all writers, kept with the log: `txn` in the protocol. The newest version has all of them.
    pub(super) numbers: BTreeMap<String, Numbers>,
}

impl Commit {
    /// The bytes of the version.
    #[must_use]
    pub(super) fn encode(&self) -> Vec<u8> {
        let at_ms = self.at_us / 1000;
        let mut info = json!({
            "timestamp": at_ms,
            "operation": "WRITE",
            "operationParameters": {"mode": "Append", "writer": self.writer},
            "isBlindAppend": true,
            "engineInfo": ENGINE,
            "txnId": self.id,
        });
        if let Some(snapshot) = &self.snapshot {
            info["userMetadata"] = json!(snapshot);
        }
        let mut lines = vec![json!({ "commitInfo": info })];
        for (writer, numbers) in &self.numbers {
            let numbers = numbers.iter();
            lines.extend(numbers.map(|(name, value)| {
                json!({"txn": {"appId": format!("{writer}:{name}"), "version": value}})
            }));
        }
        lines.extend(self.files.iter().map(|file| {
            json!({"add": {
                "path": file.path,
                "partitionValues": {},
                "size": file.size,
                "modificationTime": at_ms,
                "dataChange": true,
                "stats": stats(file).to_string(),
            }})
        }));
        lined(&lines)
    }
}

// Readers skip files by these; names are whole, since shortened ones would need care.
fn stats(file: &Added) -> Value {
    let mut least = json!({"process": file.process});
    let mut greatest = least.clone();
    for (column, from, to) in &file.ranges {
        least[*column] = json!(from);
        greatest[*column] = json!(to);
    }
    json!({"numRecords": file.rows, "minValues": least, "maxValues": greatest, "nullCount": {}})
}

fn lined(actions: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for action in actions {
        bytes.extend_from_slice(action.to_string().as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

/// Version 0 of a table, which describes it.
#[must_use]
pub(super) fn first_version(table: Table, cluster: &str, id: &str, at_us: u64) -> Vec<u8> {
    let at_ms = at_us / 1000;
    let configuration = json!({
        "delta.appendOnly": "true",
        // A writer starts from what the log says, so no other program may shorten it.
        "delta.enableExpiredLogCleanup": "false",
        CLUSTER: cluster,
        LAYOUT: NEWEST_LAYOUT,
    });
    let metadata = json!({
        "id": id,
        "name": table.name(),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": table.delta_schema().to_string(),
        "partitionColumns": [],
        "configuration": configuration,
        "createdTime": at_ms,
    });
    lined(&[
        json!({"commitInfo": {"timestamp": at_ms, "operation": "CREATE TABLE", "engineInfo": ENGINE, "txnId": id}}),
        json!({"protocol": {"minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION}}),
        json!({"metaData": metadata}),
    ])
}

/// What a version says to a writer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Version {
    /// The id of its commit.
    pub(super) id: Option<String>,
    /// Whether this program wrote it.
    pub(super) is_ours: bool,
    /// The numbers of all writers.
    pub(super) numbers: BTreeMap<String, Numbers>,
    /// Whether it adds or removes rows, and does not only store the same ones in other files.
    pub(super) changes_rows: bool,
    /// What it says of the table as a whole.
    pub(super) description: Option<Description>,
}

/// What a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// The name of the cluster; empty if there is none.
    pub(super) cluster: String,
    /// Its schema.
    pub(super) schema: Value,
    /// The columns by which its files are in folders.
    pub(super) partition_columns: Vec<String>,
}

impl Version {
    /// Why a writer must not continue behind this version, which another program wrote; `None` if it may.
    pub(super) fn obstacle(&self, table: Table, cluster: &str) -> Option<&'static str> {
        if self.changes_rows {
            return Some("another program has added or removed rows with it");
        }
        let is_same = self.description.as_ref().is_none_or(|described| {
            described.cluster == cluster
                && described.schema == table.delta_schema()
                && described.partition_columns.is_empty()
        });
        (!is_same).then_some("another program has changed the columns or the cluster with it")
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Line {
    commit_info: Option<Info>,
    txn: Option<Txn>,
    add: Option<File>,
    remove: Option<File>,
    protocol: Option<Protocol>,
    meta_data: Option<Described>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    txn_id: Option<String>,
    engine_info: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Txn {
    app_id: String,
    version: i64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default = "is_assumed")]
    data_change: bool,
}

fn is_assumed() -> bool {
    true
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Protocol {
    min_writer_version: u32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    schema_string: String,
    #[serde(default)]
    partition_columns: Vec<String>,
    configuration: BTreeMap<String, String>,
}

impl Described {
    fn read(self) -> Result<Description, String> {
        let schema = serde_json::from_str(&self.schema_string);
        Ok(Description {
            cluster: self.configuration.get(CLUSTER).cloned().unwrap_or_default(),
            schema: schema.map_err(|error| format!("its schema cannot be read: {error}"))?,
            partition_columns: self.partition_columns,
        })
    }
}

/// Reads a version.
///
/// # Errors
/// A sentence that says why this program cannot write behind it.
pub(super) fn read_version(bytes: &[u8]) -> Result<Version, String> {
    let mut version = Version::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line: Line =
            serde_json::from_slice(line).map_err(|error| format!("it is no action: {error}"))?;
        if let Some(protocol) = line.protocol
            && protocol.min_writer_version > WRITER_VERSION
        {
            return Err(format!(
                "it demands writers of version {}; this program writes version {WRITER_VERSION}",
                protocol.min_writer_version
            ));
        }
        if let Some(info) = line.commit_info {
            version.is_ours |= info.engine_info.as_deref() == Some(ENGINE);
            version.id = version.id.or(info.txn_id);
        }
        if let Some(txn) = line.txn
            && let Some((writer, name)) = txn.app_id.split_once(':')
        {
            let numbers = version.numbers.entry(writer.to_owned()).or_default();
            numbers.insert(name.to_owned(), txn.version);
        }
        let mut files = line.add.iter().chain(&line.remove);
        version.changes_rows |= files.any(|file| file.data_change);
        if let Some(described) = line.meta_data {
            if described.configuration.get(LAYOUT).map(String::as_str) != Some(NEWEST_LAYOUT) {
                return Err(
                    "another version of this program has begun it; use another place".to_owned(),
                );
            }
            version.description = Some(described.read()?);
        }
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commit(process: &str, snapshot: &str) -> Commit {
        Commit {
            id: "i".to_owned(),
            at_us: 1_700_000_000_000_000,
            snapshot: Some(snapshot.to_owned()),
            files: vec![Added {
                path: "n1/1.parquet".to_owned(),
                process: process.to_owned(),
                size: 10,
                rows: 2,
                ranges: vec![("cut", 1, 9)],
            }],
            writer: "n1".to_owned(),
            numbers: ["n1", "n2"]
                .map(|writer| {
                    (
                        writer.to_owned(),
                        Numbers::from([("open:1-2".to_owned(), 9)]),
                    )
                })
                .into(),
        }
    }

    #[test]
    fn a_table_describes_itself_and_its_cluster() {
        let bytes = first_version(Table::Entries, "a \"cluster\"", "id", 5);
        let version = read_version(&bytes).expect("it is a version");
        assert!(version.is_ours && !version.changes_rows);
        assert_eq!(version.obstacle(Table::Entries, "a \"cluster\""), None);
        assert!(version.obstacle(Table::Entries, "a").is_some());
        assert!(version.obstacle(Table::Progress, "a \"cluster\"").is_some());
        assert_eq!(version.id.as_deref(), Some("id"));
    }

    #[test]
    fn what_a_newer_writer_demands_is_refused() {
        let line =
            r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"writerFeatures":["x"]}}"#;
        let refused = read_version(line.as_bytes()).expect_err("it is newer");
        assert!(refused.contains("version 7"), "{refused}");
        assert!(read_version(b"{\"add\":").is_err());
        let unknown = br#"{"domainMetadata":{"domain":"x"}}"#;
        assert_eq!(read_version(unknown), Ok(Version::default()));
    }

    proptest! {
        // Without this an id with a quotation mark or a line break would break the log.
        #[test]
        fn any_ids_pass_through_the_log(process in "\\PC{1,20}", snapshot in any::<String>()) {
            let commit = commit(&process, &snapshot);
            let bytes = commit.encode();
            let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            prop_assert_eq!(lines.len(), 5, "four actions, and the end of the last line");
            let version = read_version(&bytes).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&version.numbers, &commit.numbers);
            prop_assert!(version.is_ours && version.changes_rows);
            let add: Value = serde_json::from_slice(lines[3]).expect("JSON");
            prop_assert_eq!(&add["add"]["path"], &json!("n1/1.parquet"));
            let stats = add["add"]["stats"].as_str().expect("a text");
            let stats: Value = serde_json::from_str(stats).expect("JSON in a text");
            prop_assert_eq!(&stats["maxValues"]["process"], &json!(process));
            prop_assert_eq!(&stats["maxValues"]["cut"], &json!(9));
        }
    }
}
