//! Sockets that are said to be ready and give nothing: they are left alone for a while, longer each time, until they are given up.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::SOCKETS;

/// The first pause. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// From such a pause on it is worth a word.
const WORTH_A_WORD: Duration = Duration::from_millis(16);
/// How often in a row a socket may say that it is ready and have nothing: as when a packet turns out to be damaged.
const EMPTY: u32 = 64;
/// How often in a row reading may fail: as when an error is told that belongs to an earlier call.
const FAILURES: u32 = 4;
/// A socket that gave nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of the sockets, each by its bit in [`Ready`](super::Ready).
#[derive(Debug, Default)]
pub(super) struct Strain {
    /// Those that gave nothing the last time. It alone is looked at while all is well.
    suspects: AtomicU16,
    sockets: Mutex<[State; SOCKETS]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    in_vain: u32,
    since: Option<Instant>,
    pause: Duration,
    /// It is left alone until then.
    until: Option<Instant>,
    has_failed: bool,
    is_told: bool,
    /// The system's error, 0 if it has none to tell.
    error: i32,
}

/// Which sockets are left alone, and until when at the longest without looking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Left {
    pub(super) bits: u16,
    pub(super) until: Option<Instant>,
}

impl Strain {
    /// Whether any socket gave nothing the last time.
    pub(super) fn has_suspects(&self) -> bool {
        self.suspects.load(Ordering::Relaxed) != 0
    }

    /// A socket gave something.
    pub(super) fn gave(&self, bit: u16) {
        if self.suspects.load(Ordering::Relaxed) & bit == 0 {
            return;
        }
        self.suspects.fetch_and(!bit, Ordering::Relaxed);
        if let Some(state) = self.lock().get_mut(place(bit)) {
            *state = State { is_told: state.is_told, ..State::default() };
        }
    }

