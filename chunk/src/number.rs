//! The numbers of SCTP: serial numbers (RFC 1982), and identifiers that are compared for equality.

use std::fmt;

/// Makes a serial number (RFC 1982): a number that wraps, and is therefore only ever before or after
/// another one, within half of its range. It has no `Ord`: an order of serial numbers is not transitive.
macro_rules! serial_number {
    ($(#[$meta:meta])* $name:ident($number:ty)) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name($number);

        impl $name {
            /// Half of the range; two numbers this far apart are neither before nor after each other.
            const HALF: $number = 1 << (<$number>::BITS - 1);

            /// The serial number of this value; every value is one.
            pub const fn new(value: $number) -> Self {
                Self(value)
            }

            /// The value, as it is on the wire.
            pub const fn value(self) -> $number {
                self.0
            }

            /// The number after this one.
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The number before this one.
            pub const fn previous(self) -> Self {
                self.minus(1)
            }

            /// The number that is `n` steps further (RFC 1982, section 3.1).
            pub const fn plus(self, n: $number) -> Self {
                Self(self.0.wrapping_add(n))
            }

            /// The number that is `n` steps back.
            pub const fn minus(self, n: $number) -> Self {
                Self(self.0.wrapping_sub(n))
            }

            /// How many steps lead from `earlier` to this number, 0 if they are equal.
            pub const fn since(self, earlier: Self) -> $number {
                self.0.wrapping_sub(earlier.0)
            }

            /// Whether this number is greater (RFC 1982, section 3.2). Of two numbers half of the range
            /// apart, which the RFC leaves undefined, neither is after the other.
            pub const fn is_after(self, other: Self) -> bool {
                let steps = self.since(other);
                steps != 0 && steps < Self::HALF
            }

            /// Whether this number is equal or greater.
            pub const fn is_at_or_after(self, other: Self) -> bool {
                self.since(other) < Self::HALF
            }

            /// Whether this number is less (RFC 1982, section 3.2).
            pub const fn is_before(self, other: Self) -> bool {
                other.is_after(self)
            }

            /// Whether this number is equal or less.
            pub const fn is_at_or_before(self, other: Self) -> bool {
                other.is_at_or_after(self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

serial_number! {
    /// Transmission Sequence Number (RFC 9260, section 1.6): one for each DATA and I-DATA chunk of an association.
    Tsn(u32)
}
serial_number! {
    /// Stream Sequence Number (RFC 9260, section 1.6): one for each ordered message of a stream.
    Ssn(u16)
}
serial_number! {
    /// Message Identifier (RFC 8260, section 2.1): one for each message of a stream, ordered and unordered apart.
    Mid(u32)
}
serial_number! {
    /// Fragment Sequence Number (RFC 8260, section 2.1): one for each fragment of a message, from 0.
    Fsn(u32)
}

/// Stream Identifier (RFC 9260, section 3.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(pub u16);

/// Payload Protocol Identifier (RFC 9260, section 3.3.1): the application's, carried unchanged; 0 is "unspecified".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ppid(pub u32);

/// Verification Tag and Initiate Tag (RFC 9260, sections 3.1 and 3.3.2). Displayed as `0x%08x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VerificationTag(pub u32);

impl VerificationTag {
    /// The tag of a packet that carries an INIT; no association has it.
    pub const ZERO: Self = Self(0);

    /// Whether this is the tag of a packet that carries an INIT.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for VerificationTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Ppid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_after_the_wrap_is_after_one_before_it() {
        let last = Tsn::new(u32::MAX);
        assert_eq!(last.next(), Tsn::new(0));
        assert_eq!(Tsn::new(0).previous(), last);
        assert!(Tsn::new(5).is_after(last) && last.is_before(Tsn::new(5)));
        assert_eq!(Tsn::new(5).since(last), 6);
        assert_eq!(Ssn::new(65_535).plus(3), Ssn::new(2));
        assert_eq!(Ssn::new(2).minus(3), Ssn::new(65_535));
    }

    #[test]
    fn equal_serial_numbers_are_at_but_neither_before_nor_after() {
        let mid = Mid::new(7);
        assert!(mid.is_at_or_after(mid) && mid.is_at_or_before(mid));
        assert!(!mid.is_after(mid) && !mid.is_before(mid));
    }

    #[test]
    fn serial_numbers_half_of_the_range_apart_have_no_order() {
        let (a, b) = (Ssn::new(10), Ssn::new(10 + 0x8000));
        assert!(!a.is_after(b) && !b.is_after(a) && !a.is_before(b) && !b.is_before(a));
        assert!(!a.is_at_or_after(b) && !a.is_at_or_before(b));
        assert!(Ssn::new(10 + 0x7fff).is_after(a) && Ssn::new(10 + 0x8001).is_before(a));
    }

    #[test]
    fn a_tag_is_displayed_with_eight_digits() {
        assert_eq!(VerificationTag(0xab).to_string(), "0x000000ab");
        assert!(VerificationTag::ZERO.is_zero());
    }
}
