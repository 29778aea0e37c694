//! From fragments to messages in the order of their streams (RFC 9260, sections 6.6 and 6.9).

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use usctp_chunk::{DataHead, Ppid, Sequence, Ssn, StreamId};

use super::copies::{ALLOCATION, Copies, Kept, Payload};
use super::inbox::Inbox;
use crate::message::Received;
use crate::ssns::NextSsns;

/// Holds what cannot be delivered yet.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// Fragments with consecutive TSNs, by the number of the first one.
    runs: BTreeMap<u64, Run>,
    /// Whole ordered messages ahead of their turn, whatever their stream.
    early: BTreeMap<(StreamId, u16), Early>,
    /// The streams on which a message is being delivered in parts.
    partial: BTreeMap<StreamId, Partial>,
    next: NextSsns,
    /// Bytes of memory for all of these but `next`.
    bytes: usize,
    /// What of these cannot be thrown away, because it lies at or before the Cumulative TSN, as far as that was looked at.
    stuck: usize,
    /// An empty queue for the parts of the next message, so that none is asked for.
    spare: VecDeque<Bytes>,
}

/// The peer broke a rule that makes messages impossible to put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contradiction(pub(crate) &'static str);

#[derive(Debug)]
struct Run {
    last: u64,
    piece: Piece,
    /// Some of the message went to the application already: the rest follows part by part.
    partial: bool,
    /// The payload of the first fragment, which most runs of a hostile peer consist of, and of the others.
    first: Bytes,
    rest: VecDeque<Bytes>,
    /// Bytes of memory for all this.
    cost: usize,
}

/// What part of which message a fragment is, or a run of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    kind: Kind,
    begins: bool,
    ends: bool,
}

/// What a message is known by. It is told by the first fragment: TSNs alone say which fragments belong together (RFC 9260,
/// 3.3.1). Those of a message MUST have the same stream and SSN, but no receiver has to check, and kernels do not abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    stream: StreamId,
    ssn: Ssn,
    ppid: Ppid,
    unordered: bool,
}

/// A whole message.
#[derive(Debug)]
struct Whole {
    kind: Kind,
    tsns: Span,
    payload: Kept,
}

/// The TSNs of a message, as numbers that never wrap.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u64,
    last: u64,
}

#[derive(Debug)]
struct Early {
    ppid: Ppid,
    payload: Bytes,
    tsns: Span,
    cost: u32,
}

#[derive(Debug, Default)]
struct Partial {
    /// The message is an ordered one.
    ordered: bool,
    /// Unordered messages that wait for its end, with the memory of their payload.
    held: Vec<(Received, usize)>,
}

impl Reassembly {
    /// Bytes held back, with the cost of holding them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that stay for as long as the association does, because its streams were used.
    pub(crate) fn lasting(&self) -> usize {
        self.next.memory()
    }

