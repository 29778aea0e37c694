//! How fast the protocol is without any network: two endpoints in one thread that hand each other their packets.
//!
//! `cargo bench --bench core` prints the median of five runs for each message size, and of associations set up and
//! closed, in processor time. Absolute figures belong to the machine of the hour; compare only what ran side by side:
//! `benches/peers` does so with other implementations.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to say"
)]

#[path = "support/clock.rs"]
mod clock;
#[path = "support/pair.rs"]
mod pair;

use std::time::Duration;

use self::clock::processor_time;
use self::pair::Pair;

/// Bytes of messages in a run, unless they are so small that it would take too long.
const TOTAL: usize = 128 << 20;
const MESSAGES_MAX: usize = 400_000;
const RUNS: usize = 5;
const ASSOCIATIONS: u32 = 5_000;

fn main() {
    println!("message bytes |   MB/s | ns a packet, both ends | messages/s");
    for size in [64, 1024, 1200, 8192, 65_536] {
        let messages = (TOTAL / size).min(MESSAGES_MAX);
        let (time, packets) = median(|| transfer(size, messages));
        let seconds = time.as_secs_f64();
        println!(
            "{size:>13} | {:>6.0} | {:>22.0} | {:>10.0}",
            (messages * size) as f64 / seconds / 1e6,
            time.as_nanos() as f64 / packets as f64,
            messages as f64 / seconds,
        );
    }
    let (time, _) = median(set_up_and_close);
    println!("associations/s: {:.0}", f64::from(ASSOCIATIONS) / time.as_secs_f64());
}

/// The run of median time: its time and its packets.
fn median(mut run: impl FnMut() -> (Duration, u64)) -> (Duration, u64) {
    let mut runs: Vec<_> = (0..RUNS).map(|_| run()).collect();
    runs.sort();
    runs[RUNS / 2]
}

fn transfer(size: usize, messages: usize) -> (Duration, u64) {
    let mut pair = Pair::new(1500);
    let id = pair.connect();
    pair.packets = 0;
    let begun = processor_time();
    pair.transfer(id, size, messages);
    (processor_time() - begun, pair.packets)
}

fn set_up_and_close() -> (Duration, u64) {
    let mut pair = Pair::new(1500);
    let begun = processor_time();
    for _ in 0..ASSOCIATIONS {
        let id = pair.connect();
        pair.close(id);
    }
    (processor_time() - begun, pair.packets)
}
