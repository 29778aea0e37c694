//! Runs a simulation for many seeds, on all processors, and for one seed again when it failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Calls `run` with seeds 0 to `count` - 1, several at a time.
///
/// The environment variable `USCTP_SIM_SEEDS` sets another count, `USCTP_SIM_SEED` runs that one seed only.
///
/// # Panics
/// If a run panics; runs not begun by then are left out.
pub fn for_each_seed(count: u64, run: impl Fn(u64) + Sync) {
    if let Some(seed) = number("USCTP_SIM_SEED") {
        return run(seed);
    }
    let count = number("USCTP_SIM_SEEDS").unwrap_or(count);
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(0);
    let work = || {
        let guard = Guard(&failed);
        while failed.load(Ordering::Relaxed) == 0 {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                break;
            }
            run(seed);
        }
        drop(guard);
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}

/// The seed of a simulation that runs once: `USCTP_SIM_SEED`, or this one.
pub fn seed(default: u64) -> u64 {
    number("USCTP_SIM_SEED").unwrap_or(default)
}

/// Tells the other threads to stop when its own panics.
struct Guard<'a>(&'a AtomicU64);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: a number is needed")))
}
