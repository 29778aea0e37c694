//! What can go wrong between the application and its associations.

use std::fmt;
use std::io;
use std::net::IpAddr;

use thiserror::Error;
use usctp_assoc::{
    ConfigError, ConnectError, LostReason, NoSuchPath, PathMtuError, PathSettingsError, SendError,
};

use crate::link::LinkError;

/// Any error of this crate; the predicates sort them as a program needs it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A list of peer addresses was refused; nothing was created and nothing sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A message was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
    /// An option is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that is none of the peer's.
    #[error(transparent)]
    NoSuchPath(#[from] NoSuchPath),
    /// The MTU of a path cannot be set.
    #[error(transparent)]
    PathMtu(#[from] PathMtuError),
    /// The links could not be opened, or a port could not be had.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A local address cannot be bound to. The index counts from 0 in the caller's list.
    #[error("local address {index} ({address}) cannot be used: {why}")]
    BadLocalAddress {
        /// The address at fault.
        index: usize,
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        why: BadLocalAddress,
    },
    /// The association could not be set up, or ended without a graceful close.
    #[error("{}", Told(.0))]
    Lost(LostReason),
    /// The association was closed gracefully.
    #[error("the association is closed")]
    Closed,
    /// The socket, or the stack it belongs to, was closed.
    #[error("the socket was closed")]
    StackClosed,
    /// The stack was opened by another process, of which this one is a forked child: only its copies of the handles are here,
    /// and using or dropping them does nothing. The child can open a stack of its own.
    #[error(
        "the stack belongs to the process that this one was forked from: open another one here"
    )]
    Forked,
    /// The time given for the call has passed. What was waited for may still happen.
    #[error("timed out")]
    TimedOut,
    /// The call would have to wait: it is one that does not, or one that may but was made by a waker on the very thread that
    /// would bring what it waits for.
    #[error("the call would have to wait")]
    WouldBlock,
    /// Associations are accepted only from a socket that listens.
    #[error("the socket does not listen")]
    NotListening,
    /// The system refused something.
    #[error("could not {what}: {source}")]
    Io {
        /// What was attempted, to follow "could not".
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What is wrong with a local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadLocalAddress {
    /// No interface has it.
    #[error("no interface of this host has it")]
    NotLocal,
    /// It is 0.0.0.0 or `::`.
    #[error("it is the unspecified address; an empty list stands for all addresses")]
    Unspecified,
    /// The stack has no link of its family.
    #[error("the stack has no link that carries its address family")]
    NoLink,
    /// The socket is bound to it already.
    #[error("the socket is bound to it already")]
    AlreadyBound,
    /// The socket is not bound to it.
    #[error("the socket is not bound to it")]
    NotBound,
    /// The socket would be left without an address.
    #[error("it is the last address of the socket")]
    Last,
    /// The socket is bound to all addresses, whichever there are: none can be added and none removed.
    #[error("the socket is bound to all addresses")]
    BoundToAll,
}

impl From<PathSettingsError> for Error {
    fn from(error: PathSettingsError) -> Self {
        match error {
            PathSettingsError::NoSuchPath(error) => Self::NoSuchPath(error),
            PathSettingsError::Config(error) => Self::Config(error),
        }
    }
}

impl Error {
    /// Whether the peer refused the association: by ABORT during the set-up, or because its host speaks no SCTP.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Lost(LostReason::Refused { .. }))
    }

    /// Whether time ran out: of the call, of the set-up, of retransmissions, or of the graceful close.
    pub fn is_timed_out(&self) -> bool {
        matches!(
            self,
            Self::TimedOut
                | Self::Lost(
                    LostReason::SetupTimeout
                        | LostReason::Deadline
                        | LostReason::TooManyRetransmissions
                        | LostReason::ShutdownTimeout
                )
        )
    }

    /// Whether the system forbids it to this process.
    pub fn is_permission_denied(&self) -> bool {
        match self {
            Self::Link(LinkError::NoPermission) => true,
            Self::Link(LinkError::Io { source, .. }) | Self::Io { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }

    /// Whether a port, or a peer's address, is taken already.
    pub fn is_address_in_use(&self) -> bool {
        matches!(
            self,
            Self::Link(LinkError::AddressInUse { .. } | LinkError::NoFreePort)
                | Self::Connect(ConnectError::InUse { .. })
        )
    }

    /// Whether an address that the caller listed, here or there, is wrong as such.
    pub fn is_bad_address(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(
                error,
                ConnectError::InUse { .. } | ConnectError::TooManyAssociations { .. }
            ),
            Self::BadLocalAddress { .. } | Self::Link(LinkError::AddressNotLocal { .. }) => true,
            _ => false,
        }
    }

    /// Which address of the caller's list is at fault, counted from 0.
    pub fn bad_address_index(&self) -> Option<usize> {
        match self {
            Self::BadLocalAddress { index, .. } => Some(*index),
            Self::Connect(
                ConnectError::PortZero { index }
                | ConnectError::PortMismatch { index, .. }
                | ConnectError::Unspecified { index, .. }
                | ConnectError::Multicast { index, .. }
                | ConnectError::Broadcast { index }
                | ConnectError::FamilyDisabled { index, .. }
                | ConnectError::LinkLocalNoScope { index, .. }
                | ConnectError::InUse { index, .. }
                | ConnectError::SelfConnect { index, .. },
            ) => Some(*index),
            _ => None,
        }
    }

    /// Whether a local address was asked for that this host does not have.
    pub fn is_address_not_local(&self) -> bool {
        matches!(
            self,
            Self::BadLocalAddress { why: BadLocalAddress::NotLocal, .. }
                | Self::Link(LinkError::AddressNotLocal { .. })
        )
    }

    /// Whether no listed address can be reached from this host.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Lost(LostReason::Unreachable))
    }

    /// Whether a call that does not wait would have had to.
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::WouldBlock | Self::Send(SendError::WouldBlock))
    }

    /// Whether the association, its socket or its stack was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed | Self::StackClosed | Self::Send(SendError::NotOpen { .. }))
    }
}

