//! Changes of interfaces, addresses and routes, as the kernel tells of them (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// Messages taken in one go; the rest waits for the next turn.
const TURN: usize = 64;

/// A socket that has something to read when something changed.
#[derive(Debug)]
pub(super) struct Watch(OwnedFd);

impl Watch {
    /// Watches the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let netlink = (AddressFamily::Netlink, SockType::Raw, SockProtocol::NetlinkRoute);
        let socket = socket(netlink.0, netlink.1, flags, netlink.2)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))?;
        Ok(Self(socket))
    }

    /// Reads what there is. What it says does not count: what is there now is asked for instead, so that a message that
    /// was lost, or came too late, does no harm.
    pub(super) fn drain(&self) {
        let mut message = [0; 4096];
        for _ in 0..TURN {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::empty()) {
                // More happened than the socket has room for.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
