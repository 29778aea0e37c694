//! The protocol in memory beside other implementations in Rust: two ends in one thread that hand each other their
//! packets, greatest packet 1,480 bytes, receive window 1 MiB, up to 64 packets a turn, one ordered stream.
//!
//! `cargo run --release [RUNS]`: the implementations take turns, five runs each unless told otherwise; medians, in
//! processor time.

#[path = "../../support/clock.rs"]
mod clock;
mod dcsctp_peer;
mod ours;
mod polled;
mod rtc;
mod sctp_proto_peer;

use std::time::Instant;

use bytes::Bytes;

use self::clock::processor_time;
use self::polled::Polled;

/// The greatest packet without IP header, bytes.
const PACKET: u32 = 1480;
/// The receive window, bytes.
const WINDOW: u32 = 1 << 20;
/// Packets handed over before the other side has its turn.
const TURN: usize = 64;

/// Two ends and what is between them. The first sends, the second receives.
trait Pair {
    /// Sets an association up.
    fn connect() -> Self;
    /// Takes a message to be sent; `false` if it has no room for it.
    fn send(&mut self, message: &Bytes) -> bool;
    /// One end hands over up to a turn's packets: how many there were.
    fn turn(&mut self, from: usize) -> u64;
    /// Takes what has arrived: how many bytes that were.
    fn receive(&mut self) -> usize;
    /// Time passes.
    fn pass(&mut self, microseconds: u64);
}

/// What one run gave.
#[derive(Debug, Clone, Copy)]
struct Run {
    megabytes_per_second: f64,
    nanoseconds_per_packet: f64,
}

type Measure = fn(usize) -> Run;

fn main() {
    let runs = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(5);
    let contestants: [(&str, Measure); 4] = [
        ("usctp-assoc", measure::<ours::Ours>),
        ("rtc-sctp", measure::<Polled<rtc::Rtc>>),
        ("dcsctp (formats every packet for its log)", measure::<dcsctp_peer::Dcsctp>),
        ("sctp-proto", measure::<Polled<sctp_proto_peer::SctpProto>>),
    ];
    println!("| message bytes | implementation | MB/s | ns a packet, both ends | ours / it |");
    println!("|---|---|---|---|---|");
    for size in [1024, 1200, 65_536] {
        let mut results = vec![Vec::new(); contestants.len()];
        for _ in 0..runs {
            for ((_, measure), results) in contestants.iter().zip(&mut results) {
                results.push(measure(size));
            }
        }
        let medians: Vec<Run> = results.into_iter().map(median).collect();
        let ours = medians[0].megabytes_per_second;
        for ((name, _), run) in contestants.iter().zip(medians) {
            println!(
                "| {size} | {name} | {:.0} | {:.0} | {:.2} |",
                run.megabytes_per_second,
                run.nanoseconds_per_packet,
                ours / run.megabytes_per_second
            );
        }
    }
}

fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by(|one, other| one.megabytes_per_second.total_cmp(&other.megabytes_per_second));
    runs[runs.len() / 2]
}

/// Sends for about a third of a second and until all has arrived.
fn measure<P: Pair>(size: usize) -> Run {
    let mut pair = P::connect();
    let message = Bytes::from(vec![7; size]);
    let room = (WINDOW as usize / size).max(2) * size;
    let (mut sent, mut received, mut packets) = (0, 0, 0);
    let (begun, begun_here) = (Instant::now(), processor_time());
    let mut is_over = false;
    while !is_over || received < sent {
        is_over |= (processor_time() - begun_here).as_millis() > 300;
        assert!(begun.elapsed().as_secs() < 60, "it has stopped at {received} of {sent} bytes");
        while !is_over && sent - received < room && pair.send(&message) {
            sent += size;
        }
        packets += pair.turn(0);
        packets += pair.turn(1);
        received += pair.receive();
        pair.pass(50);
    }
    let time = processor_time() - begun_here;
    Run {
        megabytes_per_second: received as f64 / time.as_secs_f64() / 1e6,
        nanoseconds_per_packet: time.as_nanos() as f64 / packets as f64,
    }
}