/// A reason in words.
struct Told<'a>(&'a LostReason);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            LostReason::SetupTimeout => f.write_str("no address of the peer answered"),
            LostReason::Deadline => f.write_str("the association was not established in time"),
            LostReason::Unreachable => {
                f.write_str("no address of the peer can be reached from this host")
            }
            LostReason::Refused { peer, no_sctp: true, .. } => {
                write!(f, "{peer} refused: its host does not speak SCTP")
            }
            LostReason::Refused { peer, cause: Some(cause), .. } => {
                write!(f, "{peer} refused: {cause}")
            }
            LostReason::Refused { peer, .. } => write!(f, "{peer} refused"),
            LostReason::PeerAborted { reason, .. } if !reason.is_empty() => {
                write!(f, "the peer aborted the association: {}", reason.escape_ascii())
            }
            LostReason::PeerAborted { cause: Some(cause), .. } => {
                write!(f, "the peer aborted the association: {cause}")
            }
            LostReason::PeerAborted { .. } => f.write_str("the peer aborted the association"),
            LostReason::LocalAbort => f.write_str("the association was aborted on this side"),
            LostReason::TooManyRetransmissions => f.write_str("the peer no longer answers"),
            LostReason::PeerViolation(cause) => {
                write!(f, "the peer broke the protocol: {cause}")
            }
            LostReason::OwnAddress { peer } => {
                write!(f, "{peer}, the peer's last address, is one of this host now")
            }
            LostReason::ShutdownTimeout => f.write_str("the graceful close took too long"),
            other => write!(f, "the association was lost: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use usctp_assoc::AssociationState;
    use usctp_chunk::CauseCode;

    use super::*;

    #[test]
    fn reasons_name_what_the_rfc_names_and_give_the_number() {
        let peer = IpAddr::from([192, 0, 2, 1]);
        let refused =
            |code| LostReason::Refused { peer, cause: Some(CauseCode(code)), no_sctp: false };
        let aborted = LostReason::PeerAborted { cause: Some(CauseCode(9)), reason: Bytes::new() };
        let told = |reason| Error::Lost(reason).to_string();
        let restart = "192.0.2.1 refused: Restart of an Association with New Addresses (11)";
        assert_eq!(told(refused(11)), restart);
        assert_eq!(told(refused(777)), "192.0.2.1 refused: unknown (777)");
        assert_eq!(told(aborted), "the peer aborted the association: No User Data (9)");
        let violation = LostReason::PeerViolation(CauseCode(13));
        assert_eq!(told(violation), "the peer broke the protocol: Protocol Violation (13)");
        let closing = Error::Send(SendError::NotOpen { state: AssociationState::ShutdownSent });
        let text = "the association takes no more messages: it is SHUTDOWN-SENT";
        assert_eq!(closing.to_string(), text);
    }
}
