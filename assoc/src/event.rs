//! What an association tells its application (RFC 9260, section 11.2; RFC 6458, section 6).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use usctp_chunk::{CauseCode, StreamId};

use crate::message::Message;

/// Names an association of an endpoint; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(pub u64);

impl fmt::Display for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The states of RFC 9260, section 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssociationState {
    /// There is no association (any more).
    Closed,
    /// INIT was sent, INIT ACK is awaited.
    CookieWait,
    /// COOKIE ECHO was sent, COOKIE ACK is awaited.
    CookieEchoed,
    /// Messages flow both ways.
    Established,
    /// The application closed; outstanding messages are still being delivered.
    ShutdownPending,
    /// SHUTDOWN was sent.
    ShutdownSent,
    /// The peer's SHUTDOWN came; outstanding messages are still being delivered.
    ShutdownReceived,
    /// SHUTDOWN ACK was sent.
    ShutdownAckSent,
}

/// The name that RFC 9260, section 4, gives to the state: `SHUTDOWN-SENT`.
impl fmt::Display for AssociationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "CLOSED",
            Self::CookieWait => "COOKIE-WAIT",
            Self::CookieEchoed => "COOKIE-ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownPending => "SHUTDOWN-PENDING",
            Self::ShutdownSent => "SHUTDOWN-SENT",
            Self::ShutdownReceived => "SHUTDOWN-RECEIVED",
            Self::ShutdownAckSent => "SHUTDOWN-ACK-SENT",
        })
    }
}

impl AssociationState {
    /// Whether the handshake is over and the association has not ended: both tags are known to both sides.
    pub fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::CookieWait | Self::CookieEchoed)
    }
}

/// Something the application may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The caller listed an address more than once; only its first place counts.
    ListedTwice {
        /// Where in the list it stands again, from 0.
        index: usize,
        /// The address.
        peer: IpAddr,
    },
    /// An INIT went out to a listed address.
    Tried {
        /// The address.
        peer: IpAddr,
        /// Which INIT it is, from 1.
        attempt: u32,
    },
    /// A listed address was given up for now, and the next one is tried.
    MovedOn {
        /// The address left behind.
        peer: IpAddr,
        /// Why.
        reason: MovedOn,
    },
    /// The association is established (COMMUNICATION UP).
    CommUp {
        /// Who asked for it.
        role: Role,
        /// The address that messages are sent to.
        primary: IpAddr,
        /// Streams to send on.
        outbound_streams: u16,
        /// Streams to receive on.
        inbound_streams: u16,
    },
    /// The peer restarted and the association began anew; messages not yet acknowledged are lost (RFC 9260, section 5.2.4.1).
    Restart,
    /// The association ended without a graceful close (COMMUNICATION LOST), or could not be set up.
    CommLost(LostReason),
    /// The peer began a graceful close; no more messages can be sent.
    PeerShutdown,
    /// The graceful close is complete.
    ShutdownComplete,
    /// An address of the peer changed its state.
    PeerAddressChange {
        /// The address.
        peer: IpAddr,
        /// What changed.
        change: AddressChange,
    },
    /// What came of a HEARTBEAT that the application asked for (RFC 9260, section 11.1.10).
    ///
    /// One for each request, except that requests made while one is outstanding share its outcome, and that there is
    /// none once the association closes or restarts, or the address is removed.
    HeartbeatResult {
        /// The address.
        peer: IpAddr,
        /// The time until its acknowledgement came; `None` if none came within the RTO.
        round_trip: Option<Duration>,
    },
    /// The greatest IP packet that an address of the peer is sent has changed (RFC 8899).
    PathMtuChange {
        /// The address.
        peer: IpAddr,
        /// The greatest IP packet in bytes.
        mtu: usize,
        /// Why.
        reason: MtuReason,
    },
    /// Messages can be received.
    Readable,
    /// After a refusal, the send buffer has room again.
    Writable,
    /// Everything sent so far was acknowledged.
    SenderDry,
    /// A message that was not acknowledged whole when the association ended or the peer restarted, that was for a stream the
    /// peer does not have, or whose lifetime was over before any of it was sent (RFC 9260, section 11.2.2).
    SendFailed {
        /// The message, with its context; all of it, whatever part of it was acknowledged.
        message: Message,
        /// Whether any of it had been sent: then the peer may have received it (RFC 9260, sections 11.1.14 and 11.1.15).
        sent: bool,
    },
    /// The peer's Adaptation Layer Indication (RFC 5061, section 4.2.6); comes next to `CommUp`.
    AdaptationIndication(u32),
    /// The rest of a message that was being delivered in parts on this stream will not come; what had come of it and
    /// was not taken yet is gone with it.
    PartialDeliveryAborted(StreamId),
    /// The peer reported an error that does not end the association.
    RemoteError(CauseCode),
}

/// Which side opened an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This side called `connectx`.
    Active,
    /// The peer did.
    Passive,
}

/// Why an INIT went to the next address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovedOn {
    /// No answer before T1-init expired.
    Timeout,
    /// A local send error, or an ICMP message that quotes our INIT.
    Unreachable,
    /// The peer answered with ABORT, or its host speaks no SCTP (only with [`OnRefused::TryNext`](crate::OnRefused)).
    Refused,
}

