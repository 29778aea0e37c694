//! Why bytes are not what they claim to be.

/// Why a packet, chunk, parameter or error cause could not be decoded. It says what is wrong with the bytes;
/// what is to be done about it is the reader's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
// In a result the error shares its place with a value full of pointers. An error of 4 bytes makes the compiler move
// half pointers, and each that is then read as a whole waits for the store: an INIT took nearly twice the time.
#[repr(align(8))]
pub enum DecodeError {
    /// Fewer bytes are left than a header takes: 12 for a packet, 4 for a chunk, parameter or error cause.
    #[error("the bytes end within a header")]
    Truncated,
    /// A length field is less than 4, or leaves less room than the fixed part of its kind takes.
    #[error("a length is too small for the header and the fixed part behind it")]
    LengthTooSmall,
    /// A length field reaches beyond the packet, chunk or parameter that contains it.
    #[error("a length reaches beyond what contains it")]
    LengthTooLarge,
    /// A count says more entries than there are bytes for, or the bytes of a list end within an entry.
    #[error("a list and the bytes that hold it do not agree")]
    BadCount,
    /// The format demands a parameter of a certain type (Heartbeat Info, an address), and another is in its place.
    #[error("a parameter of type {found:#06x} is where another is mandatory")]
    UnexpectedParameter {
        /// The type of the parameter that was found.
        found: u16,
    },
}
