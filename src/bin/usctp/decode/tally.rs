//! Counts what became of the frames, and says at the end what could not be looked into.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use super::layers::{Miss, Next, Unread};

/// How many kinds are counted apart, so that a hostile file cannot make a list without end.
const KINDS_MAX: usize = 32;

/// What became of the frames of a file.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Packets that were shown.
    shown: u64,
    kinds: BTreeMap<Miss, u64>,
    /// Frames that were not looked into, of kinds beyond the limit.
    other_unread: u64,
    /// Frames with something else, of kinds beyond the limit.
    other_nothing: u64,
}

impl Tally {
    pub(crate) fn packet(&mut self) {
        self.shown += 1;
    }

    pub(crate) fn miss(&mut self, miss: Miss) {
        let count = match (self.kinds.len() < KINDS_MAX, miss) {
            (true, _) => self.kinds.entry(miss).or_default(),
            (false, _) if self.kinds.contains_key(&miss) => self.kinds.entry(miss).or_default(),
            (false, Miss::Unread(_)) => &mut self.other_unread,
            (false, Miss::Nothing(_)) => &mut self.other_nothing,
        };
        *count += 1;
    }

    /// A line for each kind of frame that was not looked into; and one where there was no SCTP at all.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut nothing = Vec::new();
        for (miss, count) in &self.kinds {
            match miss {
                Miss::Unread(unread) => {
                    lines.push(format!("not looked into: {} {unread}", Frames(*count)));
                }
                Miss::Nothing(next) => nothing.push(format!("{count} of {next}")),
            }
        }
        if self.other_unread > 0 {
            lines.push(format!("not looked into: {} of other kinds", Frames(self.other_unread)));
        }
        if self.other_nothing > 0 {
            nothing.push(format!("{} of other kinds", self.other_nothing));
        }
        if self.shown == 0 {
            lines.push(self.without_sctp(&nothing));
        }
        lines
    }

    fn without_sctp(&self, nothing: &[String]) -> String {
        let mut line = "no SCTP packet was found".to_owned();
        if !nothing.is_empty() {
            line += &format!("; other frames: {}", nothing.join(", "));
        }
        if self.kinds.contains_key(&Miss::Nothing(Next::IpProtocol(17))) {
            line += "; behind which UDP ports SCTP is, --udp-port says";
        }
        line
    }
}

/// So many frames.
struct Frames(u64);

impl Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 frame"),
            count => write!(f, "{count} frames"),
        }
    }
}

impl Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(next) => write!(f, "of {next}"),
            Self::Damaged(next) => write!(f, "with a damaged or cut header of {next}"),
            Self::TooDeep => f.write_str("with more tunnels in each other than are followed"),
            Self::Fragment(next) => {
                write!(f, "with an IP fragment of {next} whose packet is not all there")
            }
            Self::OtherUdpPorts(low, high) => {
                write!(f, "with SCTP behind the UDP ports {low} and {high} (see --udp-port)")
            }
        }
    }
}
