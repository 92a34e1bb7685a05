//! The part of a document between two markers, which a measurement rewrites.

use std::path::{Path, PathBuf};

use crate::cli::CliError;

/// A document with both markers.
pub(super) struct Marked {
    path: PathBuf,
    before: String,
    after: String,
}

impl Marked {
    /// Reads the document. Missing markers are reported as wrong usage before the measurement starts.
    pub(super) fn read(path: &Path, name: &str) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path).map_err(|source| CliError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let (begin, end) = markers(name);
        let parts = text.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(&end)?;
            Some((format!("{before}{begin}\n\n"), format!("\n{end}{after}")))
        });
        let (before, after) = parts.ok_or_else(|| {
            CliError::Usage(format!(
                "{} has no lines `{begin}` and `{end}` in this order; put them where the table is to be",
                path.display()
            ))
        })?;
        Ok(Self {
            path: path.to_owned(),
            before,
            after,
        })
    }

    /// Replaces the part between the markers; `text` ends with a newline.
    pub(super) fn write(&self, text: &str) -> Result<(), CliError> {
        let Self {
            path,
            before,
            after,
        } = self;
        std::fs::write(path, format!("{before}{text}{after}")).map_err(CliError::Runtime)
    }
}

fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- {name}: begin -->"),
        format!("<!-- {name}: end -->"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.md");
        std::fs::write(&path, "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n").expect("written");
        for text in ["one\n", "two\n"] {
            let marked = Marked::read(&path, "x").expect("both are there");
            marked.write(text).expect("written");
        }
        let text = std::fs::read_to_string(&path).expect("a document");
        assert_eq!(text, "a\n<!-- x: begin -->\n\ntwo\n\n<!-- x: end -->\nb\n");
        assert!(Marked::read(&path, "y").is_err());
    }
}
