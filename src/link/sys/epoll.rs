//! Waiting for a set of descriptors with a time-out finer than milliseconds.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::c_int;
use nix::errno::Errno;
use nix::sys::epoll::EpollEvent;

/// Whether the kernel knows `epoll_pwait2` (Linux 5.11).
static IS_FINE: AtomicBool = AtomicBool::new(true);

/// `struct __kernel_timespec`: 64 bits each on every machine.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Waits until one of the set is ready or the time is over (`None`: no limit); how many are. A signal ends it early.
pub(in crate::link) fn epoll_wait(
    set: BorrowedFd<'_>,
    events: &mut [EpollEvent],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    if IS_FINE.load(Ordering::Relaxed) {
        match wait_finely(set, events, timeout) {
            // A sandbox may forbid what it does not know.
            Err(Errno::ENOSYS | Errno::EPERM) => IS_FINE.store(false, Ordering::Relaxed),
            result => return settle(result),
        }
    }
    settle(wait_coarsely(set, events, timeout))
}

fn settle(result: nix::Result<usize>) -> io::Result<usize> {
    match result {
        Err(Errno::EINTR) => Ok(0),
        result => Ok(result?),
    }
}

fn wait_finely(
    set: BorrowedFd<'_>,
    events: &mut [EpollEvent],
    timeout: Option<Duration>,
) -> nix::Result<usize> {
    // A time beyond what the system can express is as good as none.
    let timeout = timeout.and_then(|timeout| {
        let seconds = i64::try_from(timeout.as_secs()).ok()?;
        Some(Timespec { seconds, nanoseconds: timeout.subsec_nanos().into() })
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `events` is writable for its length, and `EpollEvent` is laid out as `struct epoll_event`; `timeout` is null or
    // points to a value of this frame, which the kernel only reads. No signal mask is given.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            set.as_raw_fd(),
            events.as_mut_ptr(),
            count(events),
            timeout,
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    usize::try_from(count).map_err(|_| Errno::last())
}

/// In milliseconds, rather too many than too few: what is due then is due at its end.
fn wait_coarsely(
    set: BorrowedFd<'_>,
    events: &mut [EpollEvent],
    timeout: Option<Duration>,
) -> nix::Result<usize> {
    let millis = timeout.map_or(-1, |timeout| {
        c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
    });
    // SAFETY: `events` is writable for its length, and `EpollEvent` is laid out as `struct epoll_event`.
    let count = unsafe {
        libc::epoll_wait(set.as_raw_fd(), events.as_mut_ptr().cast(), count(events), millis)
    };
    usize::try_from(count).map_err(|_| Errno::last())
}

fn count(events: &[EpollEvent]) -> c_int {
    c_int::try_from(events.len()).unwrap_or(c_int::MAX)
}
