//! The room that the system gives to sockets for packets that wait, and whether it is enough.

use std::os::fd::BorrowedFd;

use super::sys::{self, RECEIVE_BUFFER, SEND_BUFFER};

/// Bytes of packets that sockets have room for: what is asked for where the process may exceed the system's limits
/// (capability CAP_NET_ADMIN), otherwise no more than those (`net.core.rmem_max` and `net.core.wmem_max`).
///
/// Of several sockets it is the least. The kernel counts its own bookkeeping beside the packets, so small packets find
/// less room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkBuffers {
    /// Bytes received that nobody has read yet; what exceeds it is dropped and counted in
    /// [`LinkCounters::receive_drops`](super::LinkCounters::receive_drops).
    pub receive: usize,
    /// Bytes sent that no device has taken yet.
    pub send: usize,
}

/// Of what is asked for, less than one part in so many is worth a word: bursts that others bear lose packets.
const WORTH_A_WORD: usize = 4;

impl LinkBuffers {
    /// The least of several sockets; `None` without sockets.
    pub(super) fn least<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> Option<Self> {
        sockets.map(Self::of).reduce(|one, other| Self {
            receive: one.receive.min(other.receive),
            send: one.send.min(other.send),
        })
    }

    fn of(fd: BorrowedFd<'_>) -> Self {
        // The kernel doubles what is asked for, for its bookkeeping, and says so (socket(7)). No error is expected of
        // an open socket, and none is worth a warning.
        let half = |name| sys::option(fd, libc::SOL_SOCKET, name).map_or(i32::MAX, |room| room / 2);
        let [receive, send] = [libc::SO_RCVBUF, libc::SO_SNDBUF].map(half);
        Self { receive: bytes(receive), send: bytes(send) }
    }

    /// What to tell an operator whose system gives much less than is asked for, with the remedy.
    pub(super) fn warning(self) -> Option<String> {
        let wanted = Self { receive: bytes(RECEIVE_BUFFER), send: bytes(SEND_BUFFER) };
        let limits = [
            ("receive", self.receive, wanted.receive, "net.core.rmem_max"),
            ("send", self.send, wanted.send, "net.core.wmem_max"),
        ];
        let low = limits.into_iter().filter(|(_, room, wanted, _)| *room < wanted / WORTH_A_WORD);
        let (rooms, remedies): (Vec<_>, Vec<_>) = low
            .map(|(what, room, wanted, sysctl)| {
                let room =
                    format!("{} KiB of the {} KiB wanted to {what}", room >> 10, wanted >> 10);
                (room, format!("{sysctl}={wanted}"))
            })
            .unzip();
        (!rooms.is_empty()).then(|| {
            format!(
                "the system gives sockets {}, so packets that come in a burst may be lost: sysctl -w {}, or the \
                 capability CAP_NET_ADMIN",
                rooms.join(" and "),
                remedies.join(" ")
            )
        })
    }
}

/// Sizes that the kernel counts as a C `int` are none below zero.
fn bytes(size: i32) -> usize {
    usize::try_from(size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    #[test]
    fn buffers_as_large_as_asked_for_are_worth_no_word() {
        assert_eq!(LinkBuffers { receive: 16 * MIB, send: 4 * MIB }.warning(), None);
    }

    #[test]
    fn a_quarter_of_what_is_asked_for_will_do() {
        assert_eq!(LinkBuffers { receive: 4 * MIB, send: MIB }.warning(), None);
    }

    #[test]
    fn a_warning_names_the_limit_that_is_too_low_and_what_it_should_be() {
        let warning = LinkBuffers { receive: 208 * KIB, send: 4 * MIB }.warning().unwrap();
        assert!(warning.contains("208 KiB of the 16384 KiB wanted to receive"), "{warning}");
        assert!(warning.contains("sysctl -w net.core.rmem_max=16777216,"), "{warning}");
        assert!(!warning.contains("wmem"), "{warning}");
    }

    #[test]
    fn both_limits_are_named_in_one_warning() {
        let warning = LinkBuffers { receive: 208 * KIB, send: 208 * KIB }.warning().unwrap();
        let remedy = "sysctl -w net.core.rmem_max=16777216 net.core.wmem_max=4194304,";
        assert!(warning.contains(remedy), "{warning}");
    }
}
