//! ABORT (RFC 9260, section 3.3.7).

use crate::cause::Causes;

/// An ABORT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Abort {
    /// The T bit: the packet's tag is the receiver's own one (RFC 9260, section 8.5.1).
    pub tag_reflected: bool,
    /// Why.
    pub causes: Causes,
}
