//! The processor time of the calling thread: what it takes, however many others want the processor too.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time of this thread since it was started.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}
