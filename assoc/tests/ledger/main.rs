//! The ledger of RFC 9260 is complete, and what it says of code and tests can be found there.
//!
//! `docs/rfc9260/*.toml` has one entry a normative statement. `USCTP_WRITE=1` writes the page
//! `docs/rfc9260/README.md` again, which counts them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]
#![allow(missing_docs, reason = "tests are named as sentences")]

mod code;
mod page;
mod statement;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use code::Code;
use statement::{Statement, Status};
use text::Text;

/// Whether an open MUST, MUST NOT, SHALL, SHALL NOT or REQUIRED fails the test.
const OPEN_MUSTS_FAIL: bool = true;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn ledger() -> Vec<Statement> {
    statement::read(&workspace().join("docs/rfc9260"))
}

/// Fails with all faults at once.
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_statement_has_a_status_and_what_belongs_to_it() {
    assert_none(&ledger().iter().flat_map(Statement::faults).collect::<Vec<_>>());
}

#[test]
fn every_place_and_every_test_of_the_ledger_exists() {
    let code = Code::read(&workspace());
    let mut faults = Vec::new();
    for statement in ledger() {
        for place in statement.place.iter().filter(|place| !code.has_place(place)) {
            faults.push(format!("{}: no such place: {place}", statement.name()));
        }
        for test in statement.tests.iter().filter(|test| !code.has_test(test)) {
            faults.push(format!("{}: no such test: {test}", statement.name()));
        }
    }
    assert_none(&faults);
}

#[test]
fn a_place_or_a_test_that_is_not_there_is_found() {
    let code = Code::read(&workspace());
    let send = "assoc/src/send.rs";
    assert!(code.has_place(send) && code.has_place("assoc/src/send.rs Sender::on_t3"));
    assert!(code.has_place("assoc/src/association/restart.rs Association::on_init"));
    assert!(
        !code.has_place("assoc/src/sent.rs") && !code.has_place("assoc/src/send.rs Sender::t3")
    );
    assert!(code.has_test("a_place_or_a_test_that_is_not_there_is_found"));
    assert!(!code.has_test("workspace") && !code.has_test("has_place"), "no tests");
}

#[test]
fn every_row_and_case_of_the_page_on_connectx_names_tests_that_exist() {
    let code = Code::read(&workspace());
    let page = fs::read_to_string(workspace().join("docs/connectx.md")).unwrap();
    let tables: Vec<Vec<&str>> = ["## The rows of", "## The cases and"]
        .map(|heading| {
            let (_, section) = page.split_once(heading).unwrap();
            let section = section.split("\n## ").next().unwrap();
            // Behind the heads of the columns.
            section.lines().filter(|line| line.starts_with('|')).skip(2).collect()
        })
        .into();
    let rows: Vec<_> = tables[0].iter().map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    let numbers: Vec<_> = (1..=16).map(|number| number.to_string()).collect();
    assert_eq!(rows, numbers);
    assert!(tables[1].len() >= 39, "{} cases", tables[1].len());
    let mut faults = Vec::new();
    for row in tables.concat() {
        let (matter, tests) = row.trim_end_matches('|').rsplit_once('|').unwrap();
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            faults.push(format!("no test: {matter}"));
        }
        faults.extend(
            tests.iter().filter(|test| !code.has_test(test)).map(|test| format!("no such: {test}")),
        );
    }
    assert_none(&faults);
}

#[test]
fn no_must_is_open() {
    let ledger = ledger();
    let open = ledger.iter().filter(|statement| statement.status == Status::Open);
    let (musts, shoulds): (Vec<_>, Vec<_>) =
        open.partition(|statement| statement.level.is_absolute());
    println!("open: {} MUST, {} SHOULD, of {}", musts.len(), shoulds.len(), ledger.len());
    if OPEN_MUSTS_FAIL {
        assert_none(&musts.iter().map(|statement| statement.name()).collect::<Vec<_>>());
    }
}

#[test]
fn the_page_shows_what_the_ledger_says() {
    let path = workspace().join("docs/rfc9260/README.md");
    let page = page::render(&ledger());
    if std::env::var_os("USCTP_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "out of date; write it with USCTP_WRITE=1: {}", path.display());
}

#[test]
fn every_keyword_of_the_rfc_is_quoted_once_and_in_its_order() {
    let path = workspace().join("../shared/rfc/rfc9260.txt");
    let Ok(text) = fs::read_to_string(&path) else {
        println!(
            "SKIPPED: every_keyword_of_the_rfc_is_quoted_once_and_in_its_order: no text of the RFC"
        );
        return;
    };
    assert_none(&Text::new(&text).faults(&ledger()));
}

#[test]
fn a_quotation_that_is_missing_altered_or_in_the_wrong_section_is_found() {
    let text = Text::new(
        "1.  One\n\n   A MUST b.  C\n   SHOULD NOT d.\n\n2.  Words\n\n   MUST\n\n3.  Three\n\n   E SHALL f.\n",
    );
    let good = [("1", "A MUST b."), ("1", "C SHOULD NOT d."), ("3", "E SHALL f.")];
    let faults = |entries: &[(&str, &str)]| {
        let ledger: Vec<_> =
            entries.iter().map(|(section, quote)| Statement::quoting(section, quote)).collect();
        text.faults(&ledger).len()
    };
    assert_eq!(faults(&good), 0);
    assert_ne!(faults(&good[1..]), 0, "one left out");
    assert_ne!(faults(&[good[1], good[0], good[2]]), 0, "out of order");
    assert_ne!(faults(&[good[0], ("1", "C SHOULD NOT e."), good[2]]), 0, "altered");
    assert_ne!(faults(&[good[0], ("3", good[1].1), good[2]]), 0, "of another section");
    assert_ne!(faults(&[good[0], good[1], good[2], good[2]]), 0, "twice");
}
