//! Error causes of ERROR, ABORT and Error Cause Indications: the one table of their codes.

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::field::{Field, Fixed};
use crate::list::List;
use crate::number::{StreamId, Tsn};
use crate::param::{ParameterType, Parameters};
use crate::reader::Reader;
use crate::table::{Raw, TlvList, tlv_table};

/// A list of error causes.
pub type Causes = TlvList<Cause>;

/// An error cause that was found, but not decoded.
pub type RawCause<'a> = Raw<'a, CauseCode>;

tlv_table! {
    /// The code of an error cause (RFC 9260, section 3.3.10).
    kind CauseCode;

    /// An error cause.
    value Cause, code;

    /// DATA for a stream that does not exist (RFC 9260, section 3.3.10.1).
    INVALID_STREAM_IDENTIFIER = 1, "Invalid Stream Identifier", InvalidStreamIdentifier {
        /// The stream of the DATA chunk.
        stream: StreamId
    } + 2;
    /// INIT or INIT ACK lacks parameters (RFC 9260, section 3.3.10.2).
    MISSING_MANDATORY_PARAMETER = 2, "Missing Mandatory Parameter", MissingMandatoryParameter(missing: MissingParameters);
    /// A cookie that was right has expired (RFC 9260, section 3.3.10.3).
    STALE_COOKIE = 3, "Stale Cookie", StaleCookie {
        /// How long ago, in microseconds; 0 if the sender does not say.
        staleness_us: u32
    };
    /// The sender has no room (RFC 9260, section 3.3.10.4).
    OUT_OF_RESOURCE = 4, "Out of Resource", OutOfResource;
    /// The whole address parameter that could not be resolved (RFC 9260, section 3.3.10.5).
    UNRESOLVABLE_ADDRESS = 5, "Unresolvable Address", UnresolvableAddress(parameter: Bytes);
    /// The whole chunk that was not recognized (RFC 9260, section 3.3.10.6).
    UNRECOGNIZED_CHUNK_TYPE = 6, "Unrecognized Chunk Type", UnrecognizedChunkType(chunk: Bytes);
    /// A fixed field of INIT or INIT ACK has an invalid value (RFC 9260, section 3.3.10.7).
    INVALID_MANDATORY_PARAMETER = 7, "Invalid Mandatory Parameter", InvalidMandatoryParameter;
    /// The whole parameters of an INIT ACK that were not recognized (RFC 9260, section 3.3.10.8).
    UNRECOGNIZED_PARAMETERS = 8, "Unrecognized Parameters", UnrecognizedParameters(parameters: Bytes);
    /// DATA without user data (RFC 9260, section 3.3.10.9).
    NO_USER_DATA = 9, "No User Data", NoUserData {
        /// The TSN of the DATA chunk.
        tsn: Tsn
    };
    /// COOKIE ECHO in the state SHUTDOWN-ACK-SENT (RFC 9260, section 3.3.10.10).
    COOKIE_RECEIVED_WHILE_SHUTTING_DOWN = 10, "Cookie Received While Shutting Down", CookieReceivedWhileShuttingDown;
    /// The addresses, as whole parameters, that an INIT would have added (RFC 9260, section 3.3.10.11).
    RESTART_WITH_NEW_ADDRESSES = 11, "Restart of an Association with New Addresses", RestartWithNewAddresses(addresses: Parameters);
    /// The application's reason (RFC 9260, section 3.3.10.12).
    USER_INITIATED_ABORT = 12, "User-Initiated Abort", UserInitiatedAbort(reason: Bytes);
    /// Any other violation, with more about it as the sender likes (RFC 9260, section 3.3.10.13).
    PROTOCOL_VIOLATION = 13, "Protocol Violation", ProtocolViolation(information: Bytes);
    /// The whole request to delete the last address of the association (RFC 5061, section 4.3.1).
    DELETE_LAST_REMAINING_IP = 0x00a0, "Request to Delete Last Remaining IP Address", DeleteLastRemainingIp(request: Bytes);
    /// The whole request that there is no room for (RFC 5061, section 4.3.2).
    RESOURCE_SHORTAGE = 0x00a1, "Operation Refused Due to Resource Shortage", ResourceShortage(request: Bytes);
    /// The whole request to delete the address it came from (RFC 5061, section 4.3.3).
    DELETE_SOURCE_IP = 0x00a2, "Request to Delete Source IP Address", DeleteSourceIp(request: Bytes);
    /// An ASCONF ACK for which there was no ASCONF (RFC 5061, section 4.3.4).
    ILLEGAL_ASCONF_ACK = 0x00a3, "Association Aborted Due to Illegal ASCONF-ACK", IllegalAsconfAck;
    /// The whole request that the sender may not make (RFC 5061, section 4.3.5).
    NO_AUTHORIZATION = 0x00a4, "Request Refused - No Authorization", NoAuthorization(request: Bytes);
    /// AUTH with an HMAC that the receiver did not list (RFC 4895, section 4.1).
    UNSUPPORTED_HMAC_IDENTIFIER = 0x0105, "Unsupported HMAC Identifier", UnsupportedHmacIdentifier {
        /// The HMAC identifier of the AUTH chunk.
        hmac_id: u16
    };
}

/// The types of the parameters that INIT or INIT ACK lacks; on the wire their number precedes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MissingParameters(List<ParameterType>);

impl MissingParameters {
    /// The types in their order on the wire.
    pub fn iter(&self) -> crate::Entries<'_, ParameterType> {
        self.0.iter()
    }

    /// How many types there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<ParameterType> for MissingParameters {
    fn from_iter<I: IntoIterator<Item = ParameterType>>(types: I) -> Self {
        Self(types.into_iter().collect())
    }
}

impl Field for MissingParameters {
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u32::read(from)?;
        let count = usize::try_from(count).map_err(|_| DecodeError::BadCount)?;
        List::read_counted(from, count).map(Self)
    }

    fn encoded_len(&self) -> usize {
        u32::SIZE + self.0.encoded_len()
    }

    fn write(&self, out: &mut BytesMut) {
        // A value has at most 65,531 bytes, so the count always fits.
        (self.0.len() as u32).write(out);
        self.0.write(out);
    }
}

crate::field::fixed! {
    ParameterType, u16, ParameterType, |kind: ParameterType| kind.0;
}
