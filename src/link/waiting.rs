//! What a thread sleeps on: a set of descriptors that the kernel keeps (epoll(7)), so that neither their number nor the limit of open ones matters.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{INITS, Ready, SOCKETS, sys};

/// The set. Descriptors that are closed leave it.
#[derive(Debug)]
pub struct Waiting {
    set: Epoll,
    /// Whether INITs end the sleep.
    heeds_inits: AtomicBool,
    /// Sockets that are not in the set for the time being, by their bits.
    left: AtomicU16,
}

fn interest(bit: u16, heeded: bool) -> EpollEvent {
    let flags = if heeded { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
    EpollEvent::new(flags, bit.into())
}

impl Waiting {
    pub(super) fn new() -> io::Result<Self> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { set, heeds_inits: AtomicBool::new(true), left: AtomicU16::new(0) })
    }

    /// A set of one descriptor, which is no link.
    ///
    /// # Errors
    /// The system's, if it has no descriptor left.
    pub(crate) fn for_one(wake: BorrowedFd<'_>) -> io::Result<Self> {
        let waiting = Self::new()?;
        waiting.add(wake, 0)?;
        Ok(waiting)
    }

    /// Adds a descriptor, known by its bit; that of the caller has none.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, bit: u64) -> io::Result<()> {
        Ok(self.set.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, bit))?)
    }

    /// Whether what ends the sleep on the other set is to end that on this one, too.
    ///
    /// # Errors
    /// What epoll says; nothing is expected.
    pub(crate) fn watch(&self, other: &Self, on: bool) -> io::Result<()> {
        let other = other.set.0.as_fd();
        if on { self.add(other, 1) } else { Ok(self.set.delete(other)?) }
    }

    /// Whether a sleep would end at once.
    ///
    /// # Errors
    /// What epoll says; nothing is expected.
    pub(crate) fn is_ready(&self) -> io::Result<bool> {
        let ready = self.wait(Some(Duration::ZERO))?;
        Ok(ready.woken || ready.any())
    }

    /// Whether INITs are to end the sleep from now on; true if that is new.
    pub(super) fn begins_to_heed(&self, heeded: bool) -> bool {
        // The common case reads only.
        self.heeds_inits.load(Ordering::Relaxed) != heeded
            && self.heeds_inits.swap(heeded, Ordering::Relaxed) != heeded
    }

    /// Whether this descriptor is to end the sleep.
    pub(super) fn heed(&self, fd: BorrowedFd<'_>, bit: u16, heeded: bool) -> io::Result<()> {
        if self.left.load(Ordering::Relaxed) & bit != 0 {
            // It will be in the set again.
            return Ok(());
        }
        Ok(self.set.modify(fd, &mut interest(bit, heeded))?)
    }

    /// Whether any socket is out of the set.
    pub(super) fn leaves_any(&self) -> bool {
        self.left.load(Ordering::Relaxed) != 0
    }

    /// Takes these sockets, each at the position of its bit, out of the set, and puts those back in that were out of it. Errors
    /// and hang-ups end a sleep whatever is asked for, so it is not enough to ask for nothing.
    pub(super) fn leave(&self, bits: u16, sockets: &[Option<BorrowedFd<'_>>]) {
        let mut left = self.left.load(Ordering::Relaxed);
        for (nth, socket) in (0_u16..).zip(sockets) {
            let bit = 1 << nth;
            let (Some(socket), true) = (socket, (left ^ bits) & bit != 0) else { continue };
            let heeded = bit & INITS == 0 || self.heeds_inits.load(Ordering::Relaxed);
            let changed = match bits & bit {
                0 => self.set.add(socket, interest(bit, heeded)),
                _ => self.set.delete(socket),
            };
            match changed {
                Ok(()) | Err(Errno::EEXIST | Errno::ENOENT) => left ^= bit,
                // What fails is tried again the next time.
                Err(error) => tracing::debug!(%error, bit, "a socket cannot be waited for"),
            }
        }
        self.left.store(left, Ordering::Relaxed);
    }

    /// Sleeps until something is ready, or the time is over (`None`: no limit). A signal ends it early.
    ///
    /// # Errors
    /// What epoll says; nothing is expected.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut events = [EpollEvent::empty(); SOCKETS + 1];
        let count = sys::epoll_wait(self.set.0.as_fd(), &mut events, timeout)?;
        let mut ready = Ready { woken: false, sockets: 0 };
        // Errors show without being asked for: an error queue that has something makes its socket ready.
        for event in events.iter().take(count) {
            ready.woken |= event.data() == 0;
            // No bit lies beyond.
            ready.sockets |= u16::try_from(event.data()).unwrap_or(u16::MAX);
        }
        Ok(ready)
    }
}
