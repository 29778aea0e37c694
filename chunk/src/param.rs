//! Parameters of INIT, INIT ACK, ASCONF, ASCONF ACK and RE-CONFIG: the one table of their types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use crate::cause::Causes;
use crate::chunk::{NextTsns, ReConfigResult, Unrecognized};
use crate::error::DecodeError;
use crate::field::Field;
use crate::list::List;
use crate::number::{StreamId, Tsn};
use crate::reader::Reader;
use crate::table::{Raw, TlvList, tlv_table};
use crate::tlv;

/// A list of parameters.
pub type Parameters = TlvList<Parameter>;

/// A parameter that was found, but not decoded.
pub type RawParameter<'a> = Raw<'a, ParameterType>;

/// Address types (5: IPv4, 6: IPv6; RFC 9260, section 3.3.2.1.5).
pub type AddressTypes = List<u16>;

/// HMAC identifiers (1: SHA-1, 3: SHA-256; RFC 4895, section 3.3), the most preferred first.
pub type HmacIdentifiers = List<u16>;

/// Streams that are to be reset (RFC 6525, section 4.1).
pub type StreamIds = List<StreamId>;

tlv_table! {
    /// The type of a parameter (RFC 9260, section 3.2.1).
    kind ParameterType;

    /// A parameter. See [`ParameterType`] for the sections that define them.
    value Parameter, kind;

    /// What a HEARTBEAT is to bring back (RFC 9260, section 3.3.5).
    HEARTBEAT_INFO = 1, "Heartbeat Info", HeartbeatInfo(info: Bytes);
    /// An address of the sender (RFC 9260, section 3.3.2.1.1).
    IPV4_ADDRESS = 5, "IPv4 Address", Ipv4Address(address: Ipv4Addr);
    /// An address of the sender (RFC 9260, section 3.3.2.1.2).
    IPV6_ADDRESS = 6, "IPv6 Address", Ipv6Address(address: Ipv6Addr);
    /// What COOKIE ECHO is to bring back (RFC 9260, section 3.3.3.1).
    STATE_COOKIE = 7, "State Cookie", StateCookie(cookie: Bytes);
    /// One whole parameter that the sender did not recognize (RFC 9260, section 3.3.3.1).
    UNRECOGNIZED_PARAMETER = 8, "Unrecognized Parameter", UnrecognizedParameter(parameter: Bytes);
    /// A wish for a cookie that lives longer (RFC 9260, section 3.3.2.1.3).
    COOKIE_PRESERVATIVE = 9, "Cookie Preservative", CookiePreservative {
        /// How much longer, in milliseconds.
        increment_ms: u32
    };
    /// A host name with its terminating zero; deprecated (RFC 9260, section 3.3.2.1.4).
    HOST_NAME_ADDRESS = 11, "Host Name Address", HostName(name: Bytes);
    /// The types of addresses that the sender can use (RFC 9260, section 3.3.2.1.5).
    SUPPORTED_ADDRESS_TYPES = 12, "Supported Address Types", SupportedAddressTypes(types: AddressTypes);
    /// The sender asks to reset streams it sends on (RFC 6525, section 4.1).
    OUTGOING_SSN_RESET_REQUEST = 13, "Outgoing SSN Reset Request", OutgoingSsnReset {
        /// The number of this request.
        request: u32,
        /// The number of the peer's request that this one answers, else the last one that was received.
        response: u32,
        /// The last TSN that the sender has assigned.
        last_tsn: Tsn,
        /// The streams; all if there are none.
        streams: StreamIds
    };
    /// The sender asks its peer to reset streams the peer sends on (RFC 6525, section 4.2).
    INCOMING_SSN_RESET_REQUEST = 14, "Incoming SSN Reset Request", IncomingSsnReset {
        /// The number of this request.
        request: u32,
        /// The streams; all if there are none.
        streams: StreamIds
    };
    /// The sender asks to reset all SSNs and the TSNs (RFC 6525, section 4.3).
    SSN_TSN_RESET_REQUEST = 15, "SSN/TSN Reset Request", SsnTsnReset {
        /// The number of this request.
        request: u32
    };
    /// The answer to a request (RFC 6525, section 4.4).
    RE_CONFIGURATION_RESPONSE = 16, "Re-configuration Response", ReConfigResponse {
        /// The number of the request that is answered.
        response: u32,
        /// What became of it.
        result: ReConfigResult,
        /// Where both sides go on after an SSN/TSN reset.
        next: Option<NextTsns>
    };
    /// The sender asks for more streams to send on (RFC 6525, section 4.5).
    ADD_OUTGOING_STREAMS_REQUEST = 17, "Add Outgoing Streams Request", AddOutgoingStreams {
        /// The number of this request.
        request: u32,
        /// How many more.
        count: u16
    } + 2;
    /// The sender asks its peer to use more streams (RFC 6525, section 4.6).
    ADD_INCOMING_STREAMS_REQUEST = 18, "Add Incoming Streams Request", AddIncomingStreams {
        /// The number of this request.
        request: u32,
        /// How many more.
        count: u16
    } + 2;
    /// The sender knows ECN; reserved by RFC 9260, section 3.3.2.1.
    ECN_CAPABLE = 0x8000, "ECN Capable", EcnCapable;
    /// The sender accepts packets without a checksum where another method detects errors (RFC 9653, section 4).
    ZERO_CHECKSUM_ACCEPTABLE = 0x8001, "Zero Checksum Acceptable", ZeroChecksumAcceptable {
        /// The Error Detection Method Identifier; 1 is DTLS, 0 is reserved.
        method: u32
    };
    /// The sender's part of the key of all HMACs (RFC 4895, section 3.1).
    RANDOM = 0x8002, "Random", Random(random: Bytes);
    /// Types of chunks, a byte each, that are to be authenticated (RFC 4895, section 3.2).
    CHUNK_LIST = 0x8003, "Chunk List", ChunkList(types: Bytes);
    /// The HMACs that the peer may use (RFC 4895, section 3.3).
    REQUESTED_HMAC_ALGORITHM = 0x8004, "Requested HMAC Algorithm", HmacAlgorithms(identifiers: HmacIdentifiers);
    /// Bytes without a meaning (RFC 4820, section 4).
    PADDING = 0x8005, "Padding", Padding(padding: Bytes);
    /// Types of chunks, a byte each, that the sender knows beyond RFC 9260 (RFC 5061, section 4.2.7).
    SUPPORTED_EXTENSIONS = 0x8008, "Supported Extensions", SupportedExtensions(types: Bytes);
    /// The sender knows FORWARD TSN (RFC 3758, section 3.1).
    FORWARD_TSN_SUPPORTED = 0xc000, "Forward TSN Supported", ForwardTsnSupported;
    /// A request to add an address to the association (RFC 5061, section 4.2.1).
    ADD_IP_ADDRESS = 0xc001, "Add IP Address", AddIp {
        /// What the answer brings back.
        correlation: u32,
        /// The address; the unspecified one means the source of the packet.
        address: IpAddr
    };
    /// A request to delete an address from the association (RFC 5061, section 4.2.2).
    DELETE_IP_ADDRESS = 0xc002, "Delete IP Address", DeleteIp {
        /// What the answer brings back.
        correlation: u32,
        /// The address; the unspecified one means all but the source of the packet.
        address: IpAddr
    };
    /// What was wrong with a request (RFC 5061, section 4.2.3).
    ERROR_CAUSE_INDICATION = 0xc003, "Error Cause Indication", ErrorCauseIndication {
        /// What the request carried.
        correlation: u32,
        /// What was wrong.
        causes: Causes
    };
    /// A request to send to an address by preference (RFC 5061, section 4.2.4).
    SET_PRIMARY_ADDRESS = 0xc004, "Set Primary Address", SetPrimary {
        /// What the answer brings back.
        correlation: u32,
        /// The address; the unspecified one means the source of the packet.
        address: IpAddr
    };
    /// A request was carried out (RFC 5061, section 4.2.5).
    SUCCESS_INDICATION = 0xc005, "Success Indication", SuccessIndication {
        /// What the request carried.
        correlation: u32
    };
    /// What the sender's application runs on top of SCTP (RFC 5061, section 4.2.6).
    ADAPTATION_LAYER_INDICATION = 0xc006, "Adaptation Layer Indication", AdaptationLayer {
        /// The application's code point.
        indication: u32
    };
}

