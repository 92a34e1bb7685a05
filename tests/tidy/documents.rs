//! The documents: every link leads to an existing file and heading, every file they name exists, and every page is
//! reachable from the index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::source::Finding;

/// README is an introduction; details have pages of their own.
const README_LINES_MAX: usize = 100;
/// The table of contents of the book: it lists every page below its directory, since only these become pages of the book.
const SUMMARY: &str = "docs/SUMMARY.md";
/// Pages that list every other Markdown file beside them.
const INDEXES: [&str; 2] = ["docs/README.md", "docs/decisions/README.md"];

/// Paths in backticks with these prefixes belong to this crate.
const FOLDERS: [&str; 7] = [
    "src/",
    "tests/",
    "docs/",
    "proto/",
    "benches/",
    "migrations/",
    "deploy/",
];

/// One page: its text without code blocks, by line, and the anchors of its headings.
struct Page {
    lines: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

/// Checks all Markdown files of the crate.
pub(crate) fn check() -> Vec<Finding> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, &mut files);
    let pages: BTreeMap<PathBuf, Page> = files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(root.join(&file)).expect("a listed file can be read");
            (file, Page::parse(&text))
        })
        .collect();
    let mut findings = broken_links(root, &pages);
    findings.extend(missing_files(root, &pages));
    findings.extend(INDEXES.iter().flat_map(|index| not_listed(index, &pages)));
    findings.extend(not_in_book(SUMMARY, &pages));
    let readme = fs::read_to_string(root.join("README.md")).expect("README.md can be read");
    let lines = readme.lines().count();
    if lines > README_LINES_MAX {
        let sentence =
            format!("README.md: {lines} lines, {README_LINES_MAX} allowed; move details to docs/");
        findings.push(Finding(sentence));
    }
    findings
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(
                path.strip_prefix(root)
                    .expect("it lies in the root")
                    .to_owned(),
            );
        }
    }
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self {
            lines: Vec::new(),
            anchors: BTreeSet::new(),
        };
        let mut is_code = false;
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            } else if !is_code {
                if let Some(heading) = line.strip_prefix('#') {
                    page.add_anchor(heading.trim_start_matches('#').trim());
                }
                page.lines.push((number, line.to_owned()));
            }
        }
        page
    }

    // As GitHub generates them: a repeated heading gets a number.
    fn add_anchor(&mut self, heading: &str) {
        let anchor = anchor(heading);
        let mut repeats = (1..).map(|number| format!("{anchor}-{number}"));
        match self.anchors.contains(&anchor) {
            true => {
                let free = repeats.find(|repeat| !self.anchors.contains(repeat));
                self.anchors.extend(free);
            }
            false => _ = self.anchors.insert(anchor),
        }
    }

    fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().flat_map(|(number, line)| {
            let targets = line.split("](").skip(1);
            targets.filter_map(|rest| Some((*number, rest.split(')').next()?)))
        })
    }
}

// Lower case; of punctuation only `-` and `_` stay; spaces become `-`.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase)
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

fn broken_links(root: &Path, pages: &BTreeMap<PathBuf, Page>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, page) in pages {
        for (line, link) in page.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => file.clone(),
                _ => normal(&file.parent().unwrap_or(Path::new("")).join(path)),
            };
            let exists = root.join(&target).exists();
            let has_anchor = || {
                let page = pages.get(&target);
                anchor.is_empty() || page.is_none_or(|page| page.anchors.contains(anchor))
            };
            if !exists || !has_anchor() {
                let file = file.display();
                findings.push(Finding(format!(
                    "{file}:{line}: the link `{link}` leads nowhere"
                )));
            }
        }
    }
    findings
}

