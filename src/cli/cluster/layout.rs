//! The layout of a local cluster: ids, ports, directories and the cluster file.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::Args;
use crate::access::private_file::replace_private;
use crate::cli::CliError;
use crate::config::cluster_file::{
    ClockBlock, ClusterFile, HistoryBlock, ProcessBlock, SnapshotBlock, Source, StoreBlock,
};
use crate::config::{
    ApiBlock, ArchiveBlock, CLUSTER_DEFAULT, ConfigError, CurrencyBlock, Fault, LimitsBlock,
    parse_age, parse_interval,
};

const HOST: &str = "127.0.0.1";

/// A planned local cluster.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) nodes: Vec<LocalNode>,
    /// The cluster file.
    pub(super) path: PathBuf,
    /// The executable of this program.
    pub(super) program: PathBuf,
    file: ClusterFile,
    /// Options for every node that override the cluster file, for this start only.
    told: Vec<String>,
    /// Whether the cluster file must be written.
    changed: bool,
}

/// A node of the cluster.
#[derive(Debug)]
pub(super) struct LocalNode {
    pub(super) id: String,
    pub(super) grpc: String,
    pub(super) rest: String,
    pub(super) dir: PathBuf,
}

impl Layout {
    /// Plans the cluster and reads an existing cluster file; writes nothing.
    pub(super) fn new(args: &Args) -> Result<Self, CliError> {
        if let Some(interval) = &args.snapshot_interval {
            parse_interval(interval).map_err(|fault| fault.of("--snapshot-interval"))?;
        }
        let told = told(args)?;
        if args.dir.exists() && !args.dir.is_dir() {
            let dir = args.dir.display();
            return Err(CliError::Usage(format!(
                "--dir: {dir} is not a directory; name an existing or new directory"
            )));
        }
        // Absolute, so that a node restarted from another directory finds the same store.
        let dir = std::path::absolute(&args.dir).map_err(CliError::Runtime)?;
        let nodes = local_nodes(args, &dir)?;
        let path = dir.join("cluster.toml");
        let before = if path.exists() {
            Some(existing(&path, &nodes)?)
        } else {
            None
        };
        let file = planned(before.as_ref(), &nodes, args);
        Ok(Self {
            changed: before.as_ref().is_none_or(|before| !same(before, &file)),
            program: std::env::current_exe().map_err(CliError::Runtime)?,
            nodes,
            path,
            file,
            told,
        })
    }

    /// Checks that all ports are free at the same time.
    pub(super) fn check_ports(&self) -> Result<(), CliError> {
        let mut bound = Vec::new();
        for address in self.nodes.iter().flat_map(|node| [&node.grpc, &node.rest]) {
            let listener = TcpListener::bind(address).map_err(|error| CliError::Listen {
                address: address.clone(),
                reason: match error.kind() {
                    std::io::ErrorKind::AddrInUse => {
                        "the port is in use; stop the program that listens there \
                         or choose others with --grpc-port and --rest-port"
                            .to_owned()
                    }
                    _ => format!("{error}; choose others with --grpc-port and --rest-port"),
                },
            })?;
            bound.push(listener);
        }
        Ok(())
    }

    /// Writes the cluster file, unless it is unchanged.
    pub(super) fn write(&self) -> Result<(), CliError> {
        if !self.changed {
            return Ok(());
        }
        let unwritable = |error: &dyn std::fmt::Display| {
            CliError::Usage(format!(
                "cannot write {}: {error}; choose another --dir",
                self.path.display()
            ))
        };
        let text = toml::to_string(&self.file).map_err(|error| unwritable(&error))?;
        let dir = self
            .path
            .parent()
            .expect("the file lies in the cluster's directory");
        std::fs::create_dir_all(dir).map_err(|error| unwritable(&error))?;
        replace_private(&self.path, text.as_bytes()).map_err(|error| unwritable(&error))
    }