    /// Takes a fragment in and delivers what it completes; `index` is its TSN as a number that never wraps, `cumulative` the
    /// Cumulative TSN.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        (index, cumulative): (u64, u64),
        head: DataHead,
        payload: Payload<'_>,
        copies: &mut Copies,
        inbox: &mut Inbox,
    ) -> Result<(), Contradiction> {
        let Sequence::Ssn(ssn) = head.sequence else {
            return Err(Contradiction("I-DATA without having agreed on it"));
        };
        let unordered = head.flags.unordered;
        let kind = Kind { stream: head.stream, ssn, ppid: head.ppid, unordered };
        if !head.flags.beginning || !head.flags.ending {
            let piece = Piece { kind, begins: head.flags.beginning, ends: head.flags.ending };
            return self.insert_fragment((index, cumulative), piece, payload, inbox);
        }
        if self.takes_turn(kind) {
            let Kept { bytes, memory } = copies.keep(payload);
            inbox.push(kind.message(bytes, false), memory);
            return Ok(());
        }
        let tsns = Span { first: index, last: index };
        self.complete(Whole { kind, tsns, payload: payload.hold() }, cumulative, inbox)
    }

    /// Whether a whole message is the next of its stream while nothing waits: then its turn is over with that.
    #[inline]
    fn takes_turn(&mut self, kind: Kind) -> bool {
        self.early.is_empty()
            && self.partial.is_empty()
            && (kind.unordered || self.next.take_if_next(kind.stream, kind.ssn))
    }

    fn insert_fragment(
        &mut self,
        (index, cumulative): (u64, u64),
        piece: Piece,
        payload: Payload<'_>,
        inbox: &mut Inbox,
    ) -> Result<(), Contradiction> {
        let first = self.place(index, piece, payload)?;
        let Some(run) = self.runs.get(&first) else { return Ok(()) };
        if run.partial {
            self.deliver_part(first, inbox);
            return Ok(());
        }
        if !run.piece.begins || !run.piece.ends {
            return Ok(());
        }
        let Some(mut run) = self.runs.remove(&first) else { return Ok(()) };
        self.bytes -= run.cost;
        let (tsns, kind) = (Span { first, last: run.last }, run.piece.kind);
        let payload = run.take_payload();
        run.rest.clear();
        if run.rest.capacity() <= SPARE_MAX {
            self.spare = run.rest;
        }
        self.complete(Whole { kind, tsns, payload }, cumulative, inbox)
    }

    /// RFC 9260, 6.9: begins to deliver a message in parts because the buffer cannot hold it whole.
    /// Whether there is one whose turn it is.
    pub(crate) fn begin_partial_delivery(&mut self, inbox: &mut Inbox) -> bool {
        let in_turn = |kind: &Kind| {
            // One message of a stream at a time, so that parts of two are never mixed.
            !self.partial.contains_key(&kind.stream)
                && (kind.unordered || kind.ssn == self.next.of(kind.stream))
        };
        let ready = |run: &Run| run.piece.begins && !run.partial && in_turn(&run.piece.kind);
        let Some(&first) = self.runs.iter().find(|(_, run)| ready(run)).map(|(first, _)| first)
        else {
            return false;
        };
        let Some(run) = self.runs.get_mut(&first) else { return false };
        run.partial = true;
        let Kind { stream, unordered, .. } = run.piece.kind;
        self.partial.insert(stream, Partial { ordered: !unordered, held: Vec::new() });
        self.deliver_part(first, inbox);
        true
    }

    /// The streams on which a message was being delivered in parts.
    pub(crate) fn partial_streams(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.partial.keys().copied()
    }

    /// Delivers what has come since of a message that is delivered in parts.
    fn deliver_part(&mut self, first: u64, inbox: &mut Inbox) {
        let Some(run) = self.runs.get_mut(&first) else { return };
        let Kept { bytes, memory } = run.take_payload();
        let (kind, more) = (run.piece.kind, !run.piece.ends);
        inbox.push(kind.message(bytes, more), memory);
        self.bytes -= std::mem::replace(&mut run.cost, RUN) - RUN;
        if more {
            return;
        }
        self.runs.remove(&first);
        self.bytes -= RUN;
        let held = self.partial.remove(&kind.stream).unwrap_or_default().held;
        for (message, memory) in held {
            self.bytes -= HELD + memory;
            inbox.push(message, memory);
        }
        if !kind.unordered {
            self.next.set(kind.stream, kind.ssn.next());
        }
        // Whatever it was that came in parts, messages in their turn had to wait for its end.
        self.release(kind.stream, inbox);
    }

    /// Puts a fragment where it belongs and says where the run begins that it is a part of.
    fn place(
        &mut self,
        index: u64,
        piece: Piece,
        payload: Payload<'_>,
    ) -> Result<u64, Contradiction> {
        // Most fragments come in their order: they end the run before them, and nothing is behind.
        if !self.runs.contains_key(&(index + 1))
            && let Some((&first, before)) = self.runs.range_mut(..index).next_back()
            && before.last + 1 == index
            && before.piece.goes_on_with(piece)?
        {
            before.last = index;
            before.piece.ends = piece.ends;
            // What is put together at once is copied there, and held by nobody.
            let leaves = before.partial || before.piece.begins && piece.ends;
            let Kept { bytes, memory } = if leaves { payload.lend() } else { payload.hold() };
            before.cost += PART + memory;
            self.bytes += PART + memory;
            if before.rest.capacity() == 0 {
                before.rest = std::mem::take(&mut self.spare);
            }
            before.rest.push_back(bytes);
            return Ok(first);
        }
        let Kept { bytes, memory } = payload.hold();
        let cost = RUN + memory;
        self.bytes += cost;
        let rest = VecDeque::new();
        self.join(index, Run { last: index, piece, partial: false, first: bytes, rest, cost })
    }

    /// Joins a run with its neighbours and says where the result begins.
    fn join(&mut self, index: u64, mut run: Run) -> Result<u64, Contradiction> {
        if let Some(behind) = self.runs.remove(&(index + 1)) {
            if run.piece.goes_on_with(behind.piece)? {
                self.bytes -= run.append(behind);
            } else {
                self.runs.insert(index + 1, behind);
            }
        }
        if let Some((&first, before)) = self.runs.range_mut(..index).next_back()
            && before.last + 1 == index
            && before.piece.goes_on_with(run.piece)?
        {
            self.bytes -= before.append(run);
            return Ok(first);
        }
        self.runs.insert(index, run);
        Ok(index)
    }

    /// Delivers a whole message, or keeps it until its turn comes.
    fn complete(
        &mut self,
        Whole { kind, tsns, payload: Kept { bytes, memory } }: Whole,
        cumulative: u64,
        inbox: &mut Inbox,
    ) -> Result<(), Contradiction> {
        let Kind { stream, ssn, ppid, unordered } = kind;
        let in_parts = self.partial.get_mut(&stream);
        if unordered {
            match in_parts {
                Some(partial) => {
                    self.bytes += HELD + memory;
                    partial.held.push((kind.message(bytes, false), memory));
                }
                None => inbox.push(kind.message(bytes, false), memory),
            }
            return Ok(());
        }
        let next = self.next.of(stream);
        if ssn == next {
            match in_parts {
                None => {
                    inbox.push(kind.message(bytes, false), memory);
                    self.next.set(stream, next.next());
                    self.release(stream, inbox);
                    return Ok(());
                }
                Some(partial) if partial.ordered => return Err(USED_AGAIN),
                Some(_) => {}
            }
        }
        // RFC 9260, 6.5: every message between the next one and this has a TSN of its own, behind the Cumulative TSN. There
        // may be more than 32,767 of them, so that the SSN alone does not say what is before and what is behind.
        let between = u64::from(ssn.since(next));
        if ssn.is_before(next) && between >= tsns.first.saturating_sub(cumulative) {
            return Err(USED_AGAIN);
        }
        let cost = EARLY + memory;
        self.bytes += cost;
        // A message is smaller than the receive buffer, which is at most 2^30 bytes.
        let early = Early { ppid, payload: bytes, tsns, cost: cost as u32 };
        match self.early.insert((stream, ssn.value()), early) {
            None => Ok(()),
            Some(_) => Err(USED_AGAIN),
        }
    }

    /// Delivers the messages whose turn has come.
    fn release(&mut self, stream: StreamId, inbox: &mut Inbox) {
        let mut next = self.next.of(stream);
        while let Some(early) = self.early.remove(&(stream, next.value())) {
            let Early { ppid, payload, cost, .. } = early;
            self.bytes -= cost as usize;
            let kind = Kind { stream, ssn: next, ppid, unordered: false };
            inbox.push(kind.message(payload, false), cost as usize - EARLY);
            next = next.next();
        }
        self.next.set(stream, next);
    }

    /// Bytes that throwing away what lies behind the Cumulative TSN may give back.
    pub(crate) fn spare(&self) -> usize {
        self.bytes.saturating_sub(self.stuck)
    }

    /// Throws away what lies behind the Cumulative TSN and was not delivered: the TSNs of it, in order, and how many bytes
    /// of payload that was.
    pub(crate) fn renege(&mut self, cumulative: u64) -> (Vec<(u64, u64)>, usize) {
        let (mut gone, mut payload) = (Vec::new(), 0);
        for (first, run) in self.runs.split_off(&(cumulative + 1)) {
            self.bytes -= run.cost;
            payload += run.len();
            gone.push((first, run.last));
        }
        self.early.retain(|_, early| {
            let stays = early.tsns.first <= cumulative;
            if !stays {
                self.bytes -= early.cost as usize;
                payload += early.payload.len();
                gone.push((early.tsns.first, early.tsns.last));
            }
            stays
        });
        self.stuck = self.bytes;
        gone.sort_unstable();
        (gone, payload)
    }
}

