//! Files of `src` import each other in one direction: no file depends on itself by way of others.
//!
//! A dependency is a `use` or a path in code. A name that a module takes over from elsewhere (`pub use`, or an import that
//! its children see) is followed to the file that defines it, so re-exports hide nothing. Not counted: test modules, and
//! dependencies between a module and its own children or parents, which are one unit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::source::{Finding, Source};

type Module = Vec<String>;
/// Chains of re-exports are shorter.
const FOLLOWED_MAX: usize = 10;

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let tree = Tree::of(sources);
    let circles = circles(&tree.dependencies());
    let finding = |circle: Vec<&str>| {
        let files = circle.join(" -> ");
        Finding(format!(
            "{}: in a circle of imports: {files}; move what they share into a file of its own",
            circle[0]
        ))
    };
    circles.into_iter().map(finding).collect()
}

/// The modules of `src`, each with its file.
struct Tree<'a> {
    files: BTreeMap<Module, &'a Source>,
    /// What each module imports, by the name under which it is known there.
    imports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl<'a> Tree<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let modules = sources
            .iter()
            .filter_map(|source| Some((module_of(&source.path)?, source)));
        let mut tree = Self {
            files: modules.collect(),
            imports: BTreeMap::new(),
        };
        for (module, source) in &tree.files {
            let mut imports = BTreeMap::new();
            for item in &source.file.items {
                if let syn::Item::Use(item) = item {
                    imported(&mut Vec::new(), &item.tree, &mut |name, path| {
                        if let Some(path) = tree.absolute(module, path) {
                            imports.insert(name, path);
                        }
                    });
                }
            }
            tree.imports.insert(module.clone(), imports);
        }
        tree
    }

    /// A path as seen from the crate's root; `None` where it leads out of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Module> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        if ups > 0 {
            let above = &module[..module.len().checked_sub(ups)?];
            return Some([above, &path[ups..]].concat());
        }
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            first => {
                let child = [module, &[first.to_owned()]].concat();
                let is_child = self.files.contains_key(&child);
                is_child.then(|| [module, path].concat())
            }
        }
    }

    /// The file that defines what a path names.
    fn definer(&self, path: &[String], followed: usize) -> Option<&'a Source> {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let import = rest
            .first()
            .and_then(|name| self.imports.get(module)?.get(name));
        match import {
            Some(import) if followed < FOLLOWED_MAX => {
                self.definer(&[import, &rest[1..]].concat(), followed + 1)
            }
            _ => self.files.get(module).copied(),
        }
    }

    fn dependencies(&self) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let mut dependencies: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, source) in self.files.iter().filter(|(module, _)| !module.is_empty()) {
            let named = source.named().into_iter().filter(|named| !named.in_test);
            for named in named {
                // Within inline modules `super` leads to the file itself first.
                let inner = named.segments.iter().take_while(|name| *name == "super");
                let outwards = named.depth.min(inner.count());
                let Some(path) = self.absolute(module, &named.segments[outwards..]) else {
                    continue;
                };
                let Some(definer) = self.definer(&path, 0) else {
                    continue;
                };
                let other = module_of(&definer.path).expect("it is in the tree");
                if !other.is_empty() && !other.starts_with(module) && !module.starts_with(&other) {
                    dependencies
                        .entry(&source.path)
                        .or_default()
                        .insert(&definer.path);
                }
            }
        }
        dependencies
    }
}

// `None` outside of `src`, and for the program, which stands above all.
fn module_of(path: &str) -> Option<Module> {
    let below = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    if below == "main" {
        return None;
    }
    let mut segments: Module = below.split('/').map(str::to_owned).collect();
    if matches!(segments.last().map(String::as_str), Some("mod" | "lib")) {
        segments.pop();
    }
    Some(segments)
}

fn imported(
    before: &mut Vec<String>,
    tree: &syn::UseTree,
    add: &mut impl FnMut(String, &[String]),
) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            imported(before, &path.tree, add);
            before.pop();
        }
        syn::UseTree::Name(name) if name.ident == "self" => {
            if let Some(last) = before.last().cloned() {
                add(last, before);
            }
        }
        syn::UseTree::Name(name) => {
            let path = [&before[..], &[name.ident.to_string()]].concat();
            add(name.ident.to_string(), &path);
        }
        syn::UseTree::Rename(name) => {
            let path = [&before[..], &[name.ident.to_string()]].concat();
            add(name.rename.to_string(), &path);
        }
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                imported(before, tree, add);
            }
        }
        syn::UseTree::Glob(_) => {}
    }
}

/// For each group of files that reach each other, the shortest way from the first of them back to it.
fn circles<'a>(dependencies: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for file in dependencies.keys() {
        if seen.contains(file) {
            continue;
        }
        if let Some(circle) = way_back(dependencies, file) {
            seen.extend(circle.iter().copied());
            circles.push(circle);
        }
    }
    circles
}

fn way_back<'a>(
    dependencies: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    file: &'a str,
) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([file]);
    while let Some(at) = next.pop_front() {
        for to in dependencies.get(at).into_iter().flatten() {
            if *to == file {
                let back = std::iter::successors(Some(at), |at| came_from.get(at).copied());
                let mut circle: Vec<&str> = std::iter::once(file).chain(back).collect();
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(to) {
                came_from.insert(to, at);
                next.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let parse = |(path, text): &(&str, &str)| Source::parse(&format!("src/{path}"), text);
        let sources: Vec<Source> = files.iter().map(parse).collect();
        let findings = check(&sources).into_iter();
        findings.map(|finding| finding.0).collect()
    }

    #[test]
    fn a_circle_is_found_and_named() {
        let circle = found(&[
            ("a/mod.rs", ""),
            ("a/one.rs", "use super::two::Two;"),
            ("a/two.rs", "fn f() { crate::a::three::g(); }"),
            ("a/three.rs", "use super::one::{One, other};"),
        ]);
        assert_eq!(circle.len(), 1, "{circle:?}");
        let way = "src/a/one.rs -> src/a/two.rs -> src/a/three.rs -> src/a/one.rs";
        assert!(circle[0].contains(way), "{circle:?}");
    }

    #[test]
    fn a_re_export_hides_none() {
        let public = "pub use two::Two; pub use one::One as First;";
        for parent in [public, &public.replace("pub ", "")] {
            let circle = found(&[
                ("a/mod.rs", parent),
                ("a/one.rs", "use super::Two;"),
                ("a/two.rs", "fn f() -> crate::a::First { first() }"),
            ]);
            assert_eq!(circle.len(), 1, "{circle:?}");
        }
    }

    #[test]
    fn what_leads_one_way_is_none() {
        let one_way = [
            ("a/mod.rs", "mod one; mod two; use one::One;"),
            ("a/one.rs", "use super::two::Two;"),
            (
                "a/two.rs",
                "use std::fmt; #[cfg(test)] mod tests { use super::super::one::One; }",
            ),
            ("a/two/own.rs", "use super::Two; use crate::a::one::One;"),
        ];
        assert_eq!(found(&one_way), Vec::<String>::new());
        let family = [("a.rs", "use b::B;"), ("a/b.rs", "use super::A;")];
        assert_eq!(found(&family), Vec::<String>::new());
    }
}
