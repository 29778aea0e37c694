//! SHUTDOWN and SHUTDOWN COMPLETE (RFC 9260, sections 3.3.8 and 3.3.13).

use crate::field::fields;
use crate::number::Tsn;

/// The sender has nothing more to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// All TSNs up to this one were received.
    pub cumulative_tsn: Tsn,
}

fields!(Shutdown { cumulative_tsn });

/// The association is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownComplete {
    /// The T bit: the packet's tag is the receiver's own one (RFC 9260, section 8.5.1).
    pub tag_reflected: bool,
}
