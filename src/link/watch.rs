//! Changes of interfaces, addresses and routes, as the kernel tells of them (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
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

    /// Reads what there is; whether there was anything. What is there now is to be asked for, so that a message that was
    /// lost, or came too late, does no harm. But the addresses that came are told at once: the kernel says so before the first
    /// packet to one of them comes back.
    pub(super) fn drain(&self, gained: &mut Vec<(IpAddr, u32)>) -> bool {
        let mut messages = [0; 4096];
        for turn in 0..TURN {
            match recv(self.0.as_raw_fd(), &mut messages, MsgFlags::empty()) {
                Ok(len) => read(messages.get(..len).unwrap_or_default(), gained),
                // More happened than the socket has room for.
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) => return turn > 0,
            }
        }
        true
    }
}

/// Takes the addresses that came, with the numbers of their interfaces, out of a series of messages.
fn read(all: &[u8], gained: &mut Vec<(IpAddr, u32)>) {
    let came = messages(all).filter(|(kind, _)| *kind == libc::RTM_NEWADDR);
    gained.extend(came.filter_map(|(_, body)| address_of(body)));
}

/// The address that a message is about (rtnetlink(7)): the host's own end where the link has two.
fn address_of(body: &[u8]) -> Option<(IpAddr, u32)> {
    let ([_, _, _, _, i0, i1, i2, i3], rest) = body.split_first_chunk::<8>()?;
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(rest) {
        let found = || match value.len() {
            4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
            _ => None,
        };
        match kind {
            libc::IFA_LOCAL => local = found(),
            libc::IFA_ADDRESS => address = found(),
            _ => {}
        }
    }
    Some((local.or(address)?, u32::from_ne_bytes([*i0, *i1, *i2, *i3])))
}

/// The messages of a series, each by its type (netlink(7)).
pub(super) fn messages(mut all: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = all.split_first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, ..] = *head;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = rest.get(..len.checked_sub(HEADER)?)?;
        all = rest.get(body.len().next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]), body))
    })
}

/// The attributes of a message, each by its type (rtnetlink(7)).
pub(super) fn attributes(mut all: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (&[l0, l1, k0, k1], rest) = all.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(..len.checked_sub(4)?)?;
        all = rest.get(value.len().next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]), value))
    })
}

/// The bytes of a message's header.
const HEADER: usize = 16;

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
