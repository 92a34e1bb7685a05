//! `cert init`, `cert node` and `cert client`: files are made for their owner alone, and never overwritten.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::super::{CliError, Report};
use super::{Client, Init, Issue, Node};
use crate::access::identity::{Holder, Identity};
use crate::access::private_file::{create_private, read_private};
use crate::access::token_file::check_name;
use crate::process::ids::ProcessId;
use crate::tls::files::file_name;
use crate::tls::issue::{Authority, IssueError, Issued};

pub(super) fn init(init: &Init) -> Result<(), CliError> {
    let pair = Pair::new(&init.dir, "ca");
    pair.check_absent("another CA goes to another --dir")?;
    let (_, issued) = Authority::new(&init.cluster, init.days).map_err(usage)?;
    pair.write(&issued)?;
    let mut report = Report::default();
    report.line(&format!(
        "made the CA of cluster {:?}: {} is for nodes and clients; keep {} secret, away from the nodes",
        init.cluster,
        pair.cert.display(),
        pair.key.display()
    ));
    report.print()
}

pub(super) fn node(node: &Node) -> Result<(), CliError> {
    let id = ProcessId::parse(&node.id);
    let id = id.map_err(|error| CliError::Usage(format!("--id: {error}")))?;
    issue(&node.issue, Holder::Process(id), &node.host)
}

pub(super) fn client(client: &Client) -> Result<(), CliError> {
    check_name(&client.name)
        .map_err(|why| CliError::Usage(format!("--name: {why}, such as audit-2026")))?;
    issue(&client.issue, Holder::Client(client.name.clone()), &[])
}

fn issue(issue: &Issue, holder: Holder, hosts: &[String]) -> Result<(), CliError> {
    let name = match &holder {
        Holder::Process(id) => file_name(id.as_str()),
        Holder::Client(name) => file_name(name),
    };
    let pair = Pair::new(issue.out.as_ref().unwrap_or(&issue.dir), &name);
    pair.check_absent("give another --out for a new pair, then move it over the old one")?;
    let authority = authority(&issue.dir)?;
    let cluster = authority.cluster().to_owned();
    let issued = authority
        .issue(holder.clone(), hosts, issue.days)
        .map_err(usage)?;
    pair.write(&issued)?;
    let identity = Identity { cluster, holder };
    let mut report = Report::default();
    report.line(&format!(
        "issued {identity}: {} and its key {}",
        pair.cert.display(),
        pair.key.display()
    ));
    report.print()
}

fn authority(dir: &Path) -> Result<Authority, CliError> {
    let Pair { cert, key } = Pair::new(dir, "ca");
    let certificate = fs::read_to_string(&cert).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CliError::Usage(format!(
            "--dir: {} has no CA; make one with `snapledger cert init --cluster NAME`, or name the directory of one",
            dir.display()
        )),
        _ => CliError::Unreadable { path: cert, source },
    })?;
    let secret = read_private(&key).map_err(|error| CliError::Usage(error.to_string()))?;
    let secret = String::from_utf8_lossy(&secret);
    Authority::from_pem(&certificate, &secret)
        .map_err(|error| CliError::Usage(format!("--dir: {}: {error}", dir.display())))
}

fn usage(error: IssueError) -> CliError {
    CliError::Usage(error.to_string())
}

/// The files of a certificate and its key.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(dir: &Path, name: &str) -> Self {
        Self {
            cert: dir.join(format!("{name}.crt")),
            key: dir.join(format!("{name}.key")),
        }
    }

    fn check_absent(&self, remedy: &str) -> Result<(), CliError> {
        for path in [&self.cert, &self.key] {
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                return Err(CliError::Usage(format!(
                    "{path} exists and is kept; {remedy}"
                )));
            }
        }
        Ok(())
    }

    // The key first: a certificate without its key is of no use.
    fn write(&self, issued: &Issued) -> Result<(), CliError> {
        let dir = self.cert.parent().expect("both are in a directory");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| unwritable(dir, &error))?;
        write(&self.key, create_private(&self.key), &issued.key)?;
        write(&self.cert, create_private(&self.cert), &issued.certificate)?;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| unwritable(dir, &error))
    }
}

fn write(path: &Path, created: io::Result<File>, text: &str) -> Result<(), CliError> {
    let written = created.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    CliError::Usage(format!(
        "cannot write {}: {error}; choose a directory in which you may write",
        path.display()
    ))
}
