//! How many instructions a packet takes: a figure that does not depend on what else the machine does.
//!
//! `benches/instructions/run` builds this optimised and compares with `table.toml`: a workload that takes over 5 % more
//! fails. `USCTP_WRITE=1 benches/instructions/run` writes the table anew, for a commit that says why.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that cannot be made has nothing to say"
)]

#[path = "../../support/pair.rs"]
mod pair;
mod table;

use std::process::{Command, ExitCode};

use self::pair::Pair;
use self::table::Table;

/// What is counted. Each is run for two amounts of work: the difference is free of what happens once.
const WORKLOADS: [Workload; 7] = [
    Workload {
        name: "messages of 64 bytes",
        unit: "message",
        run: messages::<64>,
        counts: [2000, 10_000],
    },
    Workload {
        name: "messages of 1024 bytes",
        unit: "packet",
        run: messages::<1024>,
        counts: [500, 2500],
    },
    Workload {
        name: "messages of 1400 bytes",
        unit: "packet",
        run: messages::<1400>,
        counts: [500, 2500],
    },
    Workload {
        name: "messages of 65536 bytes",
        unit: "packet",
        run: messages::<65_536>,
        counts: [20, 60],
    },
    Workload { name: "exchanges of 64 bytes", unit: "packet", run: exchanges, counts: [200, 1000] },
    Workload { name: "associations", unit: "association", run: associations, counts: [50, 250] },
    Workload { name: "INITs answered", unit: "INIT", run: inits, counts: [200, 1000] },
];

struct Workload {
    name: &'static str,
    /// What the instructions are divided by; packets are those of both directions, and both ends are counted.
    unit: &'static str,
    /// Does so much work and tells how many units that were.
    run: fn(usize) -> u64,
    counts: [usize; 2],
}

fn messages<const SIZE: usize>(count: usize) -> u64 {
    let mut pair = Pair::new(1500);
    let id = pair.connect();
    pair.packets = 0;
    pair.transfer(id, SIZE, count);
    // Many small messages share a packet.
    if SIZE < 500 { count as u64 } else { pair.packets }
}

/// One message at a time: nothing is bundled, nothing waits.
fn exchanges(count: usize) -> u64 {
    let mut pair = Pair::new(1500);
    let id = pair.connect();
    pair.packets = 0;
    for _ in 0..count {
        pair.transfer(id, 64, 1);
    }
    pair.packets
}

fn associations(count: usize) -> u64 {
    let mut pair = Pair::new(1500);
    for _ in 0..count {
        let id = pair.connect();
        pair.close(id);
    }
    count as u64
}

fn inits(count: usize) -> u64 {
    Pair::new(1500).flood(count);
    count as u64
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [name, count] = words.as_slice() {
        let workload = WORKLOADS.iter().find(|workload| workload.name == name).unwrap();
        println!("{}", (workload.run)(count.parse().unwrap()));
        return ExitCode::SUCCESS;
    }
    let mut measured = Vec::new();
    for workload in &WORKLOADS {
        match workload.measure() {
            Ok(instructions) => measured.push((workload.name, workload.unit, instructions)),
            Err(reason) => {
                println!("Instructions cannot be counted here: {reason}");
                return ExitCode::SUCCESS;
            }
        }
    }
    let table = Table::read();
    if std::env::var_os("USCTP_WRITE").is_some() {
        return Table::write(&measured);
    }
    table.compare(&measured)
}

impl Workload {
    /// Instructions for one unit.
    fn measure(&self) -> Result<f64, String> {
        let [(less, few), (more, many)] =
            [self.count(self.counts[0])?, self.count(self.counts[1])?];
        Ok((more - less) as f64 / (many - few) as f64)
    }

    /// Instructions and units of so much work.
    fn count(&self, work: usize) -> Result<(u64, u64), String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(own)
            .args([self.name, &work.to_string()])
            .output()
            .map_err(|error| format!("valgrind: {error}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let collected = errors
            .lines()
            .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
            .ok_or_else(|| format!("callgrind says no number: {errors}"))?;
        let units = String::from_utf8_lossy(&output.stdout);
        let units = units.trim().parse().map_err(|error| format!("{error}: {units:?}"))?;
        Ok((collected, units))
    }
}