// Files of the crate named by their path in backticks that do not exist. The changelog may name files of earlier
// versions.
fn missing_files(root: &Path, pages: &BTreeMap<PathBuf, Page>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, page) in pages {
        for (line, text) in &page.lines {
            let named = text.split('`').skip(1).step_by(2);
            let named =
                named.filter(|named| FOLDERS.iter().any(|folder| named.starts_with(folder)));
            let named = named.filter(|named| !named.contains(['*', ' ', '<', '{']));
            for named in named.filter(|named| !root.join(named).exists()) {
                let file = file.display();
                findings.push(Finding(format!("{file}:{line}: there is no `{named}`")));
            }
        }
    }
    findings
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = normal.pop(),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

// The pages beside an index that it does not list.
fn not_listed(index: &str, pages: &BTreeMap<PathBuf, Page>) -> Vec<Finding> {
    let beside = |file: &Path, directory: &Path| file.parent() == Some(directory);
    unlisted(index, pages, beside)
}

// The pages below the table of contents that it does not list.
fn not_in_book(summary: &str, pages: &BTreeMap<PathBuf, Page>) -> Vec<Finding> {
    unlisted(summary, pages, |file, directory| {
        file.starts_with(directory)
    })
}

fn unlisted(
    index: &str,
    pages: &BTreeMap<PathBuf, Page>,
    is_its: impl Fn(&Path, &Path) -> bool,
) -> Vec<Finding> {
    let index = Path::new(index);
    let directory = index.parent().unwrap_or(Path::new(""));
    let listed: BTreeSet<_> = pages[index]
        .links()
        .map(|(_, link)| directory.join(link.split('#').next().unwrap_or(link)))
        .collect();
    let its = pages
        .keys()
        .filter(|file| is_its(file, directory) && *file != index);
    let missing = its.filter(|file| !listed.contains(*file));
    missing
        .map(|file| {
            Finding(format!(
                "{}: `{}` is not listed",
                index.display(),
                file.display()
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(texts: &[(&str, &str)]) -> BTreeMap<PathBuf, Page> {
        let pages = texts
            .iter()
            .map(|(file, text)| (PathBuf::from(file), Page::parse(text)));
        pages.collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let linking = |link: &str| {
            let text = format!("# Set up, `now`\n\n## Twice\n\n## Twice\n\nSee [it]({link}).\n");
            broken_links(root, &pages(&[("docs/cli.md", &text)])).len()
        };
        for good in [
            "../README.md",
            "#set-up-now",
            "#twice-1",
            "cli.md#twice",
            "https://example.org/x",
        ] {
            assert_eq!(linking(good), 0, "{good}");
        }
        for bad in ["README.txt", "#set-up", "cli.md#thrice", "../cli.md"] {
            assert_eq!(linking(bad), 1, "{bad}");
        }
    }

    #[test]
    fn a_page_that_the_index_does_not_list_is_found() {
        let pages = pages(&[
            ("docs/README.md", "[a](a.md#b)"),
            ("docs/a.md", ""),
            ("docs/b.md", ""),
            ("c.md", ""),
        ]);
        assert_eq!(not_listed("docs/README.md", &pages).len(), 1);
        let below = [
            ("docs/SUMMARY.md", "[a](a.md)"),
            ("docs/a.md", ""),
            ("docs/c/d.md", ""),
        ];
        assert_eq!(
            not_in_book("docs/SUMMARY.md", &self::pages(&below)).len(),
            1
        );
    }

    #[test]
    fn a_named_file_that_is_not_there_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let named = |name: &str| {
            let text = format!("See `it` in `{name}`.\n");
            missing_files(root, &pages(&[("a.md", &text)])).len()
        };
        assert_eq!(named("src/lib.rs"), 0);
        assert_eq!(named("docs/*.md"), 0);
        assert_eq!(named("src/no.rs"), 1);
    }

    #[test]
    fn links_in_code_are_none() {
        let page = Page::parse("```\n[a](b.md)\n```\n[c](d.md)\n");
        assert_eq!(page.links().collect::<Vec<_>>(), [(4, "d.md")]);
    }
}
