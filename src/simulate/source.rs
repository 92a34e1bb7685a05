//! A text with the name of its file, line by line.

use super::error::{Reason, ScenarioError};

/// A text with the name of its file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file as the user named it.
    pub name: &'a str,
    /// The content of the file.
    pub text: &'a str,
}

/// A line with content: its number and its words, at least one.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) line: usize,
    pub(super) fields: Vec<&'a str>,
}

impl<'a> Source<'a> {
    /// Every line with its number, from 1.
    pub(super) fn lines(self) -> impl Iterator<Item = (usize, &'a str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines with content. A word that begins with `#` starts a comment.
    pub(super) fn rows(self) -> impl Iterator<Item = Row<'a>> {
        self.lines().filter_map(|(line, text)| {
            let words = text.split_whitespace();
            let fields: Vec<_> = words.take_while(|word| !word.starts_with('#')).collect();
            (!fields.is_empty()).then_some(Row { line, fields })
        })
    }

    /// Locates a fault at a line.
    pub(super) fn refuse(self, line: usize, reason: Reason) -> ScenarioError {
        ScenarioError {
            file: self.name.into(),
            line,
            reason,
        }
    }

    /// Reports content that is missing at the end of the file.
    pub(super) fn ends(self, expected: &'static str) -> ScenarioError {
        let last = self.lines().last().map_or(1, |(line, _)| line);
        self.refuse(last, Reason::Ends { expected })
    }
}

impl Row<'_> {
    /// Reports a line that does not have the expected form.
    pub(super) fn shape(&self, expected: &'static str) -> Reason {
        Reason::Shape {
            expected,
            found: self.fields.join(" ").into(),
        }
    }
}
