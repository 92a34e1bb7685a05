//! The size budgets of the project: lines of files and functions, parameters, and the documentation at the top of every
//! file.

use syn::visit::{self, Visit};

use crate::source::{Finding, Source, line_of};

/// A longer file gives the reason in its first lines, after this phrase.
const FILE_LINES_MAX: usize = 500;
const LONG_FILE: &str = "Over 500 lines:";
const FILE_LINES_MEDIAN_MAX: usize = 200;
/// A longer function gives the reason in its documentation, after this phrase.
const FUNCTION_LINES_MAX: usize = 70;
const LONG_FUNCTION: &str = "Over 70 lines:";
/// The budget is "around 10".
const FUNCTION_LINES_MEDIAN_MAX: usize = 15;
const PARAMETERS_MAX: usize = 6;
/// A parameter that is a tuple counts as one and hides what it holds: a struct names it. Not so in these files, with the
/// reason.
const TUPLES_ALLOWED: &[(&str, &str)] = &[(
    "src/store/stored/v1/mod.rs",
    "it converts the stored form of pairs",
)];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.lines > FILE_LINES_MAX && !gives_reason(&source.file.attrs, LONG_FILE) {
        let lines = source.lines;
        let sentence = format!(
            "{lines} lines, over {FILE_LINES_MAX}; split it by subject, or say why after `{LONG_FILE}` in its header"
        );
        findings.push(source.finding(source.lines, sentence));
    }
    if !is_documented(&source.file) {
        let sentence = "the file begins without `//!`; say what lives here and what must hold";
        findings.push(source.finding(1, sentence));
    }
    for function in functions(source) {
        let Function {
            name,
            line,
            lines,
            parameters,
            tuples,
            has_reason,
        } = function;
        if lines > FUNCTION_LINES_MAX && !has_reason {
            let sentence = format!(
                "{name} has {lines} lines, over {FUNCTION_LINES_MAX}; split it, or say why after `{LONG_FUNCTION}` in its documentation"
            );
            findings.push(source.finding(line, sentence));
        }
        if parameters > PARAMETERS_MAX {
            let sentence = format!(
                "{name} has {parameters} parameters, at most {PARAMETERS_MAX} are allowed; pass one struct of facts"
            );
            findings.push(source.finding(line, sentence));
        }
        if tuples > 0 && !may_take_tuples(source) {
            let sentence =
                format!("{name} takes a tuple; pass its values apart, or a struct with a name");
            findings.push(source.finding(line, sentence));
        }
    }
    findings
}

// In tests a tuple is often the row of a table.
fn may_take_tuples(source: &Source) -> bool {
    let is_allowed = |(path, _): &(&str, &str)| *path == source.path;
    !source.path.starts_with("src/") || TUPLES_ALLOWED.iter().any(is_allowed)
}

// Also behind a reference.
fn is_tuple(kind: &syn::Type) -> bool {
    match kind {
        syn::Type::Tuple(tuple) => !tuple.elems.is_empty(),
        syn::Type::Reference(reference) => is_tuple(&reference.elem),
        syn::Type::Paren(inner) => is_tuple(&inner.elem),
        _ => false,
    }
}

pub(crate) fn check_medians(sources: &[Source]) -> Vec<Finding> {
    let files = median(sources.iter().map(|source| source.lines).collect());
    let lines = sources
        .iter()
        .flat_map(functions)
        .map(|function| function.lines);
    let functions = median(lines.collect());
    let mut findings = Vec::new();
    if files >= FILE_LINES_MEDIAN_MAX {
        let sentence = format!(
            "the median file has {files} lines, it should have under {FILE_LINES_MEDIAN_MAX}"
        );
        findings.push(Finding(sentence));
    }
    if functions > FUNCTION_LINES_MEDIAN_MAX {
        let sentence =
            format!("the median function has {functions} lines, it should have around 10");
        findings.push(Finding(sentence));
    }
    findings
}

fn median(mut figures: Vec<usize>) -> usize {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or(0)
}

fn is_documented(file: &syn::File) -> bool {
    let inner = |attribute: &syn::Attribute| matches!(attribute.style, syn::AttrStyle::Inner(_));
    file.attrs
        .iter()
        .any(|attribute| inner(attribute) && attribute.path().is_ident("doc"))
}

