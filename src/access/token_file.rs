//! The token file: the names, roles and hashes of tokens, in TOML. Only its owner may read it.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::private_file::{PrivateFileError, read_private, replace_private};
use super::role::Role;
use super::token::TokenHash;
use crate::process::hidden::is_hidden;

/// The longest name of a client, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
const HEADER: &str = "# Tokens of clients, each as its SHA-256. Written by `snapledger token`; nodes read it again when it changes.\n\n";

/// The tokens of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// In the order of their creation.
    #[serde(rename = "token", default)]
    pub tokens: Vec<StoredToken>,
}

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredToken {
    /// The holder. While its token is renewed it has two, with the same rights.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// The hash of the token.
    pub sha256: TokenHash,
    /// The beginnings of the accounts and keys that its holder may use; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When it ends; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl StoredToken {
    fn has_rights_of(&self, other: &Self) -> bool {
        self.role == other.role && self.accounts == other.accounts
    }
}

/// The token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read, or not only by its owner.
    #[error(transparent)]
    Private(#[from] PrivateFileError),
    /// It is not TOML, or a key is wrong.
    #[error("{}: {why}; write tokens with `snapledger token create`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}; name a file in a directory that this user may write", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// There is a token of this name.
    #[error(
        "there is a token named {0:?} in the file; choose another name, or give its holder a new token: snapledger token renew {0:?}"
    )]
    Taken(String),
    /// The name has two tokens.
    #[error(
        "{0:?} has two tokens already; end the older one first: snapledger token revoke {0:?} --older"
    )]
    Renewed(String),
    /// The name has one token.
    #[error(
        "{0:?} has one token alone; make the new one first: snapledger token renew {0:?}; or revoke it without --older"
    )]
    NotRenewed(String),
    /// There is no token of this name.
    #[error("there is no token named {0:?} in the file; `snapledger token list` names them")]
    Unknown(String),
}

impl TokenFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let bytes = read_private(path)?;
        Self::parse(path, &bytes)
    }

    /// Checks the contents of a file.
    ///
    /// # Errors
    /// [`TokenFileError::Malformed`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TokenFileError> {
        let malformed = |why: String| TokenFileError::Malformed {
            path: path.to_owned(),
            why,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("is not UTF-8".to_owned()))?;
        let file: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            malformed(format!(
                "line {line}: {}",
                error.message().replace('\n', "; ")
            ))
        })?;
        for (index, token) in file.tokens.iter().enumerate() {
            check_grant(&token.name, token.role, &token.accounts).map_err(&malformed)?;
            let mut before = file.tokens[..index].iter();
            if before.any(|other| other.name == token.name && !other.has_rights_of(token)) {
                return Err(malformed(format!(
                    "two tokens are named {:?} and have different rights",
                    token.name
                )));
            }
        }
        Ok(file)
    }

    /// Changes a file, or creates it, in one step and for its owner alone. Two changes at once follow one another.
    ///
    /// # Errors
    /// [`TokenFileError`]; the file is then unchanged.
    pub fn change(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<(), TokenFileError>,
    ) -> Result<(), TokenFileError> {
        let unwritable = |source| TokenFileError::Unwritable {
            path: path.to_owned(),
            source,
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let lock = File::open(dir.unwrap_or_else(|| Path::new("."))).map_err(unwritable)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| unwritable(error.into()))?;
        let mut file = match path.try_exists().map_err(unwritable)? {
            true => Self::read(path)?,
            false => Self::default(),
        };
        change(&mut file)?;
        let text = toml::to_string(&file).expect("names, roles and times can be written");
        replace_private(path, format!("{HEADER}{text}").as_bytes()).map_err(unwritable)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`TokenFileError::Taken`].
    pub fn add(&mut self, token: StoredToken) -> Result<(), TokenFileError> {
        if self.tokens.iter().any(|other| other.name == token.name) {
            return Err(TokenFileError::Taken(token.name));
        }
        self.tokens.push(token);
        Ok(())
    }

    /// Adds a second token of a name, with the rights of the first, and returns it as it is stored.
    ///
    /// # Errors
    /// [`TokenFileError::Unknown`]; [`TokenFileError::Renewed`] if the name has two already.
    pub fn renew(
        &mut self,
        name: &str,
        sha256: TokenHash,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) -> Result<StoredToken, TokenFileError> {
        let mut of_name = self.tokens.iter().filter(|token| token.name == name);
        let renewed = match (of_name.next(), of_name.next()) {
            (None, _) => return Err(TokenFileError::Unknown(name.to_owned())),
            (Some(_), Some(_)) => return Err(TokenFileError::Renewed(name.to_owned())),
            (Some(token), None) => StoredToken {
                sha256,
                created,
                expires,
                ..token.clone()
            },
        };
        self.tokens.push(renewed.clone());
        Ok(renewed)
    }

    /// Removes the older token of a name that has two.
    ///
    /// # Errors
    /// [`TokenFileError::Unknown`]; [`TokenFileError::NotRenewed`] if the name has one token alone.
    pub fn remove_older(&mut self, name: &str) -> Result<(), TokenFileError> {
        let mut places = (0..self.tokens.len()).filter(|place| self.tokens[*place].name == name);
        match (places.next(), places.next()) {
            (None, _) => Err(TokenFileError::Unknown(name.to_owned())),
            (Some(_), None) => Err(TokenFileError::NotRenewed(name.to_owned())),
            (Some(older), Some(_)) => {
                self.tokens.remove(older);
                Ok(())
            }
        }
    }

    /// Removes the tokens of a name.
    ///
    /// # Errors
    /// [`TokenFileError::Unknown`].
    pub fn remove(&mut self, name: &str) -> Result<(), TokenFileError> {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.name != name);
        match self.tokens.len() < before {
            true => Ok(()),
            false => Err(TokenFileError::Unknown(name.to_owned())),
        }
    }
}

