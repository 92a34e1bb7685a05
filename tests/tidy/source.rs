//! The source tree: its files, parsed, and every path they name.

use std::fs;
use std::path::Path;

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One source file.
pub(crate) struct Source {
    /// The path from the crate's root, with `/`.
    pub(crate) path: String,
    pub(crate) lines: usize,
    pub(crate) file: syn::File,
}

/// A violation: where it is, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding(pub(crate) String);

/// A path as written, with `use` groups expanded.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// The number of inline modules around it.
    pub(crate) depth: usize,
    /// Whether one of them, or the function around it, is for tests only.
    pub(crate) in_test: bool,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| {
            let at = error.span().start();
            unreachable!("{path}:{}: {error}", at.line)
        });
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            file,
        }
    }

    pub(crate) fn finding(&self, line: usize, sentence: impl std::fmt::Display) -> Finding {
        Finding(format!("{}:{line}: {sentence}", self.path))
    }

    /// Returns whether the file is compiled for tests or measurements only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.starts_with("benches/")
    }

    pub(crate) fn named(&self) -> Vec<Named> {
        let mut names = Names {
            in_test: self.is_test(),
            ..Names::default()
        };
        names.visit_file(&self.file);
        names.found
    }
}

/// Returns every Rust file of the crate.
pub(crate) fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for directory in ["src", "tests", "benches", "migrations"] {
        collect(root, &root.join(directory), &mut sources);
    }
    assert!(sources.len() > 20, "the tree is where it is looked for");
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

fn collect(root: &Path, directory: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("the tree can be read").path();
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let name = path.strip_prefix(root).expect("it lies below the root");
            let name = name.to_string_lossy().replace('\\', "/");
            sources.push(Source::parse(&name, &text));
        }
    }
}

pub(crate) fn line_of(span: Span) -> usize {
    span.start().line
}

#[derive(Default)]
struct Names {
    found: Vec<Named>,
    depth: usize,
    in_test: bool,
}

impl Names {
    fn add(&mut self, segments: Vec<String>, span: Span) {
        self.found.push(Named {
            segments,
            line: line_of(span),
            depth: self.depth,
            in_test: self.in_test,
        });
    }

    fn add_use(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_use(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(with(&name.ident), name.ident.span()),
            syn::UseTree::Rename(name) => self.add(with(&name.ident), name.ident.span()),
            syn::UseTree::Glob(glob) => self.add(before.to_vec(), glob.star_token.spans[0]),
            syn::UseTree::Group(group) => {
                group
                    .items
                    .iter()
                    .for_each(|tree| self.add_use(before, tree));
            }
        }
    }

    // Macro arguments are not parsed; words joined by `::` are taken for paths.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut segments = Vec::new();
        let mut joined = false;
        let mut start = Span::call_site();
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if !joined {
                        self.flush(&mut segments, start);
                        start = ident.span();
                    }
                    segments.push(ident.to_string());
                    joined = false;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    joined |= punct.spacing() == Spacing::Joint;
                }
                TokenTree::Group(group) => {
                    self.flush(&mut segments, start);
                    joined = false;
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.flush(&mut segments, start);
                    joined = false;
                }
            }
        }
        self.flush(&mut segments, start);
    }

    fn flush(&mut self, segments: &mut Vec<String>, span: Span) {
        if !segments.is_empty() {
            self.add(std::mem::take(segments), span);
        }
    }

    fn within(&mut self, attributes: &[syn::Attribute], depth: usize, go: impl FnOnce(&mut Self)) {
        let outside = (self.depth, self.in_test);
        self.depth += depth;
        self.in_test |= attributes.iter().any(is_for_tests);
        go(self);
        (self.depth, self.in_test) = outside;
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within(&item.attrs, 1, |names| visit::visit_item_mod(names, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.attrs, 0, |names| visit::visit_item_fn(names, item));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        let segments = segments.map(|segment| segment.ident.to_string()).collect();
        let first = path.segments.first();
        self.add(
            segments,
            first.map_or_else(Span::call_site, |first| first.ident.span()),
        );
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.add_tokens(item.tokens.clone());
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

// `#[cfg(test)]` and every attribute that ends in `test`: `#[test]`, `#[tokio::test]`.
fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let path = attribute.path();
    if path.is_ident("cfg") {
        let named = attribute.parse_args::<syn::Path>();
        return named.is_ok_and(|path| path.is_ident("test"));
    }
    path.segments
        .last()
        .is_some_and(|last| last.ident == "test")
}
