//! The project's sources, searched for the items and tests that the ledger names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Where sources lie in the workspace.
const ROOMS: [&str; 7] =
    ["src", "tests", "chunk/src", "chunk/tests", "assoc/src", "assoc/tests", "fuzz"];

/// Words before the name of an item.
const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];

/// All sources.
pub(crate) struct Code {
    /// Names defined in a file, by its path from the top of the workspace.
    items: BTreeMap<String, BTreeSet<String>>,
    tests: BTreeSet<String>,
}

impl Code {
    pub(crate) fn read(workspace: &Path) -> Self {
        let mut code = Self { items: BTreeMap::new(), tests: BTreeSet::new() };
        for room in ROOMS {
            code.read_directory(workspace, &workspace.join(room));
        }
        code
    }

    /// Whether `place`, a file and perhaps an item of it, exists.
    pub(crate) fn has_place(&self, place: &str) -> bool {
        let (file, item) = place.split_once(' ').unwrap_or((place, ""));
        let Some(items) = self.items.get(file) else { return false };
        item.split("::").all(|segment| segment.is_empty() || items.contains(segment))
    }

    pub(crate) fn has_test(&self, name: &str) -> bool {
        self.tests.contains(name)
    }

    fn read_directory(&mut self, workspace: &Path, directory: &Path) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                self.read_directory(workspace, &path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(workspace).unwrap().to_str().unwrap().to_owned();
                self.read_file(name, &fs::read_to_string(&path).unwrap());
            }
        }
    }

    fn read_file(&mut self, name: String, source: &str) {
        let mut items = BTreeSet::new();
        let mut is_test = false;
        for whole in source.lines() {
            let line = whole.trim();
            let words: Vec<&str> = words(line).collect();
            for pair in words.windows(2) {
                if ITEMS.contains(&pair[0]) || pair[0] == "impl" || pair[0] == "for" {
                    items.insert(pair[1].to_owned());
                }
                if pair[0] == "fn" && is_test {
                    self.tests.insert(pair[1].to_owned());
                }
            }
            // Variants and fields open a line, one step within their type.
            if whole.starts_with("    ") && !whole.starts_with("     ") {
                let name = words.iter().find(|word| !["pub", "super", "crate"].contains(word));
                items.extend(name.map(|name| (*name).to_owned()));
            }
            // Tests with a harness of their own are named by strings.
            if source.contains("Suite::enter(") {
                let named = line.split('"').skip(1).step_by(2).filter(|text| is_sentence(text));
                self.tests.extend(named.map(str::to_owned));
            }
            is_test = line == "#[test]" || (is_test && (line.starts_with("#[") || line.is_empty()));
        }
        self.items.insert(name, items);
    }
}

/// Whether it is the name of a test: words with underscores between.
fn is_sentence(text: &str) -> bool {
    let is_name =
        text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    is_name && text.matches('_').count() >= 2
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}