    /// The arguments that start a node.
    pub(super) fn arguments(&self, node: &LocalNode) -> Vec<String> {
        let path = self.path.to_string_lossy().into_owned();
        let mut arguments = vec![
            "node".into(),
            "--config".into(),
            path,
            "--id".into(),
            node.id.clone(),
        ];
        arguments.extend_from_slice(&self.told);
        arguments
    }

    /// The shell command that starts a node.
    pub(super) fn command_line(&self, node: &LocalNode) -> String {
        let words = std::iter::once(self.program.to_string_lossy().into_owned());
        let quoted: Vec<String> = words
            .chain(self.arguments(node))
            .map(|word| quoted(&word))
            .collect();
        quoted.join(" ")
    }
}

/// The history limits as options of `node`. They are not written to the cluster file: a later start without them must
/// not delete anything.
fn told(args: &Args) -> Result<Vec<String>, ConfigError> {
    let mut told = Vec::new();
    if let Some(age) = &args.history_max_age {
        let option = "--history-max-age";
        parse_age(age).map_err(|fault| fault.of(option))?;
        told.extend([option.to_owned(), age.clone()]);
    }
    if let Some(count) = args.history_max_count {
        let option = "--history-max-count";
        if count == 0 {
            return Err(Fault::MaxCount.of(option));
        }
        told.extend([option.to_owned(), count.to_string()]);
    }
    Ok(told)
}

fn local_nodes(args: &Args, dir: &Path) -> Result<Vec<LocalNode>, CliError> {
    let mut taken = BTreeSet::new();
    let mut address = |option: &str, first: u16, offset: u16| {
        let port = first.checked_add(offset).ok_or_else(|| {
            CliError::Usage(format!(
                "{option}: {} ports from {first} on do not fit below 65536; choose a lower port",
                args.nodes
            ))
        })?;
        if taken.insert(port) {
            Ok(format!("{HOST}:{port}"))
        } else {
            Err(CliError::Usage(format!(
                "port {port} would serve both gRPC and REST; choose --grpc-port and --rest-port at least {} apart",
                args.nodes
            )))
        }
    };
    (0..args.nodes)
        .map(|offset| {
            let id = format!("n{}", offset + 1);
            Ok(LocalNode {
                grpc: address("--grpc-port", args.grpc_port, offset)?,
                rest: address("--rest-port", args.rest_port, offset)?,
                dir: dir.join(&id),
                id,
            })
        })
        .collect()
}

/// Reads the cluster file of an earlier start. Refuses it if it describes another cluster than the requested one.
fn existing(path: &Path, nodes: &[LocalNode]) -> Result<ClusterFile, CliError> {
    let source = Source::read(path)?;
    let file = source.parse()?;
    let cluster = source.validate(&file)?;
    if file.tls.is_some() {
        return Err(CliError::Usage(format!(
            "--dir: {} has a [tls] table, and this command is for local clusters without TLS; start each node with \
             `snapledger node --config {} --id ID`, or choose another --dir",
            path.display(),
            path.display()
        )));
    }
    let ids: BTreeSet<&str> = cluster
        .members
        .iter()
        .map(|member| member.id.as_str())
        .collect();
    if ids == nodes.iter().map(|node| node.id.as_str()).collect() {
        return Ok(file);
    }
    let there: Vec<&str> = ids.into_iter().collect();
    Err(CliError::Usage(format!(
        "--dir: {} holds a cluster of {}: {}; start it with the same --nodes or choose another --dir",
        path.display(),
        there.len(),
        there.join(", ")
    )))
}

