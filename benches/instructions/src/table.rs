//! The table that is kept: what each workload took when somebody last looked at it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Growth that fails, in per cent.
const TOLERANCE: f64 = 5.0;

/// What was counted: workload, unit, instructions for one unit.
pub(crate) type Measured = (&'static str, &'static str, f64);

/// The kept figures, and the compiler that they belong to.
#[derive(Debug, Default)]
pub(crate) struct Table {
    compiler: String,
    figures: Vec<(String, f64)>,
}

impl Table {
    /// Reads the table; one that is missing is empty.
    pub(crate) fn read() -> Self {
        let mut table = Self::default();
        for line in std::fs::read_to_string(path()).unwrap_or_default().lines() {
            let Some((key, value)) = line.split_once(" = ") else { continue };
            let key = key.trim_matches('"');
            match value.parse() {
                Ok(figure) => table.figures.push((key.to_owned(), figure)),
                Err(_) if key == "compiler" => table.compiler = value.trim_matches('"').to_owned(),
                Err(_) => {}
            }
        }
        table
    }

    /// Writes what was measured as the table.
    pub(crate) fn write(measured: &[Measured]) -> ExitCode {
        let mut text = String::from(
            "# Instructions for one unit of each workload, both ends together (callgrind, release profile).\n\
             # Written by `USCTP_WRITE=1 benches/instructions/run`. The figures belong to this compiler:\n",
        );
        let mut add = |line: String| writeln!(text, "{line}").unwrap();
        add(format!("compiler = \"{}\"", compiler()));
        for (name, unit, instructions) in measured {
            add(format!("\n# unit: {unit}\n\"{name}\" = {instructions:.0}"));
        }
        std::fs::write(path(), text).unwrap();
        ExitCode::SUCCESS
    }

    /// Prints all, and fails if one has grown too much under the same compiler.
    pub(crate) fn compare(&self, measured: &[Measured]) -> ExitCode {
        let compiler = compiler();
        let is_comparable = compiler == self.compiler;
        let mut has_grown = false;
        for &(name, unit, instructions) in measured {
            let kept = self.figures.iter().find(|(key, _)| key == name).map(|(_, figure)| *figure);
            let Some(kept) = kept else {
                println!("{name}: {instructions:.0} instructions ({unit}); not in the table");
                continue;
            };
            let growth = (instructions / kept - 1.0) * 100.0;
            println!(
                "{name}: {instructions:.0} instructions ({unit}); {kept:.0} in the table, {growth:+.1} %"
            );
            has_grown |= growth > TOLERANCE;
            if growth < -TOLERANCE {
                println!("  Fewer: USCTP_WRITE=1 benches/instructions/run keeps that.");
            }
        }
        if !is_comparable {
            println!("The table is of {}, this is {compiler}: nothing is judged.", self.compiler);
            return ExitCode::SUCCESS;
        }
        if has_grown {
            println!(
                "Over {TOLERANCE} % more. If that is meant, USCTP_WRITE=1 benches/instructions/run writes the \
                 table, and the commit says why."
            );
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("table.toml")
}

/// The version and the architecture, in a line.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!("{}, {}", version.unwrap_or_default(), std::env::consts::ARCH)
}
