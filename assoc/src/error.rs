//! What can be wrong with what the application asks for.

use std::net::IpAddr;

use thiserror::Error;

use crate::event::{AssociationId, AssociationState, LostReason};

/// Why [`connectx`](crate::Endpoint::connectx) refused a list of addresses. Nothing was created and nothing sent.
///
/// Indices count from 0 in the caller's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The list is empty.
    #[error("the list of peer addresses is empty: at least one is needed")]
    Empty,
    /// The list is too long.
    #[error("{count} peer addresses were listed: at most {max} are allowed")]
    TooMany {
        /// How many were listed.
        count: usize,
        /// The limit in force.
        max: usize,
    },
    /// A port is 0.
    #[error("peer address {index} has port 0: a port from 1 to 65535 is needed")]
    PortZero {
        /// The address at fault.
        index: usize,
    },
    /// A port differs from the first address's port: an association has one port on each side.
    #[error(
        "peer address {index} has port {port}, but the first one has port {first}: all must have the same port"
    )]
    PortMismatch {
        /// The address at fault.
        index: usize,
        /// Its port.
        port: u16,
        /// The first address's port.
        first: u16,
    },
    /// An address is 0.0.0.0 or `::`.
    #[error(
        "peer address {index} ({address}) is the unspecified address: a host's own address is needed"
    )]
    Unspecified {
        /// The address at fault.
        index: usize,
        /// Which of the two it is.
        address: IpAddr,
    },
    /// An address is a multicast address.
    #[error("peer address {index} ({address}) is a multicast address: a unicast address is needed")]
    Multicast {
        /// The address at fault.
        index: usize,
        /// The address.
        address: IpAddr,
    },
    /// An address is 255.255.255.255.
    #[error("peer address {index} is the broadcast address: a unicast address is needed")]
    Broadcast {
        /// The address at fault.
        index: usize,
    },
    /// The endpoint has no local address of that family, or is to advertise none.
    #[error(
        "peer address {index} ({address}) is of a family of which this association would have no local address"
    )]
    FamilyDisabled {
        /// The address at fault.
        index: usize,
        /// The address.
        address: IpAddr,
    },
    /// An IPv6 link-local address without its zone.
    #[error(
        "peer address {index} ({address}) is link-local and lacks its zone: write it with %interface"
    )]
    LinkLocalNoScope {
        /// The address at fault.
        index: usize,
        /// The address.
        address: IpAddr,
    },
    /// An address is already a peer address of an association of this endpoint.
    #[error(
        "peer address {index} ({address}) already belongs to association {association} ({state})"
    )]
    InUse {
        /// The address at fault.
        index: usize,
        /// The address.
        address: IpAddr,
        /// The association that has it.
        association: AssociationId,
        /// That association's state.
        state: AssociationState,
    },
    /// An address and the port are the endpoint's own.
    #[error("peer address {index} ({address}) and the port are this endpoint's own")]
    SelfConnect {
        /// The address at fault.
        index: usize,
        /// The address.
        address: IpAddr,
    },
    /// An address to advertise is not bound, so that it would promise what nobody answers.
    #[error(
        "local address {index} ({address}) cannot be advertised: this endpoint is not bound to it"
    )]
    NotBound {
        /// The address at fault, in [`Advertise::Explicit`](crate::Advertise::Explicit).
        index: usize,
        /// The address.
        address: IpAddr,
    },
    /// None of the endpoint's addresses reaches as far as the first peer address
    /// ([`Advertise::SameScope`](crate::Advertise::SameScope)).
    #[error("no local address reaches as far as the first peer address, {address}")]
    NoAddressInScope {
        /// The first peer address.
        address: IpAddr,
    },
    /// The endpoint has as many associations as its configuration allows.
    #[error("the endpoint has its limit of {max} associations")]
    TooManyAssociations {
        /// The limit in force.
        max: usize,
    },
}

impl ConnectError {
    /// The `errno` that Linux's `sctp_connectx` gives in this case, with Linux's number for it (on x86 and ARM);
    /// EINVAL for what Linux takes: port 0, and any number of addresses.
    pub fn errno_linux(&self) -> i32 {
        match self {
            Self::InUse { state, .. } if state.is_synchronized() => linux::EISCONN,
            Self::InUse { .. } => linux::EALREADY,
            Self::NotBound { .. } => linux::EADDRNOTAVAIL,
            Self::NoAddressInScope { .. } => linux::ENETUNREACH,
            // The only limit there is the kernel's memory.
            Self::TooManyAssociations { .. } => linux::ENOMEM,
            _ => EINVAL,
        }
    }

    /// The `errno` that FreeBSD's `sctp_connectx` gives in this case, with FreeBSD's number for it; EINVAL for
    /// what FreeBSD takes: ports that differ, and a link-local address without its zone.
    pub fn errno_freebsd(&self) -> i32 {
        match self {
            Self::TooMany { .. } => freebsd::E2BIG,
            Self::InUse { .. } => freebsd::EALREADY,
            Self::NotBound { .. } => freebsd::EADDRNOTAVAIL,
            Self::NoAddressInScope { .. } => freebsd::ENETUNREACH,
            Self::Unspecified { address: IpAddr::V4(_), .. } | Self::TooManyAssociations { .. } => {
                freebsd::ENOBUFS
            }
            _ => EINVAL,
        }
    }
}

