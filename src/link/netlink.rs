//! A socket over which the kernel is asked of the network, and how its messages are read (netlink(7), rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use libc::c_int;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
};

/// What the kernel puts into one answer at most, in bytes.
const ANSWER: usize = 32 << 10;
/// How often a list is asked for that changes while it is told.
const ATTEMPTS: usize = 4;
/// The bytes of a message's header: length, type, flags, number, port.
pub(super) const HEADER: usize = 16;

/// A socket for questions, one at a time. It belongs to the network namespace of the thread that opened it, whichever thread
/// asks, and takes no descriptor for a question.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Asked {
    /// The number of the last question.
    sequence: u32,
    answer: Vec<u8>,
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    /// Its type.
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    /// What follows the header.
    pub(super) body: &'a [u8],
}

/// Opens a socket of the network namespace of the calling thread that never waits, and hears these groups.
pub(super) fn socket(groups: u32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let netlink = (AddressFamily::Netlink, SockType::Raw, SockProtocol::NetlinkRoute);
    let socket = nix::sys::socket::socket(netlink.0, netlink.1, flags, netlink.2)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let asked = Asked { sequence: 0, answer: Vec::new() };
        Ok(Self { socket: socket(0)?, asked: Mutex::new(asked) })
    }

    /// Asks for one thing; `take` is given the message that says it. An inner error is the kernel's answer: there is no such
    /// thing.
    ///
    /// # Errors
    /// The question could not be asked, or found no answer.
    pub(super) fn ask<T>(
        &self,
        kind: u16,
        body: &[u8],
        take: impl FnOnce(Message<'_>) -> Option<T>,
    ) -> io::Result<Result<T, Errno>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.send(&self.socket, kind, 0, body)?;
        loop {
            let Some(message) = asked.receive(&self.socket)?.next() else { continue };
            return match message.error() {
                Some(Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR | Errno::UnknownErrno) => {
                    Err(io::Error::other("the kernel could not answer"))
                }
                Some(refused) => Ok(Err(refused)),
                None => take(message).map(Ok).ok_or_else(|| io::Error::other("nonsense")),
            };
        }
    }

    /// Asks for a list; `take` is given each of its messages.
    ///
    /// # Errors
    /// The question could not be asked, or found no whole answer.
    pub(super) fn list<T>(
        &self,
        kind: u16,
        body: &[u8],
        mut take: impl FnMut(Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        'attempts: for _ in 0..ATTEMPTS {
            let mut all = Vec::new();
            let mut was_disturbed = false;
            asked.send(&self.socket, kind, libc::NLM_F_DUMP, body)?;
            loop {
                for message in asked.receive(&self.socket)? {
                    was_disturbed |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                    if let Some(refused) = message.error() {
                        return Err(refused.into());
                    }
                    match i32::from(message.kind) {
                        libc::NLMSG_DONE if was_disturbed => continue 'attempts,
                        libc::NLMSG_DONE => return Ok(all),
                        _ => all.extend(take(message)),
                    }
                }
            }
        }
        Err(io::Error::other("it changes all the time"))
    }
}

impl Asked {
    fn send(&mut self, socket: &OwnedFd, kind: u16, flags: c_int, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let len = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let flags = u16::try_from(libc::NLM_F_REQUEST | flags).map_err(io::Error::other)?;
        let header = [
            &len.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &self.sequence.to_ne_bytes(),
            &[0; 4],
            body,
        ];
        send(socket.as_raw_fd(), &header.concat(), MsgFlags::empty())?;
        Ok(())
    }

    /// The next messages of the answer; what is left of an earlier one is passed over. The kernel answers while it is asked, so
    /// there is nothing to wait for.
    fn receive(&mut self, socket: &OwnedFd) -> io::Result<impl Iterator<Item = Message<'_>>> {
        self.answer.resize(ANSWER, 0);
        let len = loop {
            match recv(socket.as_raw_fd(), &mut self.answer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                result => break result?,
            }
        };
        let sequence = self.sequence;
        let all = messages(self.answer.get(..len).unwrap_or_default());
        Ok(all.filter(move |message| message.sequence == sequence))
    }
}

impl Message<'_> {
    fn error(&self) -> Option<Errno> {
        if i32::from(self.kind) != libc::NLMSG_ERROR {
            return None;
        }
        let code = self.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
        Some(Errno::from_raw(code.wrapping_neg()))
    }
}

/// The messages of a series.
pub(super) fn messages(mut all: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = all.split_first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *head;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = rest.get(..len.checked_sub(HEADER)?)?;
        all = rest.get(body.len().next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([k0, k1]);
        let flags = u16::from_ne_bytes([f0, f1]);
        Some(Message { kind, flags, sequence: u32::from_ne_bytes([s0, s1, s2, s3]), body })
    })
}

/// The attributes of a message, each by its type (rtnetlink(7)).
pub(super) fn attributes(mut all: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (&[l0, l1, k0, k1], rest) = all.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(..len.checked_sub(4)?)?;
        all = rest.get(value.len().next_multiple_of(4)..).unwrap_or_default();
        // Two bits of the type say how the value is to be read.
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    })
}

/// An attribute as it is written.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // No value here is longer than an address.
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut all = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

/// An address in an attribute.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A number in an attribute.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// The address that a message is about (rtnetlink(7)): the host's own end where the link has two.
pub(super) fn address_of(body: &[u8]) -> Option<(IpAddr, u32)> {
    let ([_, _, _, _, i0, i1, i2, i3], rest) = body.split_first_chunk::<8>()?;
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFA_LOCAL => local = self::address(value),
            libc::IFA_ADDRESS => address = self::address(value),
            _ => {}
        }
    }
    Some((local.or(address)?, u32::from_ne_bytes([*i0, *i1, *i2, *i3])))
}
