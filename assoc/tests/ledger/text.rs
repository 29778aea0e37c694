//! The text of the RFC: its sections, the keywords in them, and whether the ledger quotes each.

use super::statement::{Level, Statement};

/// The section that says what the keywords mean; it states nothing by them.
const DEFINITION: &str = "2";

/// The text, section by section, white space folded.
pub(crate) struct Text {
    sections: Vec<(String, String)>,
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        // The numbered headings begin a line; the table of contents is indented.
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            match heading(line) {
                Some(number) => sections.push((number.to_owned(), String::new())),
                None => {
                    if let Some((_, body)) = sections.last_mut() {
                        body.push_str(line);
                        body.push('\n');
                    }
                }
            }
        }
        sections.retain(|(number, _)| number != DEFINITION);
        for (_, body) in &mut sections {
            *body = fold(body);
        }
        Self { sections }
    }

    /// Where the ledger's quotations and the text differ.
    pub(crate) fn faults(&self, ledger: &[Statement]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut rest = ledger.iter();
        for (number, body) in &self.sections {
            for (at, level) in keywords(body) {
                let around: String = body[at..].chars().take(60).collect();
                let Some(statement) = rest.next() else {
                    faults.push(format!("{number}: no entry for \"{around}\""));
                    continue;
                };
                if statement.section != *number
                    || statement.level != level
                    || !covers(body, &statement.quote, at)
                {
                    let name = statement.name();
                    faults.push(format!("{number}: \"{around}\" is not what is quoted: {name}"));
                    // One entry too many or too few puts all others out of step.
                    return faults;
                }
            }
        }
        faults.extend(rest.map(|statement| format!("not in the text: {}", statement.name())));
        faults
    }
}

/// One line of the text, all white space being equal; a word may be broken after its hyphen.
pub(crate) fn fold(text: &str) -> String {
    let mut folded = String::new();
    for word in text.split_whitespace() {
        let mut end = folded.chars().rev();
        let broken = end.next() == Some('-') && end.next().is_some_and(char::is_alphabetic);
        if !folded.is_empty() && !broken {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded
}

/// The keywords of folded text, and where they begin.
pub(crate) fn keywords(text: &str) -> Vec<(usize, Level)> {
    let words = words(text);
    let word = |index: Option<usize>| index.and_then(|i| words.get(i)).map_or("", |(_, word)| word);
    let mut found = Vec::new();
    for (index, (at, keyword)) in words.iter().enumerate() {
        let not_after = word(index.checked_add(1)) == "NOT";
        let not_before = word(index.checked_sub(1)) == "NOT";
        let level = match (*keyword, not_after, not_before) {
            ("MUST", false, _) => Level::Must,
            ("MUST", true, _) => Level::MustNot,
            ("SHALL", false, _) => Level::Shall,
            ("SHALL", true, _) => Level::ShallNot,
            ("SHOULD", false, _) => Level::Should,
            ("SHOULD", true, _) => Level::ShouldNot,
            ("REQUIRED", ..) => Level::Required,
            ("RECOMMENDED", _, false) => Level::Recommended,
            ("RECOMMENDED", _, true) => Level::NotRecommended,
            _ => continue,
        };
        found.push((*at, level));
    }
    found
}

/// Whether one of the places where `quote` stands in `body` includes offset `at`.
fn covers(body: &str, quote: &str, at: usize) -> bool {
    let quote = fold(quote);
    body.match_indices(&quote).any(|(start, found)| (start..start + found.len()).contains(&at))
}

fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut at = 0;
    for word in text.split(|character: char| !character.is_alphanumeric()) {
        if !word.is_empty() {
            words.push((at, word));
        }
        at += word.len() + 1;
    }
    words
}

/// The number of the section that this line opens.
fn heading(line: &str) -> Option<&str> {
    let (number, title) = line.split_once(".  ")?;
    let is_number = number
        .split('.')
        .all(|part| !part.is_empty() && part.chars().all(|character| character.is_ascii_digit()));
    (is_number && !title.is_empty()).then_some(number)
}
