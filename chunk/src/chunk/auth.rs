//! AUTH (RFC 4895, section 4.1).

use bytes::Bytes;

use crate::field::fields;

/// The HMAC of the chunks behind it in the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Which of the endpoint pair's shared keys was used.
    pub key_id: u16,
    /// Which HMAC was used (1: SHA-1, 3: SHA-256).
    pub hmac_id: u16,
    /// The HMAC.
    pub hmac: Bytes,
}

fields!(Auth { key_id, hmac_id, hmac });