impl ParameterType {
    /// What is to be done about a parameter of this type by one who does not recognize it (RFC 9260, section 3.2.1).
    pub const fn unrecognized(self) -> Unrecognized {
        Unrecognized::from_high_bits((self.0 >> 14) as u8)
    }
}

impl Parameter {
    /// The parameter that names this address.
    pub fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4Address(address),
            IpAddr::V6(address) => Self::Ipv6Address(address),
        }
    }

    /// The address, if this is an IPv4 or IPv6 Address parameter.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ipv4Address(address) => Some(IpAddr::V4(*address)),
            Self::Ipv6Address(address) => Some(IpAddr::V6(*address)),
            _ => None,
        }
    }
}

/// Takes an IPv4 or IPv6 Address parameter, with its padding, from the front of what is left of a value.
pub(crate) fn read_address(from: &mut Reader<'_>) -> Result<IpAddr, DecodeError> {
    if from.is_empty() {
        return Err(DecodeError::LengthTooSmall);
    }
    let tlv = tlv::read(from)?;
    match ParameterType(tlv.number()) {
        ParameterType::IPV4_ADDRESS => Ipv4Addr::read(&mut tlv.value()).map(IpAddr::V4),
        ParameterType::IPV6_ADDRESS => Ipv6Addr::read(&mut tlv.value()).map(IpAddr::V6),
        other => Err(DecodeError::UnexpectedParameter { found: other.0 }),
    }
}
