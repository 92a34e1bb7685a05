//! `cert`: a private CA for a cluster, certificates of its processes and clients, and what a certificate says.

mod issue;
mod show;

use std::path::PathBuf;

use clap::Subcommand;

use super::{CliError, OutputFormat};

/// Make and show certificates for TLS.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a CA for a cluster: ca.crt, which nodes and clients trust, and ca.key, which issues certificates
    Init(Init),
    /// Issue the certificate of a process, for the node that hosts it
    Node(Node),
    /// Issue the certificate of a client
    Client(Client),
    /// Show whose a certificate is, for which names, by whom, and until when
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// The cluster name, as in the cluster file.
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// The directory of the CA; it may exist, but has no CA yet.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// The days of validity.
    #[arg(long, value_name = "COUNT", default_value_t = 3650)]
    days: u32,
}

#[derive(Debug, clap::Args)]
struct Node {
    /// The process.
    #[arg(long, value_name = "ID")]
    id: String,
    /// A host name or IP address at which clients reach the node; give it once for each.
    #[arg(long, value_name = "HOST", required = true)]
    host: Vec<String>,
    #[command(flatten)]
    issue: Issue,
}

#[derive(Debug, clap::Args)]
struct Client {
    /// The name of the client; its rights are configured under it.
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    issue: Issue,
}

#[derive(Debug, clap::Args)]
struct Issue {
    /// The directory of the CA.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// The directory for the certificate and its key [default: the directory of the CA].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The days of validity.
    #[arg(long, value_name = "COUNT", default_value_t = 365)]
    days: u32,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Certificates or bundles, in PEM.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: an argument is wrong, a file exists or cannot be read or written.
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Init(init) => issue::init(&init),
        Command::Node(node) => issue::node(&node),
        Command::Client(client) => issue::client(&client),
        Command::Show(show) => show::show(&show),
    }
}
