//! How fast it is over a network: ours, usrsctp and the bare socket in alternation, between two network namespaces.
//!
//! `cargo bench --bench wire` runs all cases, five times each; `cargo bench --bench wire -- --help` tells how to choose.
//! Only what ran side by side compares: the table has ratios, and the JSON file every single run.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing to say"
)]

mod bare;
mod case;
mod contestant;
mod program;
mod report;
mod stage;
mod tools;
mod usrsctp;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use usctp::lab::Lab;

use self::case::{Case, cases};
use self::contestant::Contestant;
use self::report::Report;

/// What can fail here, whatever it is.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const HELP: &str = "\
cargo bench --bench wire -- [FILTER...] [OPTIONS]
FILTER          run the cases whose names contain one of them; none: all
--list          name the cases and end
--runs N        runs of each contestant in a case (5)
--time SECONDS  how long a run takes, whole seconds (2)
--only NAME     ours, usrsctp or bare; repeatable; none: all three
--json FILE     where all runs are written (target/tmp/wire.json)";

/// What the command line asks for.
struct Arguments {
    filters: Vec<String>,
    runs: usize,
    seconds: u32,
    only: Vec<String>,
    json: PathBuf,
    list: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let result = match words.split_first() {
        Some((first, rest)) if first == bare::ROLE => bare::run(rest),
        // Passed by `cargo test --benches`, which wants to see that it starts.
        Some((first, _)) if first == "--test" => Ok(()),
        _ => measure(words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wire: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: Vec<String>) -> Outcome<()> {
    let Some(arguments) = parse(words)? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut chosen: Vec<Case> =
        cases().into_iter().filter(|case| case.is_chosen(&arguments.filters)).collect();
    if arguments.list {
        chosen.iter().for_each(|case| println!("{case}"));
        return Ok(());
    }
    // Before the lab, which packages cannot be installed from.
    tools::provide(&mut chosen);
    // Before anything starts a thread.
    let lab = Lab::enter()?;
    let contestants = Contestant::present(&arguments.only);
    let mut report = Report::new(&arguments);
    for case in chosen {
        match run(&lab, case, &contestants, &arguments, &mut report) {
            Ok(()) => report.tell(&case),
            Err(error) => eprintln!("{case}: {error}"),
        }
    }
    report.finish(&arguments.json)
}

/// All runs of a case: the contestants take turns, so that the machine's moods meet all of them.
fn run(
    lab: &Lab,
    case: Case,
    contestants: &[Contestant],
    arguments: &Arguments,
    report: &mut Report,
) -> Outcome<()> {
    for _ in 0..arguments.runs {
        for contestant in contestants.iter().filter(|contestant| contestant.takes(&case)) {
            let stage = stage::Stage::new(lab, &case)?;
            match contestant.run(&stage, &case, arguments.seconds) {
                Ok(sample) => report.add(&case, contestant.name(), sample),
                Err(error) => eprintln!("{case}: {}: {error}", contestant.name()),
            }
        }
    }
    Ok(())
}

fn parse(words: Vec<String>) -> Outcome<Option<Arguments>> {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wire.json");
    let mut arguments =
        Arguments { filters: vec![], runs: 5, seconds: 2, only: vec![], json, list: false };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--help" => return Ok(None),
            "--list" => arguments.list = true,
            "--runs" => arguments.runs = value()?.parse()?,
            "--time" => arguments.seconds = value()?.parse()?,
            "--only" => arguments.only.push(value()?),
            "--json" => arguments.json = value()?.into(),
            option if option.starts_with('-') => return Err(format!("{option}: {HELP}").into()),
            _ => arguments.filters.push(word),
        }
    }
    Ok(Some(arguments))
}
