//! Private files: keys, tokens and audit trails. They are created for their owner alone, whatever the umask, and refused if
//! anyone else can use them. Files that only say whom to trust may be read by anyone, and are refused if another than their
//! owner can write them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The rights of the group and of all others.
const FOREIGN: u32 = 0o077;
/// The same, without the group's right to read.
const FOREIGN_BUT_GROUP_READ: u32 = 0o037;
/// The rights of the group and of all others to write.
const FOREIGN_WRITE: u32 = 0o022;
/// Far above the size of any key, certificate chain or token file.
const BYTES_MAX: u64 = 4 << 20;

/// A private file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The operating system refuses it.
    #[error("cannot read {}: {source}; name a file that exists and that this user may read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// It is a directory, a device or a pipe.
    #[error("{} is not a regular file; name one", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error(
        "{} can be used by others than its owner (mode {mode:04o}), and what it holds is secret; run: chmod 600 {}",
        path.display(), quoted(path)
    )]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may write it.
    #[error(
        "{} can be changed by others than its owner (mode {mode:04o}), who could then choose whom this program trusts; run: \
         chmod go-w {}",
        path.display(), quoted(path)
    )]
    Changeable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any file of its kind.
    #[error("{} is larger than 4 MiB; name a file of keys or tokens", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Checks that only its owner may read and write a file of keys or tokens. A link is followed: the file it leads to counts.
/// A file of root that a program of another user reads through its group passes (mode 0640): secrets are mounted so.
///
/// # Errors
/// [`PrivateFileError`] with the command that mends it.
pub fn check_private(path: &Path) -> Result<(), PrivateFileError> {
    // The metadata come first: to open a pipe would wait for its other end.
    let found = std::fs::metadata(path).map_err(unreadable(path))?;
    check(path, &found)
}

/// Reads a file of keys or tokens that only its owner may use.
///
/// # Errors
/// As [`check_private`], and [`PrivateFileError::TooLarge`].
pub fn read_private(path: &Path) -> Result<Vec<u8>, PrivateFileError> {
    read(path, check)
}

/// Reads a file of public keys or certificates that this program trusts. Anyone may read it, only its owner may write it.
///
/// # Errors
/// [`PrivateFileError`] but [`PrivateFileError::NotPrivate`].
pub fn read_trusted(path: &Path) -> Result<Vec<u8>, PrivateFileError> {
    read(path, check_trusted)
}

type Check = fn(&Path, &Metadata) -> Result<(), PrivateFileError>;

fn read(path: &Path, check: Check) -> Result<Vec<u8>, PrivateFileError> {
    // The metadata come first: to open a pipe would wait for its other end.
    check(path, &std::fs::metadata(path).map_err(unreadable(path))?)?;
    let file = File::open(path).map_err(unreadable(path))?;
    // The file that is read, should another have taken its place.
    check(path, &file.metadata().map_err(unreadable(path))?)?;
    let mut content = Vec::new();
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut content);
    read.map_err(unreadable(path))?;
    match content.len() as u64 > BYTES_MAX {
        true => Err(PrivateFileError::TooLarge {
            path: path.to_path_buf(),
        }),
        false => Ok(content),
    }
}

/// Creates a new file of mode 0600. An existing file or link of this name is refused, not followed.
///
/// # Errors
/// That of the operating system; [`io::ErrorKind::AlreadyExists`] if the name is taken.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Opens a file to append to it and to read it; a new one has mode 0600. A link is refused, not followed.
///
/// # Errors
/// That of the operating system; [`PrivateFileError::NotPrivate`] as an error of kind `Other`.
pub fn append_private(path: &Path) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)?;
    check(path, &file.metadata()?).map_err(io::Error::other)?;
    Ok(file)
}

/// Replaces a file, or creates it, in one step and durably. The new file has mode 0600; a link of this name is replaced, not
/// followed.
///
/// # Errors
/// That of the operating system; the old file then remains.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    // A temporary file is created new and with mode 0600.
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|refused| refused.error)?;
    File::open(dir)?.sync_all()
}

fn check(path: &Path, found: &Metadata) -> Result<(), PrivateFileError> {
    let path = || path.to_path_buf();
    if !found.is_file() {
        return Err(PrivateFileError::NotAFile { path: path() });
    }
    let is_mounted = found.uid() == 0 && !rustix::process::geteuid().is_root();
    let refused = if is_mounted {
        FOREIGN_BUT_GROUP_READ
    } else {
        FOREIGN
    };
    let mode = found.mode() & 0o7777;
    match mode & refused == 0 {
        true => Ok(()),
        false => Err(PrivateFileError::NotPrivate { path: path(), mode }),
    }
}

