//! The page that counts the ledger's statements by section and status.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::statement::{Statement, Status};
use super::text;

const HEAD: &str = "\
# RFC 9260, statement by statement

Every sentence of RFC 9260 that holds MUST, SHALL, REQUIRED, SHOULD or RECOMMENDED, or their
opposite, is an entry in the files beside this page: what became of it, the place in the code that
does it, and the tests that would fail without. `cargo test -p usctp-assoc --test ledger` checks that
nothing is left out and that all places and tests exist; with `USCTP_WRITE=1` it writes this page.

- **done**: the code does it at the place named, and a test named would fail without.
- **does not apply**: it asks something of someone else, or of an option that usctp does not use.
- **otherwise**: usctp does something else on purpose; the reason is given.
- **open**: something is missing.
";

pub(crate) fn render(ledger: &[Statement]) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## All\n\n");
    header(&mut page, "level");
    row(&mut page, "MUST", ledger.iter().filter(|statement| statement.level.is_absolute()));
    row(&mut page, "SHOULD", ledger.iter().filter(|statement| !statement.level.is_absolute()));
    row(&mut page, "both", ledger.iter());
    page.push_str("\n## By section\n\n");
    header(&mut page, "section");
    let mut sections: BTreeMap<Vec<u32>, Vec<&Statement>> = BTreeMap::new();
    for statement in ledger {
        let number = statement.section.split('.').map(|part| part.parse().unwrap()).collect();
        sections.entry(number).or_default().push(statement);
    }
    for statements in sections.values() {
        row(&mut page, &statements[0].section, statements.iter().copied());
    }
    list(&mut page, "Deliberately otherwise", Status::DeliberatelyOtherwise, ledger);
    list(&mut page, "Open", Status::Open, ledger);
    page
}

fn header(page: &mut String, first: &str) {
    write!(page, "| {first} |").unwrap();
    for (_, name) in Status::ALL {
        write!(page, " {name} |").unwrap();
    }
    page.push_str(" of |\n|---|");
    page.push_str(&"--:|".repeat(Status::ALL.len() + 1));
    page.push('\n');
}

fn row<'a>(page: &mut String, name: &str, statements: impl Iterator<Item = &'a Statement>) {
    let statements: Vec<_> = statements.collect();
    write!(page, "| {name} |").unwrap();
    for (status, _) in Status::ALL {
        match statements.iter().filter(|statement| statement.status == status).count() {
            0 => page.push_str(" |"),
            count => write!(page, " {count} |").unwrap(),
        }
    }
    writeln!(page, " {} |", statements.len()).unwrap();
}

fn list(page: &mut String, title: &str, status: Status, ledger: &[Statement]) {
    let statements: Vec<_> = ledger.iter().filter(|statement| statement.status == status).collect();
    if statements.is_empty() {
        return;
    }
    write!(page, "\n## {title}\n\n").unwrap();
    for statement in statements {
        let (quote, reason) = (text::fold(&statement.quote), text::fold(&statement.reason));
        writeln!(page, "- {}: \"{quote}\" *{reason}*", statement.section).unwrap();
    }
}
