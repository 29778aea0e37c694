//! Errors and short batches in place of what the kernel says, for tests: drawn from a seed, socket by socket.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The sockets that fail now and then, by their descriptors.
static FAULTY: Mutex<Option<HashMap<RawFd, Faults>>> = Mutex::new(None);

/// What a socket does wrong.
struct Faults {
    rng: StdRng,
    /// What it says to the next calls, and how many.
    now: (Fault, u32),
    told: u64,
}

#[derive(Clone, Copy)]
enum Fault {
    /// None.
    Sound,
    Error(i32),
    /// No more packets than so many are taken.
    Short(usize),
}

/// One of so many series of calls is faulty.
const RARITY: u32 = 6;
/// The longest series of calls.
const SERIES: u32 = 12;

const SENDING: [Fault; 7] = [
    Fault::Error(libc::ENOBUFS),
    Fault::Error(libc::EAGAIN),
    Fault::Error(libc::EPERM),
    Fault::Error(libc::ENETDOWN),
    Fault::Error(libc::EINTR),
    Fault::Short(1),
    Fault::Short(2),
];
const RECEIVING: [Fault; 4] = [
    Fault::Error(libc::EPERM),
    Fault::Error(libc::ENETDOWN),
    Fault::Error(libc::EINTR),
    Fault::Error(libc::ENOMEM),
];

/// The socket fails from now on.
pub(crate) fn begin(socket: RawFd, seed: u64) {
    let rng = StdRng::seed_from_u64(seed);
    let faults = Faults { rng, now: (Fault::Sound, 0), told: 0 };
    lock().get_or_insert_default().insert(socket, faults);
}

/// The socket is sound again; how many calls went wrong.
pub(crate) fn end(socket: RawFd) -> u64 {
    lock().as_mut().and_then(|all| all.remove(&socket)).map_or(0, |faults| faults.told)
}

/// How many packets are taken at most.
pub(super) fn sending(socket: BorrowedFd<'_>) -> io::Result<usize> {
    draw(socket, &SENDING)
}

/// Whether anything is received.
pub(in crate::link) fn receiving(socket: BorrowedFd<'_>) -> io::Result<()> {
    draw(socket, &RECEIVING).map(drop)
}

fn draw(socket: BorrowedFd<'_>, choice: &[Fault]) -> io::Result<usize> {
    let mut all = lock();
    let faults = all.as_mut().and_then(|all| all.get_mut(&socket.as_raw_fd()));
    let Some(Faults { rng, now, told }) = faults else { return Ok(usize::MAX) };
    if now.1 == 0 {
        let is_faulty = rng.random_ratio(1, RARITY);
        let fault = choice.get(rng.random_range(0..choice.len())).copied();
        let series = rng.random_range(1..=SERIES);
        *now = (fault.filter(|_| is_faulty).unwrap_or(Fault::Sound), series);
    }
    now.1 -= 1;
    *told += u64::from(!matches!(now.0, Fault::Sound));
    match now.0 {
        Fault::Sound => Ok(usize::MAX),
        Fault::Short(packets) => Ok(packets),
        Fault::Error(number) => Err(io::Error::from_raw_os_error(number)),
    }
}

fn lock() -> MutexGuard<'static, Option<HashMap<RawFd, Faults>>> {
    FAULTY.lock().unwrap_or_else(PoisonError::into_inner)
}