/// Checks the name and the accounts of a client.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_grant(name: &str, role: Role, accounts: &[String]) -> Result<(), String> {
    check_name(name)?;
    if !accounts.is_empty() && role != Role::Teller {
        return Err(format!(
            "{name:?} is an {role}, who sees all accounts; only a teller can be bound to accounts"
        ));
    }
    match accounts.iter().any(|prefix| prefix.is_empty()) {
        true => Err(format!(
            "{name:?} is bound to an empty prefix; leave accounts out to allow all"
        )),
        false => Ok(()),
    }
}

/// Checks the name of a client.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_good = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(is_hidden);
    match is_good {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is not a name; give 1 to {NAME_BYTES_MAX} bytes without control characters and line separators"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn token(name: &str, role: Role) -> StoredToken {
        StoredToken {
            name: name.to_owned(),
            role,
            sha256: TokenHash::of(name),
            accounts: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
            expires: None,
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_only_its_owner_may() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("tokens.toml");
        let bound = StoredToken {
            accounts: vec!["branch-7/".to_owned()],
            expires: Some(Timestamp::UNIX_EPOCH),
            ..token("till 7", Role::Teller)
        };
        for added in [token("audit", Role::Auditor), bound] {
            TokenFile::change(&path, |file| file.add(added)).expect("it is added");
        }
        let again = token("audit", Role::Operator);
        let taken = TokenFile::change(&path, |file| file.add(again));
        assert!(matches!(taken, Err(TokenFileError::Taken(_))), "{taken:?}");
        let mode = std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = TokenFile::read(&path).expect("it is good");
        let names: Vec<_> = read.tokens.iter().map(|token| &*token.name).collect();
        assert_eq!(names, ["audit", "till 7"]);
        assert_eq!(read.tokens[1].accounts, ["branch-7/"]);
        TokenFile::change(&path, |file| file.remove("audit")).expect("it is removed");
        let gone = TokenFile::change(&path, |file| file.remove("audit"));
        assert!(matches!(gone, Err(TokenFileError::Unknown(_))), "{gone:?}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
            .expect("it is ours");
        let loose = TokenFile::read(&path).expect_err("others can read it");
        assert!(loose.to_string().contains("chmod 600"), "{loose}");
    }

    #[test]
    fn a_renewed_token_has_the_rights_of_the_older_one_and_outlasts_it() {
        let mut file = TokenFile::default();
        file.add(token("till", Role::Teller)).expect("it is new");
        let mut renew = |text| {
            let hash = TokenHash::of(text);
            file.renew("till", hash, Timestamp::UNIX_EPOCH, None)
        };
        let renewed = renew("next").expect("it has one");
        assert_eq!((&*renewed.name, renewed.role), ("till", Role::Teller));
        let third = renew("third").expect_err("it has two");
        assert!(
            third.to_string().contains("revoke \"till\" --older"),
            "{third}"
        );
        let text = toml::to_string(&file).expect("it can be written");
        let read = TokenFile::parse(Path::new("t.toml"), text.as_bytes());
        assert_eq!(read.expect("two of one name"), file);
        file.remove_older("till").expect("it has two");
        assert_eq!(file.tokens, [renewed]);
        let alone = file.remove_older("till");
        assert!(
            matches!(alone, Err(TokenFileError::NotRenewed(_))),
            "{alone:?}"
        );
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        let hash = TokenHash::of("x");
        let block = |name: &str, rest: &str| {
            format!(
                "[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\ncreated = \"2026-01-01T00:00:00Z\"\n{rest}\n"
            )
        };
        for (text, why) in [
            ("[[token]]\nname = 5\n".to_owned(), "line 2"),
            (block("a", "role = \"king\""), "line 5"),
            (
                block("a", "role = \"teller\"\naccounts = [\"\"]"),
                "an empty prefix",
            ),
            (
                block("a", "role = \"operator\"\naccounts = [\"b\"]"),
                "only a teller",
            ),
            (block("", "role = \"teller\""), "is not a name"),
            (
                block("a", "role = \"teller\"") + &block("a", "role = \"auditor\""),
                "two tokens are named",
            ),
            (block("a", "role = \"teller\"\nsecret = 1"), "unknown field"),
        ] {
            let refused = TokenFile::parse(Path::new("t.toml"), text.as_bytes());
            let refused = refused.expect_err(&text).to_string();
            assert!(
                refused.contains(why) && refused.starts_with("t.toml: "),
                "{refused}"
            );
        }
    }
}
