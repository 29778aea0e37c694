//! ASCONF and ASCONF-ACK (RFC 5061, section 4.1).

use std::net::IpAddr;

use crate::field::fields;
use crate::param::Parameters;

/// Requests to change the addresses of the association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asconf {
    /// The number of this chunk.
    pub serial: u32,
    /// An address of the sender's, to find the association by.
    pub address: IpAddr,
    /// The requests.
    pub parameters: Parameters,
}

fields!(Asconf { serial, address, parameters });

/// What became of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsconfAck {
    /// The number of the ASCONF that is answered.
    pub serial: u32,
    /// The responses; a request without one was carried out.
    pub parameters: Parameters,
}

fields!(AsconfAck { serial, parameters });
