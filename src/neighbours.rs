//! Who else on this host takes SCTP over raw IP for its own: the kernel, or a program with another stack.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::BorrowedFd;
use std::os::linux::fs::MetadataExt as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::port::kernel_may_speak_sctp;

/// The protocol number of SCTP (RFC 9260, section 1).
const SCTP: u64 = 132;

/// What is known of the other users of SCTP in the network namespace that it was made in.
///
/// The kernel lists raw sockets by their inode, and does not say whose they are. So each process of this library binds an
/// abstract Unix socket named after each of its own: raw SCTP sockets without such a name are those of others.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// The kernel's lists of raw sockets (proc_pid_net(5)); files that are open show the namespace they were opened in.
    /// None if one of them cannot be read.
    lists: Option<Vec<File>>,
    /// The inodes of our own raw sockets.
    own: HashSet<u64>,
    /// Asks for the names of others.
    asker: Option<UnixDatagram>,
    _names: Vec<UnixDatagram>,
}

impl Neighbours {
    /// For a stack with these raw sockets, which are named from now on.
    pub(crate) fn of<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> Self {
        let own: HashSet<u64> = sockets.filter_map(inode_of).collect();
        let names = own.iter().filter_map(|inode| bind_name(*inode)).collect();
        let lists = lists()
            .inspect_err(|error| tracing::debug!(%error, "raw sockets of others are not seen"));
        Self { lists: lists.ok(), own, asker: UnixDatagram::unbound().ok(), _names: names }
    }

    /// Whether the kernel, or a program with another stack, has SCTP of its own here. In doubt there is one.
    pub(crate) fn speak_sctp(&mut self) -> bool {
        if kernel_may_speak_sctp() {
            return true;
        }
        let Some(lists) = &mut self.lists else { return true };
        let mut text = String::new();
        for list in lists {
            if list.rewind().and_then(|()| list.read_to_string(&mut text)).is_err() {
                return true;
            }
        }
        raw_sctp_sockets(&text).any(|inode| !self.own.contains(&inode) && !self.is_named(inode))
    }

    /// Whether a process of this library has this raw socket. Where a sandbox forbids the question it is another's.
    fn is_named(&self, inode: u64) -> bool {
        let (Some(asker), Ok(name)) = (&self.asker, name_of(inode)) else { return false };
        asker.connect_addr(&name).is_ok()
    }
}

/// The name of a raw socket of ours that is opened later.
pub(crate) fn name_of_own(socket: BorrowedFd<'_>) -> Option<UnixDatagram> {
    bind_name(inode_of(socket)?)
}

fn inode_of(socket: BorrowedFd<'_>) -> Option<u64> {
    let copy = socket.try_clone_to_owned().ok()?;
    Some(File::from(copy).metadata().ok()?.st_ino())
}

fn bind_name(inode: u64) -> Option<UnixDatagram> {
    // A socket that two stacks share has its name already.
    UnixDatagram::bind_addr(&name_of(inode).ok()?).ok()
}

/// Opens the kernel's lists, for IPv6 if the host has it.
fn lists() -> io::Result<Vec<File>> {
    let v4 = File::open("/proc/thread-self/net/raw")?;
    match File::open("/proc/thread-self/net/raw6") {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![v4]),
        Err(error) => Err(error),
    }
}

fn name_of(inode: u64) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("usctp/raw/{inode}"))
}

/// The inodes of the raw SCTP sockets in the kernel's list: the protocol stands behind the local address, in place of a port.
fn raw_sctp_sockets(list: &str) -> impl Iterator<Item = u64> {
    list.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (_, protocol) = fields.next()?.split_once(':')?;
        let inode = fields.nth(7)?.parse().ok()?;
        (u64::from_str_radix(protocol, 16).ok()? == SCTP).then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_sctp_sockets_are_found_in_the_kernels_list_by_their_protocol() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90001 2 0000000000000000 0
  132: 00000000:0084 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90002 2 0000000000000000 0
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  132: 00000000000000000000000000000000:0084 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90003 2 0000000000000000 0
  132: 00000000:0084 00000000
";
        assert_eq!(raw_sctp_sockets(list).collect::<Vec<_>>(), [90_002, 90_003]);
    }
}