impl Kind {
    #[inline]
    fn message(self, payload: Bytes, more: bool) -> Received {
        let Self { stream, ppid, unordered, .. } = self;
        Received { stream, ppid, unordered, more, payload }
    }
}

impl Piece {
    /// Whether `next`, whose TSNs follow directly, belongs to the same message (RFC 9260, 6.9).
    fn goes_on_with(self, next: Self) -> Result<bool, Contradiction> {
        match (self.ends, next.begins) {
            (true, true) => Ok(false),
            (false, false) => Ok(true),
            (true, false) => Err(Contradiction("a fragment follows the end of a message")),
            (false, true) => Err(Contradiction("a message begins within another one")),
        }
    }
}

impl Run {
    /// Bytes of payload.
    fn len(&self) -> usize {
        self.first.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }

    /// Takes the payload of all fragments out.
    fn take_payload(&mut self) -> Kept {
        let first = std::mem::take(&mut self.first);
        if self.rest.is_empty() {
            return Kept { bytes: first, memory: self.cost - RUN };
        }
        let len = first.len() + self.len();
        let mut whole = BytesMut::with_capacity(len);
        whole.extend_from_slice(&first);
        for part in self.rest.drain(..) {
            whole.extend_from_slice(&part);
        }
        Kept { bytes: whole.freeze(), memory: len + ALLOCATION }
    }

