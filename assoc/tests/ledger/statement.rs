//! One entry of the ledger, and what it must say to be complete.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::text;

/// The keyword of a statement (RFC 2119).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHALL")]
    Shall,
    #[serde(rename = "SHALL NOT")]
    ShallNot,
    #[serde(rename = "REQUIRED")]
    Required,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    #[serde(rename = "RECOMMENDED")]
    Recommended,
    #[serde(rename = "NOT RECOMMENDED")]
    NotRecommended,
}

impl Level {
    /// Whether the statement leaves no choice, as MUST does.
    pub(crate) fn is_absolute(self) -> bool {
        matches!(self, Self::Must | Self::MustNot | Self::Shall | Self::ShallNot | Self::Required)
    }
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Status {
    #[serde(rename = "done")]
    Done,
    #[serde(rename = "does not apply")]
    DoesNotApply,
    #[serde(rename = "deliberately otherwise")]
    DeliberatelyOtherwise,
    #[serde(rename = "open")]
    Open,
}

impl Status {
    /// All of them, in the order of the page's columns.
    pub(crate) const ALL: [(Self, &str); 4] = [
        (Self::Done, "done"),
        (Self::DoesNotApply, "does not apply"),
        (Self::DeliberatelyOtherwise, "otherwise"),
        (Self::Open, "open"),
    ];
}

/// One `[[statement]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    pub(crate) section: String,
    pub(crate) level: Level,
    /// Verbatim but for white space; holds exactly one keyword.
    pub(crate) quote: String,
    pub(crate) status: Status,
    /// A file and an item of it, `chunk/src/packet.rs Packet::parse`.
    #[serde(default)]
    pub(crate) place: Vec<String>,
    /// Names of the tests that would fail without it.
    #[serde(default)]
    pub(crate) tests: Vec<String>,
    /// Why it does not apply or is done otherwise, or what is missing.
    #[serde(default)]
    pub(crate) reason: String,
    /// What a reader should know besides.
    #[serde(default)]
    pub(crate) note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    statement: Vec<Statement>,
}

/// All statements of the files of `directory`, in the order of the RFC.
pub(crate) fn read(directory: &Path) -> Vec<Statement> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let read = |path: &std::path::PathBuf| -> Vec<Statement> {
        let file: Result<File, _> = toml::from_str(&fs::read_to_string(path).unwrap());
        file.unwrap_or_else(|error| panic!("{}: {error}", path.display())).statement
    };
    paths.iter().flat_map(read).collect()
}

impl Statement {
    /// Which one this is, for a reader of a message.
    pub(crate) fn name(&self) -> String {
        format!("{} \"{}\"", self.section, text::fold(&self.quote))
    }

    /// What is missing or too much in this entry, read alone.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: &str| {
            if !good {
                faults.push(format!("{}: {fault}", self.name()));
            }
        };
        let keywords: Vec<_> =
            text::keywords(&text::fold(&self.quote)).into_iter().map(|(_, level)| level).collect();
        check(keywords == [self.level], "the quotation holds another keyword or several");
        if self.status == Status::Done {
            check(!self.place.is_empty(), "done, but no place");
            check(!self.tests.is_empty(), "done, but no test");
            check(self.reason.is_empty(), "done needs no reason; a remark goes into `note`");
        } else {
            check(self.note.is_empty(), "a remark goes into `reason`");
            check(!self.reason.trim().is_empty(), "no reason");
        }
        faults
    }

    /// An open entry, for tests of the checks.
    pub(crate) fn quoting(section: &str, quote: &str) -> Self {
        Self {
            section: section.to_owned(),
            level: text::keywords(quote)[0].1,
            quote: quote.to_owned(),
            status: Status::Open,
            place: Vec::new(),
            tests: Vec::new(),
            reason: "example".to_owned(),
            note: String::new(),
        }
    }
}
