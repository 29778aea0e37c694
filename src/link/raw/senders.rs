//! Raw sockets that only send, one for each local address: what one link does not get rid of then holds up no other link.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::link::{Family, sys};
use crate::neighbours;

/// So many addresses get a socket of their own, the first that ask.
const MOST: usize = 16;

/// The sockets of one address family. There are none until the common one is found full: a device that is stuck keeps the
/// packets in its queue charged to the socket they came by, up to all that the socket may send.
#[derive(Debug, Default)]
pub(super) struct Senders {
    is_needed: AtomicBool,
    /// None stands for one that cannot be opened.
    open: Mutex<Vec<(IpAddr, Option<Arc<Sender>>)>>,
}

/// A socket that sends from one address.
#[derive(Debug)]
pub(in crate::link) struct Sender {
    fd: OwnedFd,
    /// Tells other processes that it is one of this library.
    _name: Option<UnixDatagram>,
}

impl Senders {
    /// The socket for packets from this address, if the common one was full before.
    pub(super) fn get(&self, family: Family, source: Option<IpAddr>) -> Option<Arc<Sender>> {
        if !self.is_needed.load(Ordering::Relaxed) {
            return None;
        }
        let source = source?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sender)) = open.iter().find(|(known, _)| *known == source) {
            return sender.clone();
        }
        if open.len() == MOST {
            return None;
        }
        let sender = Sender::open(family);
        if let Err(error) = &sender {
            tracing::debug!(%error, %source, "there is no socket of its own for this address");
        }
        let sender = sender.ok().map(Arc::new);
        open.push((source, sender.clone()));
        sender
    }

    /// The common socket is full; whether there is one of its own for this address.
    pub(super) fn begin(&self, family: Family, source: Option<IpAddr>) -> bool {
        self.is_needed.store(true, Ordering::Relaxed);
        self.get(family, source).is_some()
    }
}

impl Sender {
    fn open(family: Family) -> io::Result<Self> {
        let fd = super::channel(family)?;
        super::prepare(fd.as_fd(), family)?;
        // It hears nothing, and the kernel makes no copy for it of what others hear: it has a peer from which nothing comes.
        let nobody = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(127, 255, 255, 254)),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let socket = socket2::SockRef::from(&fd);
        socket.connect(&SocketAddr::new(nobody, 0).into())?;
        sys::enlarge_buffers(fd.as_fd());
        sys::let_fragment(fd.as_fd(), family == Family::V4, false)?;
        let name = neighbours::name_of_own(fd.as_fd());
        Ok(Self { fd, _name: name })
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
