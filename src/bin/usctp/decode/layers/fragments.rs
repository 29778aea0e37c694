//! Puts IP fragments together (RFC 815, RFC 8200), with bounds on memory and patience, and no belief in fragments that overlap
//! (RFC 5722).

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::{Extent, Hop, Origin};

/// What fragments of one packet have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The IP header with the addresses, and the tunnels around it: two networks may have the same addresses.
    pub(super) path: Vec<Hop>,
    /// IPv4 counts the identification for each protocol.
    pub(super) protocol: Option<u8>,
    pub(super) id: u32,
}

/// One fragment.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    pub(super) origin: Origin,
    /// What its header says that follows.
    pub(super) protocol: u8,
    /// Where in the packet it begins.
    pub(super) offset: usize,
    /// Whether there are fragments behind it.
    pub(super) more: bool,
    pub(super) bytes: Bytes,
}

impl Fragment {
    /// Whether it is no fragment at all.
    pub(super) fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }

    pub(super) fn extent(&self) -> Extent {
        if self.offset == 0 { Extent::FirstFragment } else { Extent::LaterFragment }
    }

    fn end(&self) -> usize {
        self.offset + self.bytes.len()
    }
}

/// A fragment that there will be no packet of.
#[derive(Debug)]
pub(super) struct Abandoned {
    pub(super) origin: Origin,
    pub(super) path: Vec<Hop>,
    pub(super) protocol: u8,
    pub(super) extent: Extent,
    pub(super) bytes: Bytes,
    pub(super) problem: Option<&'static str>,
}

/// What became of a fragment.
#[derive(Debug)]
pub(super) enum Fate {
    /// It waits for others.
    Held,
    /// It was the one that was missing.
    Complete {
        /// What follows, by the first fragment.
        protocol: u8,
        bytes: Bytes,
        /// The frames of all fragments, in the order of the file.
        frames: Vec<u64>,
    },
    /// There will be no packet of it.
    Refused(&'static str),
}

/// How long fragments wait for others, by the clock of the capture (RFC 8200, section 4.5).
const PATIENCE: i128 = 60 * 1_000_000_000;
/// What is held at most, in bytes of memory; then the oldest packet is given up.
const MEMORY_MAX: usize = 16 << 20;
/// What a fragment takes besides its bytes, and a packet besides its fragments: an upper estimate.
const FRAGMENT_COST: usize = 192;
const PACKET_COST: usize = 4096;
/// No packet is longer (RFC 791, section 3.1; RFC 8200, section 4.5).
const LEN_MAX: usize = 65_535;

const OVERLAP: &str = "its IP fragments overlap or contradict each other";
const IMPOSSIBLE: &str = "an IP fragment of a length or place that cannot be";

/// The fragments that wait for others.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// By age.
    packets: BTreeMap<u64, Partial>,
    numbers: HashMap<Rc<Key>, u64>,
    next_number: u64,
    /// An estimate of the memory that all this takes.
    held: usize,
    abandoned: Vec<Abandoned>,
}

/// A packet of which some fragments are here.
#[derive(Debug)]
struct Partial {
    key: Rc<Key>,
    since: Option<i128>,
    /// By their places, which are apart from each other.
    fragments: BTreeMap<usize, Fragment>,
    /// How many bytes they are.
    len: usize,
    /// Where the last one ends, once it is here.
    end: Option<usize>,
    /// Whether they contradicted each other: then none that is still to come is believed.
    is_refused: bool,
}

impl Reassembly {
    pub(super) fn add(&mut self, key: Key, fragment: Fragment) -> Fate {
        let len = fragment.bytes.len();
        if len == 0 || fragment.end() > LEN_MAX || fragment.more && !len.is_multiple_of(8) {
            return Fate::Refused(IMPOSSIBLE);
        }
        let number = self.number(key, fragment.origin.time);
        let Some(partial) = self.packets.get_mut(&number) else {
            return Fate::Refused(IMPOSSIBLE);
        };
        if partial.is_refused {
            return Fate::Refused(OVERLAP);
        }
        // RFC 8200, section 4.5: an exact duplicate, which a network may make, contradicts nothing.
        if partial.has(&fragment) {
            return Fate::Held;
        }
        if partial.contradicts(&fragment) {
            partial.is_refused = true;
            self.held -= partial.abandon(Some(OVERLAP), &mut self.abandoned);
            return Fate::Refused(OVERLAP);
        }
        partial.insert(fragment);
        self.held += len + FRAGMENT_COST;
        if partial.end == Some(partial.len) {
            return self.complete(number);
        }
        while self.held > MEMORY_MAX {
            self.abandon_oldest();
        }
        Fate::Held
    }

