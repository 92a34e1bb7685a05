//! The budgets of the console: modules and style sheets are written for readers, and have no build step that could make them so.
//! Its folders depend on each other one way.

use std::fs;
use std::path::Path;

use crate::source::Finding;

const DIRECTORY: &str = "src/api/rest/console/static";
const LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 160;

/// A module imports from its own folder and from those before it. `main.js` begins and may import from all.
const FOLDERS: [&str; 6] = ["values", "node", "frame", "parts", "diagram", "pages"];

pub(crate) fn check() -> Vec<Finding> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(DIRECTORY);
    let mut findings = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(directory).expect("the console is where it is looked for");
        for entry in entries {
            let path = entry.expect("the tree can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let comment = match path.extension().and_then(|end| end.to_str()) {
                Some("js") => "// ",
                Some("css") => "/* ",
                _ => continue,
            };
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let name = path.strip_prefix(&root).expect("it lies there");
            let name = name.to_string_lossy().replace('\\', "/");
            findings.extend(found(&name, &text, comment));
            findings.extend(misdirected(&name, &text));
        }
    }
    findings
}

fn finding(path: &str, line: usize, sentence: &str) -> Finding {
    Finding(format!("{DIRECTORY}/{path}:{line}: {sentence}"))
}

fn found(path: &str, text: &str, comment: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |line: usize, sentence: &str| findings.push(finding(path, line, sentence));
    if !text.starts_with(comment) {
        add(1, "begin with a comment that says what lives here");
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        let sentence = format!("{lines} lines, over {LINES_MAX}; split it by subject");
        add(lines, &sentence);
    }
    for (at, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        // A path of a picture cannot be broken.
        if columns > COLUMNS_MAX && !line.contains(": 'M") {
            add(at + 1, &format!("{columns} columns, over {COLUMNS_MAX}"));
        }
    }
    findings
}

// Imports that go against the order of the folders.
fn misdirected(path: &str, text: &str) -> Vec<Finding> {
    let Some((folder, _)) = path.split_once('/') else {
        return Vec::new();
    };
    let rank = |folder: &str| FOLDERS.iter().position(|one| *one == folder);
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((_, named)) = line.split_once(" from '../") else {
            continue;
        };
        let other = named.split('/').next().unwrap_or_default();
        if rank(other).is_none_or(|other| Some(other) > rank(folder)) {
            let sentence = format!("{folder} does not know {other}");
            findings.push(finding(path, at + 1, &sentence));
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

    #[test]
    fn an_import_against_the_order_is_found() {
        let up = "import { show } from '../pages/audit.js';\n";
        assert_eq!(misdirected("parts/table.js", up).len(), 1);
        assert_eq!(
            misdirected("main.js", "import { show } from './pages/audit.js';\n"),
            []
        );
        let down = "import { h } from '../values/dom.js';\nimport { table } from './table.js';\n";
        assert_eq!(misdirected("parts/strip.js", down), []);
        assert_eq!(
            misdirected("values/dom.js", "import x from '../odd/x.js';\n").len(),
            1
        );
    }
}