fn check_trusted(path: &Path, found: &Metadata) -> Result<(), PrivateFileError> {
    let path = || path.to_path_buf();
    if !found.is_file() {
        return Err(PrivateFileError::NotAFile { path: path() });
    }
    let mode = found.mode() & 0o7777;
    match mode & FOREIGN_WRITE == 0 {
        true => Ok(()),
        false => Err(PrivateFileError::Changeable { path: path(), mode }),
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> PrivateFileError {
    let path = path.to_path_buf();
    move |source| PrivateFileError::Unreadable {
        path: path.clone(),
        source,
    }
}

// The path as one word of a shell.
fn quoted(path: &Path) -> String {
    let shown = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte);
    match shown.bytes().all(is_plain) {
        true => shown,
        false => format!("'{}'", shown.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("it is there").mode() & 0o7777
    }

    #[test]
    fn a_file_that_others_can_use_is_refused_with_the_command() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let key = dir.path().join("it's a.key");
        fs::write(&key, "secret").expect("there is room");
        for mode in [0o644, 0o640, 0o620, 0o602, 0o601] {
            fs::set_permissions(&key, Permissions::from_mode(mode)).expect("it is ours");
            let refused = read_private(&key).expect_err("others can use it");
            let sentence = refused.to_string();
            assert!(sentence.contains(&format!("mode {mode:04o}")), "{sentence}");
            assert!(sentence.contains("; run: chmod 600 '"), "{sentence}");
            assert!(sentence.ends_with(r"it'\''s a.key'"), "{sentence}");
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&key, Permissions::from_mode(mode)).expect("it is ours");
            assert_eq!(read_private(&key).expect("it is private"), b"secret");
        }
        let link = dir.path().join("link");
        symlink(&key, &link).expect("a link");
        assert!(check_private(&link).is_ok());
        fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("it is ours");
        assert!(check_private(&link).is_err(), "the file it leads to counts");
    }

    #[test]
    fn a_file_of_trust_that_others_can_write_is_refused_with_the_command() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = dir.path().join("ca.crt");
        fs::write(&ca, "public").expect("there is room");
        for mode in [0o666, 0o664, 0o646, 0o620] {
            fs::set_permissions(&ca, Permissions::from_mode(mode)).expect("it is ours");
            let sentence = read_trusted(&ca).expect_err("others can write it");
            let sentence = sentence.to_string();
            assert!(sentence.contains(&format!("mode {mode:04o}")), "{sentence}");
            let command = format!("; run: chmod go-w {}", ca.display());
            assert!(sentence.ends_with(&command), "{sentence}");
        }
        for mode in [0o644, 0o444, 0o600] {
            fs::set_permissions(&ca, Permissions::from_mode(mode)).expect("it is ours");
            assert_eq!(read_trusted(&ca).expect("it is good"), b"public");
        }
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe");
        for path in [&pipe, dir.path()] {
            for refused in [read_private(path), read_trusted(path)] {
                assert!(matches!(refused, Err(PrivateFileError::NotAFile { .. })));
            }
        }
        let none = read_private(&dir.path().join("none")).expect_err("there is none");
        assert!(
            none.to_string().contains("name a file that exists"),
            "{none}"
        );
        let large = dir.path().join("large");
        let file = create_private(&large).expect("it is new");
        file.set_len(BYTES_MAX + 1).expect("there is room");
        for refused in [read_private(&large), read_trusted(&large)] {
            assert!(matches!(refused, Err(PrivateFileError::TooLarge { .. })));
        }
    }

    #[test]
    fn new_files_are_private_and_no_link_is_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "victim").expect("there is room");
        for name in ["created", "appended", "replaced"] {
            symlink(at("victim"), at(name)).expect("a link");
        }
        let created = create_private(&at("created")).expect_err("the name is taken");
        assert_eq!(created.kind(), io::ErrorKind::AlreadyExists);
        assert!(append_private(&at("appended")).is_err());
        replace_private(&at("replaced"), b"new").expect("it is written");
        assert_eq!(fs::read(at("victim")).expect("it is there"), b"victim");
        assert_eq!(fs::read(at("replaced")).expect("it is there"), b"new");

        drop(create_private(&at("one")).expect("it is new"));
        drop(append_private(&at("two")).expect("it is new"));
        for name in ["one", "two", "replaced"] {
            assert_eq!(mode_of(&at(name)), 0o600, "{name}");
        }
        fs::set_permissions(at("two"), Permissions::from_mode(0o644)).expect("it is ours");
        assert!(append_private(&at("two")).is_err(), "others can read it");
    }
}