/// The cluster file for this start: the existing content with the current addresses and directories.
fn planned(before: Option<&ClusterFile>, nodes: &[LocalNode], args: &Args) -> ClusterFile {
    let mut file = before.cloned().unwrap_or_else(|| ClusterFile {
        cluster: spanned(CLUSTER_DEFAULT),
        channels: None,
        processes: Vec::new(),
        snapshot: SnapshotBlock {
            interval: Some(spanned("60s")),
            deadline: Some(spanned("5s")),
            open_max: None,
        },
        store: StoreBlock::default(),
        history: HistoryBlock::default(),
        clock: ClockBlock::default(),
        limits: LimitsBlock::default(),
        currency: CurrencyBlock::default(),
        otel: None,
        archive: ArchiveBlock::default(),
        tls: None,
        api: ApiBlock::default(),
        auth: None,
    });
    file.processes = nodes
        .iter()
        .map(|node| ProcessBlock {
            id: spanned(&node.id),
            grpc: spanned(&node.grpc),
            rest: Some(spanned(&node.rest)),
            advertise: None,
            advertise_rest: None,
            dir: Some(node.dir.clone()),
            transport: None,
        })
        .collect();
    if let Some(interval) = &args.snapshot_interval {
        file.snapshot.interval = Some(spanned(interval));
    }
    file
}

fn spanned(text: &str) -> Spanned<String> {
    Spanned::new(0..0, text.to_owned())
}

/// Whether two files have the same content, independent of formatting.
fn same(a: &ClusterFile, b: &ClusterFile) -> bool {
    matches!((toml::to_string(a), toml::to_string(b)), (Ok(a), Ok(b)) if a == b)
}

/// `word`, quoted so that a shell reads it as one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path, nodes: u16) -> Args {
        Args {
            nodes,
            dir: dir.to_owned(),
            grpc_port: 7101,
            rest_port: 7201,
            snapshot_interval: None,
            history_max_age: None,
            history_max_count: None,
        }
    }

    fn sentence(args: &Args) -> String {
        Layout::new(args).expect_err("it does not fit").to_string()
    }

    #[test]
    fn a_second_start_keeps_what_was_edited_and_refuses_another_size() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = Layout::new(&args(dir.path(), 2)).expect("a new directory");
        assert!(first.changed);
        first.write().expect("a writable directory");
        let text = std::fs::read_to_string(&first.path).expect("written");
        let edited = text.replace("\"60s\"", "\"off\" # quiet");
        std::fs::write(&first.path, &edited).expect("writable");

        let second = Layout::new(&args(dir.path(), 2)).expect("the same cluster");
        assert!(!second.changed, "comments survive");
        let mut moved = args(dir.path(), 2);
        moved.grpc_port = 9101;
        let moved = Layout::new(&moved).expect("other ports");
        assert!(moved.changed);
        let interval = moved
            .file
            .snapshot
            .interval
            .as_ref()
            .map(|text| text.get_ref().as_str());
        assert_eq!(interval, Some("off"));

        let other = sentence(&args(dir.path(), 3));
        assert!(
            other.contains("cluster of 2: n1, n2; start it with"),
            "{other}"
        );
    }

    #[test]
    fn nodes_are_told_what_they_keep_and_the_file_is_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut bounded = args(dir.path(), 1);
        bounded.history_max_age = Some("12h".to_owned());
        bounded.history_max_count = Some(3);
        let layout = Layout::new(&bounded).expect("a new directory");
        let told = "--history-max-age 12h --history-max-count 3";
        let command = layout.command_line(&layout.nodes[0]);
        assert!(command.ends_with(told), "{command}");
        layout.write().expect("a writable directory");
        let text = std::fs::read_to_string(&layout.path).expect("written");
        assert!(!text.contains("max_"), "{text}");
        bounded.history_max_age = Some("12".to_owned());
        assert!(sentence(&bounded).contains("for example 15d"));
    }

    #[test]
    fn ports_must_fit_and_differ() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut close = args(dir.path(), 3);
        close.rest_port = 7102;
        assert!(sentence(&close).contains("port 7102 would serve both"));
        let mut high = args(dir.path(), 3);
        high.grpc_port = 65_534;
        assert!(sentence(&high).contains("do not fit below 65536"));
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("a/b-c.toml"), "a/b-c.toml");
        assert_eq!(quoted("it's here"), "'it'\\''s here'");
    }
}
