//! Runs a simulation for many seeds, on all processors, and for one seed again when it failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Calls `run` with seeds 0 to `count` - 1, several at a time.
///
/// The environment variable `USCTP_SIM_SEEDS` sets another count, `USCTP_SIM_SEED` runs that one seed only.
/// With `USCTP_SIM_ALL` set, seeds go on after one has failed, and those that failed are listed in the end.
///
/// # Panics
/// If a run panics; runs not begun by then are left out.
pub fn for_each_seed(count: u64, run: impl Fn(u64) + Sync) {
    if let Some(seed) = number("USCTP_SIM_SEED") {
        return run(seed);
    }
    let count = number("USCTP_SIM_SEEDS").unwrap_or(count);
    let goes_on = std::env::var_os("USCTP_SIM_ALL").is_some();
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let failed = Mutex::new(Vec::new());
    let work = || {
        while goes_on || !has_failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                break;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
                has_failed.store(true, Ordering::Relaxed);
                if !goes_on {
                    resume_unwind(panic);
                }
                failed.lock().expect("nobody panics with it").push(seed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("nobody panics with it");
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
}

/// The seed of a simulation that runs once: `USCTP_SIM_SEED`, or this one.
pub fn seed(default: u64) -> u64 {
    number("USCTP_SIM_SEED").unwrap_or(default)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: a number is needed")))
}