/// How an address of the peer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressChange {
    /// It was learned from the peer and is not verified yet (RFC 9260, section 5.4).
    Unconfirmed,
    /// It answers, and data may go there.
    Active(ActiveReason),
    /// It failed more than PotentiallyFailed.Max.Retrans times in a row: data goes elsewhere if it can (RFC 7829).
    PotentiallyFailed(FailureReason),
    /// It failed more than Path.Max.Retrans times in a row.
    Inactive(FailureReason),
    /// It became the primary path.
    Primary(PrimaryReason),
    /// It no longer belongs to the association.
    Removed(RemovedReason),
    /// The peer lists it, but it is not used.
    Ignored(IgnoredReason),
}

/// How an address showed that it can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActiveReason {
    /// It had been unconfirmed, and answered a HEARTBEAT (RFC 9260, section 5.4).
    Confirmed,
    /// It answered a HEARTBEAT.
    HeartbeatAcked,
    /// DATA that was sent there, and nowhere else, was acknowledged.
    DataAcked,
    /// The peer restarted: what was known of its addresses is forgotten.
    Restarted,
}

/// What showed last that an address fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// DATA was not acknowledged before T3-rtx expired.
    T3Expired,
    /// A HEARTBEAT was not answered within the RTO.
    HeartbeatUnanswered,
    /// SHUTDOWN or SHUTDOWN ACK was not answered before T2-shutdown expired.
    T2Expired,
    /// The network or this host says that it cannot be reached: an ICMP message that quotes us, or a local send error.
    Unreachable,
}

/// Why an address became the primary path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrimaryReason {
    /// The application chose it.
    Chosen,
    /// The one before failed more than Primary.Switchover.Max.Retrans times in a row (RFC 7829, section 5).
    Switchover,
    /// The one before no longer belongs to the association.
    Removed,
}

/// Why an address was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovedReason {
    /// The caller listed it and the peer's INIT ACK did not.
    NotInInitAck,
    /// The peer restarted, and its INIT did not list it.
    NotInInit,
    /// This host has the address itself, or has it by now, so that packets to it come back; and the peer is elsewhere.
    OwnAddress,
    /// It was unconfirmed, and the host that has it answered a HEARTBEAT with an ABORT that reflects our tag: it knows nothing
    /// of the association. It is another host than the peer, which would say so from its other addresses as well.
    Disowned,
}

/// Why an address that the peer lists is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IgnoredReason {
    /// This host has the same address, so that packets to it come back; and the peer is elsewhere. Addresses of bridges and
    /// tunnels, such as docker0's 172.17.0.1, are the same on many hosts.
    OwnAddress,
    /// Another association of the endpoint has it.
    OtherAssociation,
    /// It reaches less far (loopback, link, private network, everywhere) than the nearest of the addresses in use.
    Reach,
    /// The endpoint has no address of its family.
    Family,
}

/// Why the MTU of a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MtuReason {
    /// A probe of that size was answered.
    Probed,
    /// Packets that were larger got lost, while one of that size was answered.
    BlackHole,
    /// A router, or the local system, said that packets were too big.
    PacketTooBig,
    /// The application set it.
    Set,
    /// The local system told the MTU of the link.
    Link,
    /// What a router said is so long ago that it may be so no more.
    Expired,
}

/// Why an association was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// No peer address answered the INIT or COOKIE ECHO in as many attempts as allowed.
    SetupTimeout,
    /// [`ConnectOptions::deadline`](crate::ConnectOptions) passed before the association was established.
    Deadline,
    /// No listed address can be reached from this host (local send errors for all of them).
    Unreachable,
    /// A listed address refused with ABORT (with its first cause, if it gave one), or its host speaks no SCTP.
    Refused {
        /// The address that refused.
        peer: IpAddr,
        /// The first error cause of the ABORT.
        cause: Option<CauseCode>,
        /// Whether it was ICMP protocol unreachable in the place of an ABORT.
        no_sctp: bool,
    },
    /// The peer aborted the association.
    PeerAborted {
        /// The first error cause.
        cause: Option<CauseCode>,
        /// The reason the peer's application gave, if any (cause User-Initiated Abort).
        reason: Bytes,
    },
    /// This side's application aborted it.
    LocalAbort,
    /// Too many retransmissions without an answer (Association.Max.Retrans). The peer was sent an ABORT, in case it lives.
    TooManyRetransmissions,
    /// The peer broke the protocol and was sent an ABORT with this cause.
    PeerViolation(CauseCode),
    /// The last address of the peer became one of this host, so that packets to it come back.
    OwnAddress {
        /// The address.
        peer: IpAddr,
    },
    /// The graceful close, of this side or of the peer, did not end in time, and the peer was sent an ABORT
    /// ([`Options::shutdown_guard`](crate::Options::shutdown_guard): T5-shutdown-guard, RFC 9260, section 9.2).
    ShutdownTimeout,
}

impl LostReason {
    /// The error cause that the peer gave with its ABORT, or that it was given with ours.
    pub fn cause(&self) -> Option<CauseCode> {
        match self {
            Self::Refused { cause, .. } | Self::PeerAborted { cause, .. } => *cause,
            Self::PeerViolation(cause) => Some(*cause),
            _ => None,
        }
    }
}
