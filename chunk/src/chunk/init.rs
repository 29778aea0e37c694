//! INIT and INIT ACK (RFC 9260, sections 3.3.2 and 3.3.3).

use crate::field::fields;
use crate::number::{Tsn, VerificationTag};
use crate::param::Parameters;

/// The value of an INIT or INIT ACK. Zeros that the RFC forbids decode too: refusing them is the endpoint's duty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// The tag that the receiver is to send in all packets of this association.
    pub initiate_tag: VerificationTag,
    /// The sender's receive window in bytes.
    pub a_rwnd: u32,
    /// How many streams the sender wants to send on.
    pub outbound_streams: u16,
    /// How many streams the sender can receive on.
    pub inbound_streams: u16,
    /// The TSN of the first DATA chunk that the sender will send.
    pub initial_tsn: Tsn,
    /// Addresses, capabilities, and in an INIT ACK the state cookie.
    pub parameters: Parameters,
}

fields!(Init { initiate_tag, a_rwnd, outbound_streams, inbound_streams, initial_tsn, parameters });
