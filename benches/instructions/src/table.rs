//! The table that is kept: what each workload took when somebody last looked at it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Growth that fails, in per cent.
const TOLERANCE: f64 = 5.0;

/// What was counted: workload, unit, instructions for one unit.
pub(crate) type Measured = (&'static str, &'static str, f64);

/// The kept figures, and the compiler and the machine that they belong to.
#[derive(Debug, Default)]
pub(crate) struct Table {
    compiler: String,
    machine: String,
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
                Err(_) if key == "machine" => table.machine = value.trim_matches('"').to_owned(),
                Err(_) => {}
            }
        }
        table
    }

    /// Writes what was measured as the table.
    pub(crate) fn write(measured: &[Measured]) -> ExitCode {
        let mut text = String::from(
            "# Instructions for one unit of each workload, both ends together (callgrind, release profile).\n\
             # Written by `USCTP_WRITE=1 benches/instructions/run`. The figures belong to this compiler\n\
             # and to a machine that has these, on which the C library's own loops depend:\n",
        );
        let mut add = |line: String| writeln!(text, "{line}").unwrap();
        add(format!("compiler = \"{}\"", compiler()));
        add(format!("machine = \"{}\"", machine()));
        for (name, unit, instructions) in measured {
            add(format!("\n# unit: {unit}\n\"{name}\" = {instructions:.0}"));
        }
        std::fs::write(path(), text).unwrap();
        ExitCode::SUCCESS
    }

    /// Prints all, and fails if one has grown too much under the same compiler on such a machine.
    pub(crate) fn compare(&self, measured: &[Measured]) -> ExitCode {
        let here = [compiler(), machine()];
        let is_comparable = here == [&*self.compiler, &*self.machine];
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
            println!("This is {}; the table", here.join(", "));
            println!("is of {}, {}: nothing is judged.", self.compiler, self.machine);
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
    format!("{}, {}", version_of("rustc"), std::env::consts::ARCH)
}

/// What else decides how many instructions are counted: callgrind, the C library, and which of the C library's ways to
/// copy and compare the processor allows.
fn machine() -> String {
    let processor = if has_avx2() { "with AVX2" } else { "without AVX2" };
    format!("{}, {}, {processor}", version_of("valgrind"), version_of("ldd"))
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

/// The first line of what a program says of its version.
fn version_of(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}