    /// What has been given up since this was last asked.
    pub(super) fn take_abandoned(&mut self) -> Vec<Abandoned> {
        std::mem::take(&mut self.abandoned)
    }

    /// Gives up all.
    pub(super) fn abandon_all(&mut self) {
        while !self.packets.is_empty() {
            self.abandon_oldest();
        }
    }

    /// An estimate of the memory that the fragments take.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The number of the packet with this key, which is a new one if there is none.
    fn number(&mut self, key: Key, now: Option<i128>) -> u64 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.next_number;
        self.next_number += 1;
        let key = Rc::new(key);
        self.numbers.insert(key.clone(), number);
        self.held += PACKET_COST;
        let partial = Partial {
            key,
            since: now,
            fragments: BTreeMap::new(),
            len: 0,
            end: None,
            is_refused: false,
        };
        self.packets.insert(number, partial);
        number
    }

    fn complete(&mut self, number: u64) -> Fate {
        let Some(partial) = self.remove(number) else { return Fate::Held };
        let mut whole = BytesMut::with_capacity(partial.len);
        for fragment in partial.fragments.values() {
            whole.extend_from_slice(&fragment.bytes);
        }
        let mut frames: Vec<u64> =
            partial.fragments.values().map(|fragment| fragment.origin.frame).collect();
        frames.sort_unstable();
        let first = partial.fragments.values().next();
        let protocol = first.map_or(0, |fragment| fragment.protocol);
        Fate::Complete { protocol, bytes: whole.freeze(), frames }
    }

    /// Gives up packets that have waited for too long.
    pub(super) fn expire(&mut self, now: Option<i128>) {
        let is_old = |partial: &Partial| {
            let age = now.zip(partial.since).map(|(now, since)| now.saturating_sub(since));
            age.is_some_and(|age| age > PATIENCE)
        };
        while self.packets.first_key_value().is_some_and(|(_, partial)| is_old(partial)) {
            self.abandon_oldest();
        }
    }

    fn abandon_oldest(&mut self) {
        let oldest = self.packets.first_key_value().map(|(number, _)| *number);
        if let Some(mut partial) = oldest.and_then(|number| self.remove(number)) {
            partial.abandon(None, &mut self.abandoned);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Partial> {
        let partial = self.packets.remove(&number)?;
        self.numbers.remove(&partial.key);
        self.held -= PACKET_COST + partial.cost();
        Some(partial)
    }
}

impl Partial {
    /// The memory that the fragments take.
    fn cost(&self) -> usize {
        self.len + self.fragments.len() * FRAGMENT_COST
    }

    /// Whether the same fragment is here.
    fn has(&self, fragment: &Fragment) -> bool {
        self.fragments
            .get(&fragment.offset)
            .is_some_and(|here| here.bytes == fragment.bytes && here.more == fragment.more)
    }

    /// Whether a byte of it is here, or it is behind the end, or it makes an end before what is here.
    fn contradicts(&self, fragment: &Fragment) -> bool {
        let before = self.fragments.range(..=fragment.offset).next_back();
        let after = self.fragments.range(fragment.offset..).next();
        let last = self.fragments.values().next_back();
        let overlaps = before.is_some_and(|(_, here)| here.end() > fragment.offset)
            || after.is_some_and(|(start, _)| *start < fragment.end());
        let other_end = match (self.end, fragment.more) {
            (Some(end), true) => fragment.end() > end,
            (Some(_), false) => true,
            (None, true) => false,
            (None, false) => last.is_some_and(|here| here.end() >= fragment.end()),
        };
        overlaps || other_end
    }

    fn insert(&mut self, mut fragment: Fragment) {
        // A slice would hold the whole frame in memory.
        fragment.bytes = Bytes::copy_from_slice(&fragment.bytes);
        if !fragment.more {
            self.end = Some(fragment.end());
        }
        self.len += fragment.bytes.len();
        self.fragments.insert(fragment.offset, fragment);
    }

    /// Hands all fragments over, in the order of the file, and says how much memory they took.
    fn abandon(&mut self, problem: Option<&'static str>, to: &mut Vec<Abandoned>) -> usize {
        let cost = self.cost();
        let mut fragments: Vec<Fragment> =
            std::mem::take(&mut self.fragments).into_values().collect();
        self.len = 0;
        fragments.sort_by_key(|fragment| fragment.origin.frame);
        to.extend(fragments.into_iter().map(|fragment| Abandoned {
            extent: fragment.extent(),
            origin: fragment.origin,
            path: self.key.path.clone(),
            protocol: fragment.protocol,
            bytes: fragment.bytes,
            problem,
        }));
        cost
    }
}