    /// Appends a run that follows. The fewer parts join the more, so that a peer that sends its fragments last first gains
    /// nothing by it. How many bytes less the two cost together than apart.
    fn append(&mut self, mut next: Run) -> usize {
        self.last = next.last;
        self.piece.ends = next.piece.ends;
        self.cost += next.cost - RUN + PART;
        if next.rest.len() <= self.rest.len() {
            #[cfg(test)]
            tests::MOVED.set(tests::MOVED.get() + 1 + next.rest.len());
            self.rest.push_back(next.first);
            self.rest.append(&mut next.rest);
            return RUN - PART;
        }
        std::mem::swap(&mut self.rest, &mut next.rest);
        #[cfg(test)]
        tests::MOVED.set(tests::MOVED.get() + 1 + next.rest.len());
        self.rest.push_front(next.first);
        for part in next.rest.into_iter().rev() {
            self.rest.push_front(part);
        }
        RUN - PART
    }
}

const USED_AGAIN: Contradiction = Contradiction("a stream sequence number was used again");
/// A queue for more parts than this is not kept for the next message.
const SPARE_MAX: usize = 64;
// The nodes of a tree are half full at least, and so are queues that grow.
const RUN: usize = 2 * (size_of::<u64>() + size_of::<Run>());
const EARLY: usize = 2 * (size_of::<(StreamId, u16)>() + size_of::<Early>());
const PART: usize = 2 * size_of::<Bytes>();
const HELD: usize = 2 * size_of::<(Received, usize)>();

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use usctp_chunk::{Data, DataFlags, Tsn};

    use super::super::copies::SHARED;
    use super::super::inbox::ENTRY;
    use super::*;

    thread_local! {
        /// How many parts were moved from one run to another.
        pub(super) static MOVED: Cell<usize> = const { Cell::new(0) };
    }

    impl Reassembly {
        fn take(&mut self, index: u64, data: Data, inbox: &mut Inbox) -> Result<(), Contradiction> {
            // Nothing is missing before it, as far as the tests go that do not say otherwise.
            self.take_behind(index.saturating_sub(1), index, data, inbox)
        }

        fn take_behind(
            &mut self,
            cumulative: u64,
            index: u64,
            data: Data,
            inbox: &mut Inbox,
        ) -> Result<(), Contradiction> {
            let payload = Payload { packet: &data.payload, bytes: &data.payload };
            let place = (index, cumulative);
            self.insert(place, data.head(), payload, &mut Copies::default(), inbox)
        }
    }

    fn data(index: u64, ssn: u16, beginning: bool, ending: bool, text: &'static str) -> Data {
        Data {
            tsn: Tsn::new(index as u32),
            stream: StreamId(1),
            sequence: Sequence::Ssn(Ssn::new(ssn)),
            ppid: Ppid(7),
            flags: DataFlags { immediate: false, unordered: false, beginning, ending },
            payload: Bytes::from_static(text.as_bytes()),
        }
    }

    fn delivered(inbox: &mut Inbox) -> Vec<String> {
        std::iter::from_fn(|| inbox.pop())
            .map(|(message, _)| String::from_utf8(message.payload.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn fragments_in_any_order_make_the_message_once_the_last_one_is_there() {
        let parts = [
            (1, true, false, "a"),
            (2, false, false, "b"),
            (3, false, false, "c"),
            (4, false, true, "d"),
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
            for (n, at) in order.into_iter().enumerate() {
                assert!(n == 3 || inbox.pop().is_none());
                let (index, b, e, text) = parts[at];
                reassembly.take(index, data(index, 0, b, e, text), &mut inbox).unwrap();
            }
            assert_eq!(delivered(&mut inbox), ["abcd"]);
            assert_eq!(reassembly.bytes(), 0);
        }
    }

    #[test]
    fn ordered_messages_wait_for_their_turn_across_the_wrap() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.next.set(StreamId(1), Ssn::new(65_535));
        reassembly.take(3, data(3, 1, true, true, "third"), &mut inbox).unwrap();
        reassembly.take(2, data(2, 0, true, true, "second"), &mut inbox).unwrap();
        assert!(inbox.pop().is_none());
        assert!(reassembly.bytes() > 0);
        reassembly.take(1, data(1, 65_535, true, true, "first"), &mut inbox).unwrap();
        assert_eq!(delivered(&mut inbox), ["first", "second", "third"]);
        assert_eq!(reassembly.bytes(), 0);
    }

    #[test]
    fn a_message_too_large_to_hold_comes_in_parts_and_nothing_of_its_stream_between() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.take(1, data(1, 0, true, false, "a"), &mut inbox).unwrap();
        reassembly.take(2, data(2, 0, false, false, "b"), &mut inbox).unwrap();
        assert!(reassembly.begin_partial_delivery(&mut inbox));
        assert_eq!(reassembly.bytes(), RUN, "that it goes on is remembered");
        let mut unordered = data(9, 0, true, true, "unordered");
        unordered.flags.unordered = true;
        reassembly.take(9, unordered, &mut inbox).unwrap();
        reassembly.take(5, data(5, 1, true, true, "next"), &mut inbox).unwrap();
        reassembly.take(4, data(4, 0, false, true, "d"), &mut inbox).unwrap();
        reassembly.take(3, data(3, 0, false, false, "c"), &mut inbox).unwrap();
        let parts: Vec<_> = std::iter::from_fn(|| inbox.pop())
            .map(|(m, _)| (String::from_utf8(m.payload.to_vec()).unwrap(), m.more))
            .collect();
        let expected = [("ab", true), ("cd", false), ("unordered", false), ("next", false)];
        assert_eq!(parts, expected.map(|(text, more)| (text.to_owned(), more)));
        assert_eq!(reassembly.bytes(), 0);
    }

    #[test]
    fn ordered_messages_that_waited_for_an_unordered_one_in_parts_follow_its_end() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        let unordered = |tsn, begins, ends, text| {
            let mut data = data(tsn, 0, begins, ends, text);
            data.flags.unordered = true;
            data
        };
        reassembly.take(1, unordered(1, true, false, "a"), &mut inbox).unwrap();
        assert!(reassembly.begin_partial_delivery(&mut inbox));
        reassembly.take(3, data(3, 0, true, true, "first"), &mut inbox).unwrap();
        reassembly.take(4, data(4, 1, true, true, "second"), &mut inbox).unwrap();
        assert_eq!(delivered(&mut inbox), ["a"]);
        reassembly.take(2, unordered(2, false, true, "b"), &mut inbox).unwrap();
        assert_eq!(delivered(&mut inbox), ["b", "first", "second"]);
        assert_eq!(reassembly.bytes(), 0);
    }

    #[test]
    fn fragments_that_come_last_first_or_halves_first_move_few_others() {
        const COUNT: u64 = 60_000;
        let forward = (0..COUNT).collect::<Vec<_>>();
        let backward = (0..COUNT).rev().collect();
        let evens_first = (0..COUNT).step_by(2).chain((1..COUNT).step_by(2)).collect();
        for order in [forward, backward, evens_first] {
            let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
            MOVED.set(0);
            for tsn in order {
                let fragment = data(tsn, 0, false, false, "x");
                reassembly.take(tsn, fragment, &mut inbox).unwrap();
            }
            // One for each fragment that joins, and not the square of it.
            assert!(MOVED.get() <= 2 * COUNT as usize, "{} were moved", MOVED.get());
        }
    }

    #[test]
    fn parts_of_two_messages_of_a_stream_are_never_mixed() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.take(1, data(1, 0, true, false, "ordered"), &mut inbox).unwrap();
        assert!(reassembly.begin_partial_delivery(&mut inbox));
        let mut other = data(5, 0, true, false, "unordered");
        other.flags.unordered = true;
        reassembly.take(5, other, &mut inbox).unwrap();
        assert!(!reassembly.begin_partial_delivery(&mut inbox));
        assert_eq!(delivered(&mut inbox), ["ordered"]);
    }

    #[test]
    fn a_message_with_the_number_of_one_that_comes_in_parts_is_a_contradiction() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.take(1, data(1, 0, true, false, "begun"), &mut inbox).unwrap();
        assert!(reassembly.begin_partial_delivery(&mut inbox));
        let again = reassembly.take(5, data(5, 0, true, true, "again"), &mut inbox);
        assert_eq!(again, Err(USED_AGAIN));
    }

    #[test]
    fn only_a_message_whose_turn_it_is_is_delivered_in_parts() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.take(5, data(5, 1, true, false, "later"), &mut inbox).unwrap();
        reassembly.take(2, data(2, 0, false, false, "no beginning"), &mut inbox).unwrap();
        assert!(!reassembly.begin_partial_delivery(&mut inbox));
        assert!(inbox.pop().is_none());
    }

    #[test]
    fn fragments_that_contradict_each_other_are_found() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.take(1, data(1, 0, true, false, "a"), &mut inbox).unwrap();
        assert!(reassembly.take(2, data(2, 0, true, false, "b"), &mut inbox).is_err());
        let mut reassembly = Reassembly::default();
        reassembly.take(2, data(2, 0, false, true, "b"), &mut inbox).unwrap();
        assert!(reassembly.take(3, data(3, 0, false, true, "c"), &mut inbox).is_err());
    }

    #[test]
    fn the_first_fragment_says_what_a_message_is_whatever_the_others_say() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
            let fragments = [
                data(1, 0, true, false, "a"),
                Data { ppid: Ppid(8), ..data(2, 7, false, false, "b") },
                Data { stream: StreamId(2), ..data(3, 1, false, true, "c") },
            ];
            for at in order {
                let fragment = fragments[at].clone();
                reassembly.take(at as u64 + 1, fragment, &mut inbox).unwrap();
            }
            let (whole, _) = inbox.pop().unwrap();
            assert_eq!(
                (whole.stream, whole.ppid, &whole.payload[..]),
                (StreamId(1), Ppid(7), &b"abc"[..])
            );
            reassembly.take(4, data(4, 1, true, true, "next"), &mut inbox).unwrap();
            assert_eq!(delivered(&mut inbox), ["next"]);
            assert_eq!(reassembly.bytes(), 0);
        }
    }

    #[test]
    fn more_than_half_of_all_numbers_of_a_stream_may_wait_behind_a_gap() {
        const COUNT: u64 = 65_535;
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.next.set(StreamId(1), Ssn::new(40_000));
        let message = |tsn| data(tsn, 40_000u16.wrapping_add(tsn as u16 - 1), true, true, "x");
        // The first TSN is missing all the time.
        for tsn in 2..=COUNT {
            reassembly.take_behind(0, tsn, message(tsn), &mut inbox).unwrap();
        }
        // One that was used, and not as long ago as TSNs are missing, is none of them.
        let used = data(COUNT + 1, 39_999, true, true, "used");
        assert_eq!(reassembly.take_behind(0, COUNT, used, &mut inbox), Err(USED_AGAIN));
        assert!(inbox.pop().is_none());
        reassembly.take_behind(COUNT, 1, message(1), &mut inbox).unwrap();
        assert_eq!(delivered(&mut inbox).len() as u64, COUNT);
        assert_eq!(reassembly.bytes(), 0);
    }

    #[test]
    fn a_message_holds_what_it_came_in_and_no_more_once_it_is_put_together() {
        // Each is the whole of its packet, so that it is kept as it is; what is put together is a copy.
        const PIECE: usize = 1 + SHARED;
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        reassembly.take(1, data(1, 0, true, false, "a"), &mut inbox).unwrap();
        assert_eq!(reassembly.bytes(), RUN + PIECE);
        reassembly.take(2, data(2, 0, false, false, "b"), &mut inbox).unwrap();
        assert_eq!(reassembly.bytes(), RUN + PIECE + PART + PIECE);
        reassembly.take(3, data(3, 0, false, true, "c"), &mut inbox).unwrap();
        assert_eq!((reassembly.bytes(), inbox.bytes()), (0, ENTRY + 3 + ALLOCATION));
        // What waits for its turn costs the same as what does not.
        inbox.pop();
        reassembly.take(5, data(5, 2, true, true, "e"), &mut inbox).unwrap();
        assert_eq!((reassembly.bytes(), inbox.bytes()), (EARLY + PIECE, 0));
        reassembly.take(4, data(4, 1, true, true, "d"), &mut inbox).unwrap();
        assert_eq!((reassembly.bytes(), inbox.bytes()), (0, 2 * (ENTRY + PIECE)));
        // And so does what goes to the application before its end is there.
        delivered(&mut inbox);
        reassembly.take(6, data(6, 3, true, false, "f"), &mut inbox).unwrap();
        assert!(reassembly.begin_partial_delivery(&mut inbox));
        assert_eq!((reassembly.bytes(), inbox.bytes()), (RUN, ENTRY + PIECE));
    }

    #[test]
    fn what_grows_by_doubling_is_charged_at_least_for_the_room_that_it_has() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        // Five in queues of eight: parts of a message, and messages that wait for the end of another one.
        (1..=6).for_each(|n| _ = reassembly.take(n, data(n, 0, n == 1, false, "x"), &mut inbox));
        let run = reassembly.runs.get(&1).unwrap();
        let parts = run.cost - RUN - 6 * (1 + SHARED);
        assert!((1..=parts).contains(&(run.rest.capacity() * size_of::<Bytes>())), "{parts}");
        assert!(reassembly.begin_partial_delivery(&mut inbox));
        let before = reassembly.bytes();
        for n in 11..=15 {
            let mut message = data(n, 0, true, true, "x");
            message.flags.unordered = true;
            reassembly.take(n, message, &mut inbox).unwrap();
        }
        let held = reassembly.bytes() - before - 5 * (1 + SHARED);
        let room = reassembly.partial[&StreamId(1)].held.capacity();
        assert!((1..=held).contains(&(room * size_of::<(Received, usize)>())), "{held}");
    }

    #[test]
    fn a_queue_is_kept_for_the_parts_of_the_next_message_unless_it_is_long() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        for (index, end, kept) in [(1, 3, true), (4, 1_000, false), (1_001, 1_003, true)] {
            reassembly.spare = VecDeque::new();
            for index in index..=end {
                let (first, last) = (index % 1_000 == 1 || index == 4, index == end);
                reassembly.take(index, data(index, 0, first, last, "x"), &mut inbox).unwrap();
                reassembly.next.set(StreamId(1), Ssn::default());
            }
            let spare = reassembly.spare.capacity();
            assert_eq!((1..=SPARE_MAX).contains(&spare), kept, "{end}: {spare}");
        }
    }

    #[test]
    fn what_is_reneged_on_lies_behind_the_cumulative_tsn_and_is_taken_anew() {
        let (mut reassembly, mut inbox) = (Reassembly::default(), Inbox::default());
        // TSN 1 begins a message; 3 and 4 wait for it, 4 to 5 for their rest.
        let pieces = [
            data(1, 0, true, false, "a"),
            data(3, 1, true, true, "early"),
            data(5, 2, true, false, "b"),
            data(6, 2, false, false, "c"),
        ];
        for piece in &pieces {
            let index = piece.tsn.value().into();
            reassembly.take_behind(1, index, piece.clone(), &mut inbox).unwrap();
        }
        let kept = RUN + 1 + SHARED;
        assert_eq!(reassembly.renege(1), (vec![(3, 3), (5, 6)], 7));
        assert_eq!(reassembly.bytes(), kept);
        for piece in [&pieces[1], &pieces[2], &pieces[3], &data(7, 2, false, true, "d")] {
            let index = piece.tsn.value().into();
            reassembly.take_behind(1, index, piece.clone(), &mut inbox).unwrap();
        }
        reassembly.take_behind(7, 2, data(2, 0, false, true, "z"), &mut inbox).unwrap();
        assert_eq!(delivered(&mut inbox), ["az", "early", "bcd"]);
        assert_eq!(reassembly.bytes(), 0);
    }
}
