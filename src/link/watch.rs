//! Changes of interfaces, addresses and routes, as the kernel tells of them (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::netlink::{self, address_of, messages};

/// Messages taken in one go; the rest waits for the next turn.
const TURN: usize = 64;

/// A socket that has something to read when something changed.
#[derive(Debug)]
pub(super) struct Watch(OwnedFd);

impl Watch {
    /// Watches the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let socket = netlink::socket(groups.cast_unsigned())?;
        Ok(Self(socket))
    }

    /// Reads what there is; whether there was anything. What is there now is to be asked for, so that a message that was
    /// lost, or came too late, does no harm. But the addresses that came are told at once: the kernel says so before the first
    /// packet to one of them comes back.
    ///
    /// # Errors
    /// The kernel's, if it told nothing.
    pub(super) fn drain(&self, gained: &mut Vec<(IpAddr, u32)>) -> io::Result<bool> {
        let mut messages = [0; 4096];
        for turn in 0..TURN {
            match recv(self.0.as_raw_fd(), &mut messages, MsgFlags::empty()) {
                Ok(len) => read(messages.get(..len).unwrap_or_default(), gained),
                // More happened than the socket has room for.
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) if turn > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// Takes the addresses that came, with the numbers of their interfaces, out of a series of messages.
fn read(all: &[u8], gained: &mut Vec<(IpAddr, u32)>) {
    let came = messages(all).filter(|message| message.kind == libc::RTM_NEWADDR);
    gained.extend(came.filter_map(|message| address_of(message.body)));
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::netlink::HEADER;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    }

    fn message(kind: u16, interface: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = [&[0; 4][..], &interface.to_ne_bytes(), &attributes.concat()].concat();
        let len = u32::try_from(HEADER + body.len()).unwrap();
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &body].concat()
    }

    #[test]
    fn addresses_that_came_are_read_from_what_the_kernel_says_and_nonsense_is_none() {
        let (own, far, six) = ([192, 0, 2, 1], [192, 0, 2, 2], [0x20; 16]);
        let pair = [attribute(libc::IFA_ADDRESS, &far), attribute(libc::IFA_LOCAL, &own)];
        let came = message(libc::RTM_NEWADDR, 7, &pair);
        let went = message(libc::RTM_DELADDR, 7, &pair);
        let other = message(libc::RTM_NEWADDR, 8, &[attribute(libc::IFA_ADDRESS, &six)]);
        let all = [came, went, other].concat();
        let mut gained = Vec::new();
        read(&all, &mut gained);
        assert_eq!(gained, [(IpAddr::from(own), 7), (IpAddr::from(six), 8)]);
        for len in 0..all.len() {
            read(&all[..len], &mut Vec::new());
            let mut nonsense = all.clone();
            nonsense[len] ^= 0xff;
            read(&nonsense, &mut Vec::new());
        }
    }
}
