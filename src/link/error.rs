//! Why a link cannot be opened or an address cannot be had.

use std::io;
use std::net::IpAddr;

/// What goes wrong when links are opened and addresses and ports are claimed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The process may not open raw sockets (or not bind a UDP port below 1,024).
    #[error(
        "no permission: raw sockets need the capability CAP_NET_RAW. Give it to the program \
         (setcap cap_net_raw+ep <program>), run it as root or in a user and network namespace of its own, \
         hand it sockets opened elsewhere, or use UDP encapsulation (RFC 6951), which needs no privilege"
    )]
    NoPermission,
    /// No interface of this host has the address.
    #[error("{address} is not an address of this host")]
    AddressNotLocal {
        /// The address asked for.
        address: IpAddr,
    },
    /// Another process, or another socket of this one, has the port.
    #[error("port {port} is in use")]
    AddressInUse {
        /// The SCTP port, or the UDP port of an encapsulation.
        port: u16,
    },
    /// All ephemeral ports are taken.
    #[error("no ephemeral port is free")]
    NoFreePort,
    /// A descriptor that was handed over is no socket for a link, or the second of its kind.
    #[error("descriptor number {index} of those handed over is no socket that a link can use")]
    UnsuitableSocket {
        /// Its place among the descriptors handed over, from 0.
        index: usize,
    },
    /// The system refused something else.
    #[error("could not {what}: {source}")]
    Io {
        /// What was attempted, to follow "could not".
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
