//! The budgets of the console: modules and style sheets are written for readers, and have no build step that could make them so.

use std::fs;
use std::path::Path;

use crate::source::Finding;

const DIRECTORY: &str = "src/api/rest/console/static";
const LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 160;

pub(crate) fn check() -> Vec<Finding> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(DIRECTORY);
    let entries = fs::read_dir(root).expect("the console is where it is looked for");
    let mut findings = Vec::new();
    for entry in entries {
        let path = entry.expect("the tree can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let comment = match path.extension().and_then(|end| end.to_str()) {
            Some("js") => "// ",
            Some("css") => "/* ",
            _ => continue,
        };
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        findings.extend(found(&format!("{DIRECTORY}/{name}"), &text, comment));
    }
    findings
}

fn found(path: &str, text: &str, comment: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |line: usize, sentence: String| {
        findings.push(Finding(format!("{path}:{line}: {sentence}")));
    };
    if !text.starts_with(comment) {
        add(
            1,
            "begin with a comment that says what lives here".to_owned(),
        );
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        add(
            lines,
            format!("{lines} lines, over {LINES_MAX}; split it by subject"),
        );
    }
    for (at, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        // A path of a picture cannot be broken.
        if columns > COLUMNS_MAX && !line.contains(": 'M") {
            add(at + 1, format!("{columns} columns, over {COLUMNS_MAX}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_its_budget_is_found() {
        let long = format!("// Odd.\n{}", "f();\n".repeat(LINES_MAX));
        assert_eq!(found("odd.js", &long, "// ").len(), 1);
        let wide = format!("// Odd.\n{}\n", "x".repeat(COLUMNS_MAX + 1));
        assert_eq!(found("odd.js", &wide, "// ").len(), 1);
        assert_eq!(found("odd.js", "f();\n", "// ").len(), 1);
        assert_eq!(found("odd.js", "// Odd.\nf();\n", "// "), []);
    }
}
