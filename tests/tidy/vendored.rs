//! What is vendored: each directory of `vendor/` has a `vendor.toml` with the origin and the hash of every file.
//! `vendor/check` compares them with what is published.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::source::Finding;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vendored {
    name: String,
    version: String,
    licence: String,
    /// Of the package, as its registry publishes it.
    integrity: String,
    files: BTreeMap<String, Origin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    /// The path within the package.
    from: String,
    sha256: String,
}

const ABOUT: &str = "vendor.toml";

pub(crate) fn check() -> Vec<Finding> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor");
    let entries = fs::read_dir(root).expect("there is a directory");
    let directories = entries.map(|entry| entry.expect("it can be read").path());
    let directories: Vec<_> = directories.filter(|path| path.is_dir()).collect();
    assert!(directories.len() > 2, "they are where they are looked for");
    directories.iter().flat_map(|path| of(path)).collect()
}

fn of(directory: &Path) -> Vec<Finding> {
    let about = directory.join(ABOUT);
    let at = |sentence: String| Finding(format!("{}: {sentence}", about.display()));
    let Ok(text) = fs::read_to_string(&about) else {
        return vec![at("is missing".to_owned())];
    };
    let vendored: Vendored = match toml::from_str(&text) {
        Ok(vendored) => vendored,
        Err(error) => return vec![at(error.to_string())],
    };
    let mut findings = Vec::new();
    let facts = [
        &vendored.name,
        &vendored.version,
        &vendored.licence,
        &vendored.integrity,
    ];
    if facts.iter().any(|fact| fact.is_empty()) || !vendored.files.contains_key("LICENSE") {
        findings.push(at(
            "name, version, licence, integrity and LICENSE are needed".to_owned(),
        ));
    }
    for (name, origin) in &vendored.files {
        let content = fs::read(directory.join(name)).unwrap_or_default();
        if hex::encode(Sha256::digest(content)) != origin.sha256 || origin.from.is_empty() {
            findings.push(at(format!("{name} is not the file of this hash")));
        }
    }
    let here = fs::read_dir(directory).expect("it can be read");
    let here = here.map(|entry| entry.expect("it can be read").file_name());
    let here: BTreeSet<_> = here
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let unnamed = here
        .iter()
        .filter(|name| *name != ABOUT && !vendored.files.contains_key(*name));
    findings.extend(unnamed.map(|name| at(format!("{name} is not named"))));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_unnamed_file_is_found() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).expect("it can be written");
        };
        let hash = hex::encode(Sha256::digest("one"));
        write("LICENSE", "one");
        write(
            ABOUT,
            &format!(
                "name = 'n'\nversion = '1'\nlicence = 'MIT'\nintegrity = 'sha512-x'\n\
                 [files]\nLICENSE = {{ from = 'LICENSE', sha256 = '{hash}' }}\n"
            ),
        );
        assert_eq!(of(dir.path()), []);
        write("more.js", "");
        assert_eq!(of(dir.path()).len(), 1);
        write("LICENSE", "two");
        assert_eq!(of(dir.path()).len(), 2);
    }
}
