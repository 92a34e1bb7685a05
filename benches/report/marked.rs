//! The part of a document between two markers, which a report rewrites.

use std::path::{Path, PathBuf};

use super::at;

/// A document with both markers.
pub(crate) struct Marked {
    path: PathBuf,
    before: String,
    after: String,
}

impl Marked {
    /// Reads the document.
    ///
    /// # Errors
    /// It cannot be read, or it lacks the markers.
    pub(crate) fn read(path: &Path, name: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(at(path))?;
        let (begin, end) = markers(name);
        let parts = text.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(&end)?;
            Some((format!("{before}{begin}\n\n"), format!("\n{end}{after}")))
        });
        let (before, after) = parts.ok_or_else(|| {
            format!(
                "{} has no lines `{begin}` and `{end}` in this order; put them where the table is to be",
                path.display()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            before,
            after,
        })
    }

    /// Replaces the part between the markers; `text` ends with a newline.
    pub(crate) fn write(&self, text: &str) -> Result<(), String> {
        let Self {
            path,
            before,
            after,
        } = self;
        std::fs::write(path, format!("{before}{text}{after}")).map_err(at(path))
    }
}

fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- {name}: begin -->"),
        format!("<!-- {name}: end -->"),
    )
}
