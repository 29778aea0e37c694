//! The protocol over simulated networks that do everything wrong, by seed: each kind of scenario is a file with its tests.
//!
//! A kind says by a [`Faults`](faults::Faults) what may go wrong and how often; [`Run`](run::Run) draws from the seed
//! what does, and demands what README and RFC promise of every run.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]
#![allow(missing_docs, reason = "tests are named as sentences")]

mod cuts;
mod damage;
mod ending;
mod every_fault;
mod faults;
mod load;
mod mtu;
mod naps;
mod neighbours;
mod outages;
mod pace;
mod progress;
mod readers;
mod rebinding;
mod restarts;
mod run;
mod verdict;
mod weather;

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