    /// A socket said that it was ready, and then this.
    pub(super) fn gave_nothing(&self, bit: u16, error: &io::Error, link: &str, now: Instant) {
        if error.kind() == io::ErrorKind::Interrupted {
            return;
        }
        let is_empty = error.kind() == io::ErrorKind::WouldBlock;
        self.suspects.fetch_or(bit, Ordering::Relaxed);
        let mut sockets = self.lock();
        let Some(state) = sockets.get_mut(place(bit)) else { return };
        state.in_vain = state.in_vain.saturating_add(1);
        state.error = if is_empty { 0 } else { error.raw_os_error().unwrap_or(libc::EIO) };
        let since = *state.since.get_or_insert(now);
        if state.in_vain < if is_empty { EMPTY } else { FAILURES } {
            return;
        }
        state.pause = (2 * state.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        state.until = Some(now + state.pause);
        if state.pause >= WORTH_A_WORD && !state.is_told {
            state.is_told = true;
            tracing::warn!(%error, link, "nothing can be received: it is tried from time to time");
        }
        if !state.has_failed && now.saturating_duration_since(since) >= PATIENCE {
            state.has_failed = true;
            tracing::error!(%error, link, "nothing could be received for {PATIENCE:?}: the link has failed");
        }
    }

    /// Which sockets are left alone at the moment.
    pub(super) fn left(&self, now: Instant) -> Left {
        let mut left = Left::default();
        for (nth, state) in (0_u16..).zip(self.lock().iter()) {
            if let Some(until) = state.until.filter(|until| now < *until) {
                left.bits |= 1 << nth;
                left.until = Some(left.until.map_or(until, |earlier| earlier.min(until)));
            }
        }
        left
    }

    /// Whether a socket has failed. It is still tried, and may come back.
    pub(super) fn has_failed(&self, bit: u16) -> bool {
        self.has_suspects() && self.lock().get(place(bit)).is_some_and(|state| state.has_failed)
    }

    /// What a socket said last.
    pub(super) fn error(&self, bit: u16) -> io::Error {
        match self.lock().get(place(bit)).map_or(0, |state| state.error) {
            0 => io::Error::other("the socket is always ready, and gives nothing"),
            error => io::Error::from_raw_os_error(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, [State; SOCKETS]> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(bit: u16) -> usize {
    bit.trailing_zeros() as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong fails the test")]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::link::{Links, UDP_V4, UDP_V6};

    const BIT: u16 = 1 << 4;

    fn fails(strain: &Strain, now: Instant, count: u32) {
        let error = io::Error::from_raw_os_error(libc::ENOMEM);
        (0..count).for_each(|_| strain.gave_nothing(BIT, &error, "a link", now));
    }

    fn empties(strain: &Strain, now: Instant, count: u32) {
        let error = io::Error::from(io::ErrorKind::WouldBlock);
        (0..count).for_each(|_| strain.gave_nothing(BIT, &error, "a link", now));
    }

    #[test]
    fn a_socket_that_fails_now_and_then_is_never_left_alone() {
        let (strain, now) = (Strain::default(), Instant::now());
        for _ in 0..100 {
            fails(&strain, now, FAILURES - 1);
            strain.gave(BIT);
            empties(&strain, now, EMPTY - 1);
            strain.gave(BIT);
        }
        assert_eq!(strain.left(now), Left::default());
    }

    #[test]
    fn a_socket_that_always_fails_is_left_alone_for_longer_each_time_and_fails_in_the_end() {
        let (strain, start) = (Strain::default(), Instant::now());
        fails(&strain, start, FAILURES - 1);
        let (mut now, mut pauses) = (start, Vec::new());
        while !strain.has_failed(BIT) {
            fails(&strain, now, 1);
            let left = strain.left(now);
            assert_eq!(left.bits, BIT);
            pauses.push(left.until.unwrap() - now);
            now = left.until.unwrap();
            assert_eq!(strain.left(now), Left::default(), "it is tried again");
        }
        assert!(pauses.is_sorted() && pauses.len() < 50, "{pauses:?}");
        assert_eq!((pauses[0], *pauses.last().unwrap()), (FIRST_PAUSE, LONGEST_PAUSE));
        assert!((PATIENCE..PATIENCE + 2 * LONGEST_PAUSE).contains(&(now - start)));
        assert_eq!(strain.error(BIT).raw_os_error(), Some(libc::ENOMEM));
        // It is well again, and the next failure is the first.
        strain.gave(BIT);
        assert!(!strain.has_failed(BIT) && !strain.has_suspects());
        fails(&strain, now, FAILURES - 1);
        assert_eq!(strain.left(now), Left::default());
    }

    #[test]
    fn one_socket_that_is_ready_and_empty_is_left_alone_and_no_other() {
        let (strain, now) = (Strain::default(), Instant::now());
        empties(&strain, now, EMPTY);
        assert_eq!(strain.left(now).bits, BIT);
        strain.gave(BIT << 1);
        assert_eq!(strain.left(now).bits, BIT);
        assert!(!strain.has_failed(BIT));
    }

    #[test]
    fn when_all_links_have_failed_whoever_waits_is_told_and_not_before() {
        let mut links = Links::new();
        links.open_udp(0).unwrap();
        let never = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let waiting = links.waiting(never.as_fd()).unwrap();
        let (now, wait) = (Instant::now(), || links.wait(&waiting, Some(Duration::ZERO)));
        let error = io::Error::from_raw_os_error(libc::ENOMEM);
        // A host may be without IPv6.
        for bit in [UDP_V6, UDP_V4] {
            assert!(wait().is_ok());
            for _ in 0..FAILURES {
                links.strain.gave_nothing(bit, &error, "a link", now);
            }
            assert!(wait().is_ok());
            links.strain.gave_nothing(bit, &error, "a link", now + PATIENCE);
        }
        assert_eq!(wait().unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        links.strain.gave(UDP_V4);
        assert!(wait().is_ok());
    }

    #[test]
    fn a_call_that_a_signal_ended_says_nothing() {
        let (strain, now) = (Strain::default(), Instant::now());
        for _ in 0..1_000 {
            let error = io::Error::from(io::ErrorKind::Interrupted);
            strain.gave_nothing(BIT, &error, "a link", now);
        }
        assert!(!strain.has_suspects());
    }
}