/// Returns whether the documentation in these attributes gives the reason that a budget requires.
fn gives_reason(attributes: &[syn::Attribute], phrase: &str) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else {
            return false;
        };
        let syn::Expr::Lit(literal) = &pair.value else {
            return false;
        };
        matches!(&literal.lit, syn::Lit::Str(text) if text.value().contains(phrase))
    })
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
    parameters: usize,
    /// How many of them are tuples.
    tuples: usize,
    has_reason: bool,
}

fn functions(source: &Source) -> Vec<Function> {
    let mut functions = Functions(Vec::new());
    functions.visit_file(&source.file);
    functions.0
}

struct Functions(Vec<Function>);

impl Functions {
    fn add(
        &mut self,
        attributes: &[syn::Attribute],
        signature: &syn::Signature,
        block: &syn::Block,
    ) {
        let first = line_of(signature.fn_token.span);
        let last = block.brace_token.span.close().end().line;
        let inputs = signature.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Typed(typed) => Some(&*typed.ty),
            syn::FnArg::Receiver(_) => None,
        });
        self.0.push(Function {
            name: signature.ident.to_string(),
            line: first,
            lines: last + 1 - first,
            parameters: inputs.clone().count(),
            tuples: inputs.filter(|kind| is_tuple(kind)).count(),
            has_reason: gives_reason(attributes, LONG_FUNCTION),
        });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.attrs, &item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Finding> {
        check(&Source::parse(
            "src/store/odd.rs",
            &format!("//! Odd.\n{text}"),
        ))
    }

    #[test]
    fn what_is_over_its_budget_is_found() {
        let lines = |count| "    g();\n".repeat(count);
        let long = format!("fn f() {{\n{}}}\n", lines(69));
        assert_eq!(found(&long).len(), 1, "71 lines");
        assert!(
            found(&long)[0]
                .0
                .starts_with("src/store/odd.rs:2: f has 71 lines")
        );
        let method = format!("impl A {{ fn f(&self) {{\n{}}} }}", lines(69));
        assert_eq!(found(&method).len(), 1);
        assert_eq!(
            found("fn f(a: A, b: B, c: C, d: D, e: E, f: F, g: G) {}").len(),
            1
        );
        assert_eq!(
            found("trait T { fn f(&self, a: A, b: B, c: C, d: D, e: E, f: F, g: G) {} }").len(),
            1
        );
        assert_eq!(found(&"\n".repeat(500)).len(), 1);
        assert_eq!(
            check(&Source::parse("src/store/odd.rs", "// Odd.")).len(),
            1
        );
    }

    #[test]
    fn a_parameter_that_is_a_tuple_is_found() {
        for parameter in ["(a, b): (A, B)", "pair: (A, B)", "(a, b): &'a (A, B)"] {
            let method = format!("impl C {{ fn f(&self, {parameter}) {{}} }}");
            assert_eq!(found(&method).len(), 1, "{parameter}");
            let in_tests = check(&Source::parse(
                "tests/odd.rs",
                &format!("//! Odd.\n{method}"),
            ));
            assert_eq!(in_tests, []);
        }
        let closure = "fn f(unit: (), pairs: &[(A, B)]) { pairs.map(|(a, b): (A, B)| a) }";
        assert_eq!(found(closure), []);
    }

    #[test]
    fn what_keeps_its_budget_is_not() {
        let function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(68));
        assert_eq!(found(&function), []);
        assert_eq!(
            found("impl A { fn f(&self, a: A, b: B, c: C, d: D, e: E, f: F) {} }"),
            []
        );
        assert_eq!(found(&"\n".repeat(499)), []);
        let reasoned = format!("//! Over 500 lines: one table.\n{}", "\n".repeat(500));
        assert_eq!(found(&reasoned), []);
        let lines = "    g();\n".repeat(69);
        let reasoned = format!("/// Over 70 lines: one table.\nfn f() {{\n{lines}}}\n");
        assert_eq!(found(&reasoned), []);
    }

    #[test]
    fn medians_are_found() {
        let file = |functions: usize, lines: usize| {
            let function = format!("fn f() {{{}}}\n", "\n".repeat(lines - 1));
            Source::parse("src/a.rs", &function.repeat(functions))
        };
        assert_eq!(check_medians(&[file(10, 10)]), []);
        assert_eq!(check_medians(&[file(10, 16)]).len(), 1);
        assert_eq!(
            check_medians(&[file(1, 5), file(25, 8), file(25, 8)]).len(),
            1
        );
    }
}