impl LostReason {
    /// The `errno` (`SO_ERROR`) with which Linux tells of this end, with Linux's number for it (on x86 and ARM).
    pub fn errno_linux(&self) -> i32 {
        match self {
            Self::SetupTimeout
            | Self::Deadline
            | Self::TooManyRetransmissions
            | Self::ShutdownTimeout => linux::ETIMEDOUT,
            Self::Unreachable | Self::OwnAddress { .. } => linux::ENETUNREACH,
            Self::Refused { no_sctp: true, .. } => linux::ENOPROTOOPT,
            Self::Refused { .. } => linux::ECONNREFUSED,
            Self::PeerAborted { .. } => linux::ECONNRESET,
            Self::LocalAbort | Self::PeerViolation(_) => linux::ECONNABORTED,
        }
    }

    /// The `errno` (`SO_ERROR`) with which FreeBSD tells of this end, with FreeBSD's number for it.
    pub fn errno_freebsd(&self) -> i32 {
        match self {
            Self::SetupTimeout
            | Self::Deadline
            | Self::TooManyRetransmissions
            | Self::ShutdownTimeout => freebsd::ETIMEDOUT,
            Self::Unreachable | Self::OwnAddress { .. } => freebsd::ENETUNREACH,
            // ICMP protocol unreachable counts as an ABORT there.
            Self::Refused { .. } => freebsd::ECONNREFUSED,
            Self::PeerAborted { .. } => freebsd::ECONNRESET,
            Self::LocalAbort | Self::PeerViolation(_) => freebsd::ECONNABORTED,
        }
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The send buffer is full for now; [`Event::Writable`](crate::Event::Writable) tells when it is not.
    #[error("the send buffer is full")]
    WouldBlock,
    /// The association is closing or closed.
    #[error("the association takes no more messages: it is {state}")]
    NotOpen {
        /// The association's state.
        state: AssociationState,
    },
    /// The stream was not agreed on.
    #[error("stream {stream} does not exist: the association has outbound streams 0 to {}", streams.saturating_sub(1))]
    NoSuchStream {
        /// The stream asked for.
        stream: u16,
        /// How many there are.
        streams: u16,
    },
    /// The message has no bytes, which no DATA chunk can carry (RFC 9260, section 3.3.1).
    #[error("a message needs at least one byte")]
    Empty,
    /// The message can never fit the send buffer.
    #[error("a message of {len} bytes is too large: at most {max} bytes are taken")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in force in bytes.
        max: usize,
    },
}

/// An address that is none of the association's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is no confirmed address of this association's peer")]
pub struct NoSuchPath(pub IpAddr);

/// Why the MTU of a path cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathMtuError {
    /// The address is none of the peer's.
    #[error("{0} is no address of this association's peer")]
    NoSuchPath(IpAddr),
    /// Every path of that family takes larger packets.
    #[error("a path MTU of {mtu} bytes is too small: {least} to 65,535 bytes")]
    OutOfRange {
        /// The size given, in bytes.
        mtu: u16,
        /// The least for an address of that family, in bytes.
        least: u16,
    },
}

/// Why the settings of a path were not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathSettingsError {
    /// The address is none of the peer's.
    #[error(transparent)]
    NoSuchPath(#[from] NoSuchPath),
    /// A value is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// An option whose value is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("option {option} is {value}: {expected}")]
pub struct ConfigError {
    /// The option's name.
    pub option: &'static str,
    /// The value given.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

// Linux and FreeBSD agree on this one.
const EINVAL: i32 = 22;

/// `include/uapi/asm-generic/errno.h`
mod linux {
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const ENOPROTOOPT: i32 = 92;
    pub(super) const EADDRNOTAVAIL: i32 = 99;
    pub(super) const ENETUNREACH: i32 = 101;
    pub(super) const ECONNABORTED: i32 = 103;
    pub(super) const ECONNRESET: i32 = 104;
    pub(super) const EISCONN: i32 = 106;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const ECONNREFUSED: i32 = 111;
    pub(super) const EALREADY: i32 = 114;
}

/// `sys/sys/errno.h`
mod freebsd {
    pub(super) const E2BIG: i32 = 7;
    pub(super) const EALREADY: i32 = 37;
    pub(super) const EADDRNOTAVAIL: i32 = 49;
    pub(super) const ENETUNREACH: i32 = 51;
    pub(super) const ECONNABORTED: i32 = 53;
    pub(super) const ECONNRESET: i32 = 54;
    pub(super) const ENOBUFS: i32 = 55;
    pub(super) const ETIMEDOUT: i32 = 60;
    pub(super) const ECONNREFUSED: i32 = 61;
}
