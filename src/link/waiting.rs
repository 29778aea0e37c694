//! What a thread sleeps on: a set of descriptors that the kernel keeps (epoll(7)), so that neither their number nor the limit of open ones matters.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{Ready, SOCKETS, sys};

/// The set. Descriptors that are closed leave it.
#[derive(Debug)]
pub struct Waiting {
    set: Epoll,
    /// Whether INITs end the sleep.
    heeds_inits: AtomicBool,
}

impl Waiting {
    pub(super) fn new() -> io::Result<Self> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { set, heeds_inits: AtomicBool::new(true) })
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
    pub(super) fn heed(&self, fd: BorrowedFd<'_>, bit: u64, heeded: bool) -> io::Result<()> {
        let flags = if heeded { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        Ok(self.set.modify(fd, &mut EpollEvent::new(flags, bit))?)
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
