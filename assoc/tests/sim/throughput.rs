//! Goodput of one transfer for each loss, delay and receive window, kept as a table that a change must explain.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use usctp_assoc::sim::{LinkSettings, Loss, Rate, payload};
use usctp_assoc::{CongestionControl, LossDetection, Message, RecoveryOptions};

use crate::world::{HOUR, World, config, ms};

const BYTES: usize = 8 << 20;
const MESSAGE: usize = 8 << 10;
const SEED: u64 = 1;
const LOSSES: [f64; 4] = [0.0, 0.001, 0.01, 0.03];
const DELAYS: [u64; 3] = [1, 20, 100];
const WINDOWS: [usize; 2] = [64 << 10, 1 << 20];

/// The virtual time from the first message's sending to the last one's arrival.
fn transfer(loss: f64, delay: u64, window: usize, recovery: RecoveryOptions) -> Duration {
    let config = config(|options| {
        options.recovery = recovery;
        options.limits.receive_buffer = window;
        options.limits.send_buffer = 2 * BYTES;
    });
    let link = LinkSettings {
        rate: Some(Rate { bytes_per_second: 12_500_000, queue: 256 << 10 }),
        ..LinkSettings::with_latency(ms(delay))
    };
    let mut world = World::new("the_throughput_is_as_in_the_table", SEED, 1, &config, &link);
    let (id, theirs) = world.establish();
    // The losses begin with the transfer, so that no row is about the set-up.
    world.network.alter_both(world.ours[0], world.theirs[0], |link| {
        link.loss = Loss::Uniform(loss);
    });
    let begin = world.network.elapsed();
    let count = BYTES / MESSAGE;
    let (a, z) = (world.a, world.z);
    let messages = (0..count).map(|number| Message::new(0, payload(number as u64, MESSAGE)));
    world.network.offer(a, id, messages);
    let arrived = world.network.run_until(HOUR, |network| {
        network
            .endpoint(z)
            .view(theirs)
            .is_some_and(|association| association.statistics().messages_received == count as u64)
    });
    assert!(arrived, "everything arrives within an hour");
    world.network.elapsed() - begin
}

fn goodput(took: Duration) -> u128 {
    BYTES as u128 * 8 * 1_000 / took.as_micros()
}

/// What the sender's options bring where packets are lost, each added to those before it.
fn recoveries() -> [RecoveryOptions; 4] {
    let rfc = RecoveryOptions::default();
    let rack = RecoveryOptions { detection: LossDetection::Rack, ..rfc };
    let cubic = RecoveryOptions { control: CongestionControl::Cubic, ..rack };
    [rfc, rack, cubic, RecoveryOptions { pacing: true, ..cubic }]
}

fn table() -> String {
    let mut text = format!(
        "# Goodput by loss, delay and receive window\n\n\
         {} KiB in messages of {} KiB on one stream, one path of 100 Mbit/s with a queue of 256 KiB, RFC 9260's\n\
         parameters, virtual time, seed {SEED}. Loss is each packet's in either direction, delay is one way; goodput is\n\
         in kbit/s. `USCTP_WRITE=1 cargo test -p usctp-assoc throughput` writes this file.\n\n\
         | loss % | delay ms | window 64 KiB | window 1 MiB |\n\
         |-------:|---------:|--------------:|-------------:|\n",
        BYTES >> 10,
        MESSAGE >> 10,
    );
    for loss in LOSSES {
        for delay in DELAYS {
            let goodput = WINDOWS
                .map(|window| goodput(transfer(loss, delay, window, RecoveryOptions::default())));
            let loss = loss * 100.0;
            let [small, large] = goodput;
            writeln!(text, "| {loss:>6.1} | {delay:>8} | {small:>13} | {large:>12} |").unwrap();
        }
    }
    text.push_str(
        "\n## What the options of the sender bring\n\n\
         The same with a window of 1 MiB, where packets are lost; each column adds to the one before it.\n\n\
         | loss % | delay ms | RFC 9260 | RACK, tail probes | and CUBIC | and pacing |\n\
         |-------:|---------:|---------:|------------------:|----------:|-----------:|\n",
    );
    for loss in &LOSSES[1..] {
        for delay in DELAYS {
            let [rfc, rack, cubic, paced] =
                recoveries().map(|recovery| goodput(transfer(*loss, delay, WINDOWS[1], recovery)));
            let loss = loss * 100.0;
            writeln!(
                text,
                "| {loss:>6.1} | {delay:>8} | {rfc:>8} | {rack:>17} | {cubic:>9} | {paced:>10} |"
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn the_throughput_is_as_in_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/throughput.md");
    let table = table();
    if std::env::var_os("USCTP_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &table).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == table,
        "{} is out of date; if the change is meant, write it with USCTP_WRITE=1. Now:\n{table}",
        path.display()
    );
}
