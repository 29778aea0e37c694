//! An address with the length of its network's prefix.

use std::fmt;
use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;

/// An address and how many of its leading bits name the network it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// The bits of the network, 0 to 32 or 0 to 128.
    pub length: u8,
}

impl Prefix {
    /// An address and its prefix; a longer prefix than the family has bits is cut to that.
    pub fn new(address: IpAddr, length: u8) -> Self {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length: length.min(bits) }
    }

    /// The address alone, as a network of one.
    pub fn host(address: IpAddr) -> Self {
        Self::new(address, u8::MAX)
    }

    /// The address in network byte order.
    pub(super) fn octets(&self) -> Vec<u8> {
        match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = AddrParseError;

    /// Reads `10.1.0.1/24`; what is no number behind the slash, or missing, stands for the address alone.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self::new(address.parse()?, length.parse().unwrap_or(u8::MAX)))
    }
}
