//! What became of the packets of an endpoint, counted.

use super::connect::ConnectCounters;

/// Counts of packets and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets received for this port.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets shorter than a common header, or whose INIT or first chunk cannot be read.
    pub malformed: u64,
    /// Packets with a wrong checksum.
    pub bad_checksum: u64,
    /// Packets whose verification tag or source address is not that of the association.
    pub bad_tag: u64,
    /// COOKIE ECHOs that are not ours, for other ports or tags, or used up.
    pub bad_cookie: u64,
    /// Packets that belong to no association.
    pub out_of_the_blue: u64,
    /// Packets that have no place where they came, such as INIT bundled with other chunks.
    pub out_of_place: u64,
    /// INITs beyond the rate that is allowed, of which nothing more was looked at.
    pub inits_dropped: u64,
    /// INITs answered with INIT ACK.
    pub inits_answered: u64,
    /// Associations that peers opened.
    pub accepted: u64,
    /// Associations that peers wanted to open and that were refused, because there are too many or memory is short.
    pub refused: u64,
    /// How often all that an association held behind gaps was thrown away, because memory was short.
    pub reneged: u64,
    /// Notices that quoted none of our packets.
    pub notices_not_believed: u64,
    /// What became of `connectx`.
    pub connects: ConnectCounters,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    Malformed,
    BadChecksum,
    BadTag,
    BadCookie,
    OutOfTheBlue,
    OutOfPlace,
}

impl Counters {
    /// Counts a packet that was dropped.
    pub(super) fn note(&mut self, why: Dropped) {
        let counter = match why {
            Dropped::Malformed => &mut self.malformed,
            Dropped::BadChecksum => &mut self.bad_checksum,
            Dropped::BadTag => &mut self.bad_tag,
            Dropped::BadCookie => &mut self.bad_cookie,
            Dropped::OutOfTheBlue => &mut self.out_of_the_blue,
            Dropped::OutOfPlace => &mut self.out_of_place,
        };
        *counter += 1;
    }
}
