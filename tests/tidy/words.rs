//! What must not be written: meaningless names, notes of unfinished work, lints disabled without a reason, and tests
//! that are disabled or sleep.

use syn::visit::{self, Visit};

use crate::source::{Finding, Source, line_of};

/// A file or module with such a name could contain anything.
const EMPTY_NAMES: &[&str] = &[
    "data", "helper", "helpers", "info", "manager", "managers", "util", "utils",
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for word in source.path.split(['/', '_', '.']) {
        if EMPTY_NAMES.contains(&word) {
            let sentence = format!("`{word}` says nothing; name the file after what it is about");
            findings.push(source.finding(1, sentence));
        }
    }
    for named in source.named() {
        let last = named.segments.last().map_or("", String::as_str);
        if named.in_test && named.segments.len() > 1 && last == "sleep" {
            let sentence = "a test does not sleep; wait for a condition with a deadline";
            findings.push(source.finding(named.line, sentence));
        }
    }
    let mut switched = Switched(Vec::new());
    switched.visit_file(&source.file);
    // A migration reads what a frozen format could hold, and nothing newer.
    if source.path.starts_with("src/") {
        let mut matches = Matches::default();
        matches.visit_file(&source.file);
        switched.0.extend(matches.found);
    }
    findings.extend(
        switched
            .0
            .into_iter()
            .map(|(line, sentence)| source.finding(line, sentence)),
    );
    findings
}

struct Switched(Vec<(usize, &'static str)>);

impl<'ast> Visit<'ast> for Switched {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let line = line_of(attribute.pound_token.spans[0]);
        let path = attribute.path();
        if path.is_ident("ignore") {
            self.0
                .push((line, "a test is switched off; make it pass or remove it"));
        }
        if (path.is_ident("allow") || path.is_ident("expect")) && !has_reason(attribute) {
            self.0.push((
                line,
                "a lint is switched off without `reason = \"…\"`; say why",
            ));
        }
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let last = item.path.segments.last();
        if let Some(last) =
            last.filter(|last| last.ident == "todo" || last.ident == "unimplemented")
        {
            self.0.push((
                line_of(last.ident.span()),
                "something is left for later; finish it or remove it",
            ));
        }
    }
}

// A new kind of record must cause a compile error wherever kinds of records are distinguished.
#[derive(Default)]
struct Matches {
    found: Vec<(usize, &'static str)>,
    /// Whether `Self` is `Record` here.
    in_record: bool,
}

impl<'ast> Visit<'ast> for Matches {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of = |path: &syn::Path| path.is_ident("Record");
        self.in_record = matches!(&*item.self_ty, syn::Type::Path(of_type) if of(&of_type.path));
        visit::visit_item_impl(self, item);
        self.in_record = false;
    }

    fn visit_expr_match(&mut self, item: &'ast syn::ExprMatch) {
        let tells_records_apart = item.arms.iter().any(|arm| self.names_record(&arm.pat));
        let catch_all = item
            .arms
            .iter()
            .find(|arm| matches!(arm.pat, syn::Pat::Wild(_) | syn::Pat::Ident(_)));
        if let Some(arm) = catch_all.filter(|_| tells_records_apart) {
            let sentence = "a match over `Record` has an arm for everything else; name the kinds, or ask for one by `let … else`";
            self.found
                .push((line_of(arm.fat_arrow_token.spans[0]), sentence));
        }
        visit::visit_expr_match(self, item);
    }
}

impl Matches {
    // Whether a pattern, or one of its alternatives, is a kind of `Record`.
    fn names_record(&self, pattern: &syn::Pat) -> bool {
        let is_record = |path: &syn::Path| {
            let mut segments = path.segments.iter();
            segments.any(|one| one.ident == "Record" || (self.in_record && one.ident == "Self"))
        };
        match pattern {
            syn::Pat::Or(alternatives) => {
                alternatives.cases.iter().any(|one| self.names_record(one))
            }
            syn::Pat::Reference(pattern) => self.names_record(&pattern.pat),
            syn::Pat::Paren(pattern) => self.names_record(&pattern.pat),
            syn::Pat::Struct(pattern) => is_record(&pattern.path),
            syn::Pat::TupleStruct(pattern) => is_record(&pattern.path),
            syn::Pat::Path(pattern) => is_record(&pattern.path),
            _ => false,
        }
    }
}

fn has_reason(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    let mut tokens = list.tokens.clone().into_iter();
    tokens.any(|token| matches!(token, proc_macro2::TokenTree::Ident(word) if word == "reason"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text)).len()
    }

    #[test]
    fn what_is_left_or_switched_off_is_found() {
        for text in [
            "fn f() { todo!() }",
            "fn f() { std::unimplemented!(\"later\") }",
            "#[test] #[ignore] fn f() {}",
            "#[ignore = \"slow\"] fn f() {}",
            "#[allow(dead_code)] fn f() {}",
            "#![allow(dead_code)]",
            "fn f() { #[expect(unused)] let a = 1; }",
        ] {
            assert_eq!(found("src/store/odd.rs", text), 1, "{text}");
        }
        let reasoned = "#[allow(dead_code, reason = \"generated\")] fn f() {}";
        assert_eq!(found("src/store/odd.rs", reasoned), 0);
    }

    #[test]
    fn a_sleep_in_a_test_is_found() {
        let sleep = "fn f() { std::thread::sleep(one); }";
        assert_eq!(found("tests/odd.rs", sleep), 1);
        assert_eq!(found("src/node/odd.rs", sleep), 0);
        let within = format!("#[cfg(test)] mod tests {{ {sleep} }}");
        assert_eq!(found("src/node/odd.rs", &within), 1);
        let awaited = "#[tokio::test] async fn f() { tokio::time::sleep(one).await; }";
        assert_eq!(found("src/node/odd.rs", awaited), 1);
        assert_eq!(found("tests/odd.rs", "use std::thread::sleep;"), 1);
        assert_eq!(
            found("tests/odd.rs", "fn f() { drop(vec![thread::sleep(one)]); }"),
            1
        );
    }

    #[test]
    fn an_empty_name_is_found() {
        for path in [
            "src/util.rs",
            "src/store/utils/mod.rs",
            "src/node/peer_manager.rs",
            "tests/helpers.rs",
        ] {
            assert_eq!(found(path, ""), 1, "{path}");
        }
        assert_eq!(found("src/store/database.rs", ""), 0);
    }

    #[test]
    fn a_match_over_records_that_leaves_kinds_out_is_found() {
        let text = |arm: &str| {
            format!(
                "fn f() {{ match record {{ Record::Sent {{ to }} | Record::Carried {{ to }} => 1, {arm} => 2 }} }}"
            )
        };
        assert_eq!(found("src/store/odd.rs", &text("_")), 1);
        assert_eq!(found("src/store/odd.rs", &text("other")), 1);
        assert_eq!(found("src/store/odd.rs", &text("Record::Reached")), 0);
        assert_eq!(found("tests/odd.rs", &text("_")), 0);
        let own = |of: &str| {
            format!(
                "impl {of} {{ fn f(&self) {{ match self {{ &Self::Sent {{ .. }} => 1, _ => 2 }} }} }}"
            )
        };
        assert_eq!(found("src/process/odd.rs", &own("Record")), 1);
        assert_eq!(found("src/process/odd.rs", &own("Input")), 0);
    }
}
