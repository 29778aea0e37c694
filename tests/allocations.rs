//! How much memory is asked for while messages flow: for each chunk, once all buffers have grown to their size.

#[path = "../benches/support/pair.rs"]
mod pair;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use self::pair::Pair;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes in a message, chunks that it makes, and requests allowed for each of them.
///
/// What is aimed at is none. What is allowed is what was measured, and is to be lowered with it; the pair itself takes
/// two requests for each megabyte of packets.
const WORKLOADS: [(usize, usize, f64); 4] =
    [(64, 1, 0.23), (1024, 1, 0.01), (1400, 1, 0.01), (65_536, 46, 0.035)];

/// What is asked for in the steady state of one workload.
#[derive(Debug)]
struct Steady {
    /// Requests for memory, new and grown, for a DATA chunk sent and received.
    requests: f64,
    /// Bytes of them.
    bytes: f64,
}

/// Messages of one size, of which each makes so many chunks; the first half is not counted.
fn steady(size: usize, chunks: usize) -> Steady {
    let messages = 20_000 / chunks;
    let mut pair = Pair::new(1500);
    let id = pair.connect();
    pair.transfer(id, size, messages);
    let region = Region::new(ALLOCATOR);
    pair.transfer(id, size, messages);
    let change = region.change();
    let per_chunk = |count: usize| count as f64 / (messages * chunks) as f64;
    Steady {
        requests: per_chunk(change.allocations + change.reallocations),
        bytes: per_chunk(change.bytes_allocated),
    }
}

/// One test, because what other threads ask for would be counted too.
#[test]
fn a_chunk_sent_and_received_asks_for_no_more_memory_than_it_did() {
    for (size, chunks, allowed) in WORKLOADS {
        let steady = steady(size, chunks);
        let Steady { requests, bytes } = steady;
        println!(
            "{size} bytes a message: {requests:.3} requests of {bytes:.0} bytes together for a chunk"
        );
        assert!(steady.requests <= allowed, "{size} bytes: {steady:?}, and {allowed} are allowed");
    }
}
