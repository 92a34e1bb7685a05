//! `token`: tokens of clients, in the token file that nodes read.

use std::path::PathBuf;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::output::cell;
use super::{CliError, OutputFormat, Report, print};
use crate::access::role::Role;
use crate::access::token::{TokenHash, make};
use crate::access::token_file::{StoredToken, TokenFile, TokenFileError, check_grant};
use crate::config::parse_age;

/// Tokens of clients.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token, store its hash, and show it once
    Create(Create),
    /// Make a second token for a holder, so that the first can be replaced without a pause
    Renew(Renew),
    /// List the tokens of a file
    List(List),
    /// Remove a token; nodes refuse it and end its streams within seconds
    Revoke(Revoke),
}

/// Make a token, store its hash, and show it once.
#[derive(Debug, clap::Args)]
struct Create {
    /// The holder, as the audit trail names it. Its idempotency keys are its own.
    #[arg(long)]
    name: String,

    /// What its holder may do: a teller operates on accounts and reads single ones, an auditor reads everything and takes
    /// snapshots, an operator may do everything.
    #[arg(long)]
    role: Role,

    /// For a teller: the beginnings of the accounts and keys that it may use [default: all].
    #[arg(long, value_name = "PREFIX,PREFIX…", value_delimiter = ',')]
    accounts: Vec<String>,

    #[command(flatten)]
    expiry: Expiry,

    #[command(flatten)]
    file: FileOptions,
}

/// Make a second token for a holder, with the same rights. Both count until the older one is revoked with --older; requests keep
/// their idempotency keys.
#[derive(Debug, clap::Args)]
struct Renew {
    /// The name of the holder.
    name: String,

    #[command(flatten)]
    expiry: Expiry,

    #[command(flatten)]
    file: FileOptions,
}

#[derive(Debug, clap::Args)]
struct Expiry {
    /// The time until it ends: 90d, 12h, …, or off [default: off].
    #[arg(long, value_name = "AGE")]
    expires: Option<String>,
}

impl Expiry {
    fn after(&self, created: Timestamp) -> Result<Option<Timestamp>, CliError> {
        let age = self.expires.as_deref().map(parse_age).transpose();
        let age = age.map_err(|fault| CliError::Usage(format!("--expires: {fault}")))?;
        let expires = age.flatten().map(|age| created.checked_add(age));
        let expires = expires.transpose();
        let expires = expires.map_err(|error| CliError::Usage(format!("--expires: {error}")))?;
        Ok(expires.map(seconds))
    }
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    file: FileOptions,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The name of the holder.
    name: String,

    /// End the older of its two tokens alone.
    #[arg(long)]
    older: bool,

    #[command(flatten)]
    file: FileOptions,
}

#[derive(Debug, clap::Args)]
struct FileOptions {
    /// The token file, as `[auth] tokens` in cluster.toml names it.
    #[arg(
        long,
        env = "SNAPLEDGER_AUTH_TOKENS",
        default_value = "tokens.toml",
        value_name = "FILE"
    )]
    file: PathBuf,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: the file cannot be read or written, or holds no such token.
pub fn run(args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::Create(args) => create(args),
        Command::Renew(args) => renew(args),
        Command::List(args) => list(args),
        Command::Revoke(args) => revoke(args),
    }
}

fn create(args: &Create) -> Result<(), CliError> {
    check_grant(&args.name, args.role, &args.accounts).map_err(CliError::Usage)?;
    let created = seconds(Timestamp::now());
    let expires = args.expiry.after(created)?;
    let token = make().map_err(|error| CliError::Refused(error.to_string()))?;
    let stored = StoredToken {
        name: args.name.clone(),
        role: args.role,
        sha256: TokenHash::of(&token),
        accounts: args.accounts.clone(),
        created,
        expires,
    };
    let shown = shown(&stored);
    TokenFile::change(&args.file.file, |file| file.add(stored)).map_err(failed)?;
    hand_over(token, shown, &args.file)
}

fn renew(args: &Renew) -> Result<(), CliError> {
    let created = seconds(Timestamp::now());
    let expires = args.expiry.after(created)?;
    let token = make().map_err(|error| CliError::Refused(error.to_string()))?;
    let mut renewed = None;
    TokenFile::change(&args.file.file, |file| {
        let hash = TokenHash::of(&token);
        renewed = Some(file.renew(&args.name, hash, created, expires)?);
        Ok(())
    })
    .map_err(failed)?;
    let shown = renewed.as_ref().map(shown).unwrap_or_default();
    hand_over(token, shown, &args.file)
}

// Shows a new token, once.
fn hand_over(token: String, mut shown: Value, options: &FileOptions) -> Result<(), CliError> {
    let file = options.file.display();
    match options.output {
        OutputFormat::Json => {
            shown["token"] = token.into();
            print(&shown.to_string())
        }
        OutputFormat::Table => {
            // The token alone on stdout, for a pipe into a file or a secret store.
            print(&token)?;
            let remark = format!("this is the only time the token is shown; {file} holds its hash");
            options.output.remark("note", &remark);
            Ok(())
        }
    }
}

fn list(args: &List) -> Result<(), CliError> {
    let file = TokenFile::read(&args.file.file).map_err(failed)?;
    let tokens: Value = file.tokens.iter().map(shown).collect();
    if args.file.output == OutputFormat::Json {
        return print(&json!({ "tokens": tokens }).to_string());
    }
    let rows = tokens.as_array().into_iter().flatten().map(|token| {
        let columns = ["name", "role", "accounts", "created", "expires"];
        let cells = columns.map(|column| match &token[column] {
            Value::Array(prefixes) => {
                let prefixes: Vec<String> = prefixes.iter().map(|one| cell(Some(one))).collect();
                prefixes.join(", ")
            }
            one => cell(Some(one)),
        });
        cells.to_vec()
    });
    let mut report = Report::default();
    let headers = ["name", "role", "accounts", "created", "expires"];
    report.table(&headers, rows.collect());
    report.print()
}

fn revoke(args: &Revoke) -> Result<(), CliError> {
    let remove = |file: &mut TokenFile| match args.older {
        true => file.remove_older(&args.name),
        false => file.remove(&args.name),
    };
    TokenFile::change(&args.file.file, remove).map_err(failed)?;
    let (name, file) = (&args.name, args.file.file.display());
    if args.file.output == OutputFormat::Json {
        return print(&json!({ "revoked": name }).to_string());
    }
    let removed = match args.older {
        true => format!("the older token of {name}"),
        false => name.clone(),
    };
    print(&format!(
        "{removed} is removed from {file}; nodes refuse it within seconds"
    ))
}

// Without the hash, which is of no use to a reader.
fn shown(token: &StoredToken) -> Value {
    let expired = token.expires.is_some_and(|end| end <= Timestamp::now());
    json!({
        "name": token.name,
        "role": token.role.as_str(),
        "accounts": token.accounts,
        "created": token.created.to_string(),
        "expires": token.expires.map(|end| end.to_string()),
        "expired": expired,
    })
}

fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn failed(error: TokenFileError) -> CliError {
    match error {
        TokenFileError::Taken(_)
        | TokenFileError::Unknown(_)
        | TokenFileError::Renewed(_)
        | TokenFileError::NotRenewed(_) => CliError::Refused(error.to_string()),
        other => CliError::Usage(other.to_string()),
    }
}
