//! From fragments to messages in the order of their streams (RFC 9260, sections 6.6 and 6.9).

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use usctp_chunk::{DataHead, Ppid, Sequence, Ssn, StreamId};

use super::inbox::{Inbox, cost};
use crate::message::Received;

/// Holds what cannot be delivered yet.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// Fragments with consecutive TSNs, by the number of the first one.
    runs: BTreeMap<u64, Run>,
    /// The SSN of each stream's next ordered message, as far as streams were used.
    next_ssns: Vec<Ssn>,
    /// The streams on which something had to wait.
    streams: BTreeMap<StreamId, Stream>,
    bytes: usize,
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
    parts: VecDeque<Bytes>,
}

/// What part of which message a fragment is, or a run of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    kind: Kind,
    begins: bool,
    ends: bool,
}

/// What all fragments of a message have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    stream: StreamId,
    ssn: Ssn,
    ppid: Ppid,
    unordered: bool,
}

#[derive(Debug, Default)]
struct Stream {
    /// Whole messages ahead of their turn.
    early: BTreeMap<u16, Received>,
    /// A message of the stream is being delivered in parts; unordered ones wait for its end.
    partial: bool,
    held: Vec<Received>,
}

impl Reassembly {
    /// Bytes held back, with the cost of holding them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a fragment in and delivers what it completes; `index` is its TSN as a number that never wraps.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        index: u64,
        head: DataHead,
        payload: Bytes,
        inbox: &mut Inbox,
    ) -> Result<(), Contradiction> {
        let Sequence::Ssn(ssn) = head.sequence else {
            return Err(Contradiction("I-DATA without having agreed on it"));
        };
        let unordered = head.flags.unordered;
        let kind = Kind { stream: head.stream, ssn, ppid: head.ppid, unordered };
        if head.flags.beginning && head.flags.ending {
            return self.complete(kind, payload, inbox);
        }
        let piece = Piece { kind, begins: head.flags.beginning, ends: head.flags.ending };
        self.insert_fragment(index, piece, payload, inbox)
    }

    fn insert_fragment(
        &mut self,
        index: u64,
        piece: Piece,
        payload: Bytes,
        inbox: &mut Inbox,
    ) -> Result<(), Contradiction> {
        self.bytes += cost(payload.len());
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
        self.bytes -= run.cost();
        let payload = concatenated(&run.parts);
        run.parts.clear();
        if run.parts.capacity() <= SPARE_MAX {
            self.spare = run.parts;
        }
        self.complete(run.piece.kind, payload, inbox)
    }

    /// RFC 9260, 6.9: begins to deliver a message in parts because the buffer cannot hold it whole.
    /// Whether there is one whose turn it is.
    pub(crate) fn begin_partial_delivery(&mut self, inbox: &mut Inbox) -> bool {
        let Self { streams, next_ssns, .. } = &*self;
        let in_turn = |kind: &Kind| {
            // One message of a stream at a time, so that parts of two are never mixed.
            let partial = streams.get(&kind.stream).is_some_and(|stream| stream.partial);
            !partial && (kind.unordered || kind.ssn == next_of(next_ssns, kind.stream))
        };
        let ready = |run: &Run| run.piece.begins && !run.partial && in_turn(&run.piece.kind);
        let Some(&first) = self.runs.iter().find(|(_, run)| ready(run)).map(|(first, _)| first)
        else {
            return false;
        };
        let Some(run) = self.runs.get_mut(&first) else { return false };
        run.partial = true;
        self.streams.entry(run.piece.kind.stream).or_default().partial = true;
        self.deliver_part(first, inbox);
        true
    }

    /// The streams on which a message was being delivered in parts.
    pub(crate) fn partial_streams(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.runs.values().filter(|run| run.partial).map(|run| run.piece.kind.stream)
    }

    /// Delivers what has come since of a message that is delivered in parts.
    fn deliver_part(&mut self, first: u64, inbox: &mut Inbox) {
        let Some(run) = self.runs.get_mut(&first) else { return };
        self.bytes -= run.cost();
        let payload = concatenated(&std::mem::take(&mut run.parts));
        let Kind { stream, ssn, ppid, unordered } = run.piece.kind;
        let more = !run.piece.ends;
        inbox.push(Received { stream, ppid, unordered, more, payload });
        if more {
            return;
        }
        self.runs.remove(&first);
        let state = self.streams.entry(stream).or_default();
        state.partial = false;
        for message in state.held.drain(..) {
            self.bytes -= cost(message.payload.len());
            inbox.push(message);
        }
        if !unordered {
            self.set_next(stream, ssn.next());
        }
        // Whatever it was that came in parts, messages in their turn had to wait for its end.
        self.release(stream, inbox);
    }

    /// Puts a fragment where it belongs and says where the run begins that it is a part of.
    fn place(&mut self, index: u64, piece: Piece, payload: Bytes) -> Result<u64, Contradiction> {
        // Most fragments come in their order: they end the run before them, and nothing is behind.
        if !self.runs.contains_key(&(index + 1))
            && let Some((&first, before)) = self.runs.range_mut(..index).next_back()
            && before.last + 1 == index
            && before.piece.goes_on_with(piece)?
        {
            before.last = index;
            before.piece.ends = piece.ends;
            before.parts.push_back(payload);
            return Ok(first);
        }
        let mut parts = std::mem::take(&mut self.spare);
        parts.push_back(payload);
        self.join(index, Run { last: index, piece, partial: false, parts })
    }

    /// Joins a run with its neighbours and says where the result begins.
    fn join(&mut self, index: u64, mut run: Run) -> Result<u64, Contradiction> {
        if let Some(behind) = self.runs.remove(&(index + 1)) {
            if run.piece.goes_on_with(behind.piece)? {
                run.append(behind);
            } else {
                self.runs.insert(index + 1, behind);
            }
        }
        if let Some((&first, before)) = self.runs.range_mut(..index).next_back()
            && before.last + 1 == index
            && before.piece.goes_on_with(run.piece)?
        {
            before.append(run);
            return Ok(first);
        }
        self.runs.insert(index, run);
        Ok(index)
    }

    #[inline]
    fn complete(
        &mut self,
        kind: Kind,
        payload: Bytes,
        inbox: &mut Inbox,
    ) -> Result<(), Contradiction> {
        let Kind { stream, ssn, ppid, unordered } = kind;
        let message = Received { stream, ppid, unordered, more: false, payload };
        if self.streams.is_empty() && (unordered || ssn == next_of(&self.next_ssns, stream)) {
            inbox.push(message);
            if !unordered {
                self.set_next(stream, ssn.next());
            }
            return Ok(());
        }
        self.complete_in_turn(ssn, message, inbox)
    }

    /// The same where messages may have to wait for others.
    fn complete_in_turn(
        &mut self,
        ssn: Ssn,
        message: Received,
        inbox: &mut Inbox,
    ) -> Result<(), Contradiction> {
        let stream = message.stream;
        let in_parts = self.streams.get_mut(&stream).filter(|stream| stream.partial);
        if message.unordered {
            match in_parts {
                Some(state) => {
                    self.bytes += cost(message.payload.len());
                    state.held.push(message);
                }
                None => inbox.push(message),
            }
            return Ok(());
        }
        let next = next_of(&self.next_ssns, stream);
        if ssn == next && in_parts.is_none() {
            inbox.push(message);
            self.set_next(stream, next.next());
            self.release(stream, inbox);
            return Ok(());
        }
        if ssn.is_before(next) {
            return Err(Contradiction("a stream sequence number was used again"));
        }
        self.bytes += cost(message.payload.len());
        match self.streams.entry(stream).or_default().early.insert(ssn.value(), message) {
            None => Ok(()),
            Some(_) => Err(Contradiction("a stream sequence number was used again")),
        }
    }

    /// Delivers the messages whose turn has come.
    fn release(&mut self, stream: StreamId, inbox: &mut Inbox) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let mut next = next_of(&self.next_ssns, stream);
        while let Some(message) = state.early.remove(&next.value()) {
            self.bytes -= cost(message.payload.len());
            inbox.push(message);
            next = next.next();
        }
        self.set_next(stream, next);
    }

    #[inline]
    fn set_next(&mut self, StreamId(stream): StreamId, next: Ssn) {
        let at = usize::from(stream);
        if at >= self.next_ssns.len() {
            self.next_ssns.resize(at + 1, Ssn::default());
        }
        if let Some(place) = self.next_ssns.get_mut(at) {
            *place = next;
        }
    }
}

#[inline]
fn next_of(next_ssns: &[Ssn], StreamId(stream): StreamId) -> Ssn {
    next_ssns.get(usize::from(stream)).copied().unwrap_or_default()
}

impl Piece {
    /// Whether `next`, whose TSNs follow directly, belongs to the same message.
    fn goes_on_with(self, next: Self) -> Result<bool, Contradiction> {
        match (self.ends, next.begins) {
            (true, true) => Ok(false),
            (false, false) if self.kind.agrees(next.kind) => Ok(true),
            (false, false) => {
                Err(Contradiction("fragments of a message differ in stream or order"))
            }
            (true, false) => Err(Contradiction("a fragment follows the end of a message")),
            (false, true) => Err(Contradiction("a message begins within another one")),
        }
    }
}

impl Run {
    fn cost(&self) -> usize {
        self.parts.iter().map(|part| cost(part.len())).sum()
    }

    /// The fewer parts join the more, so that a peer that sends its fragments last first gains nothing by it.
    fn append(&mut self, mut next: Run) {
        self.last = next.last;
        self.piece.ends = next.piece.ends;
        if next.parts.len() <= self.parts.len() {
            #[cfg(test)]
            tests::MOVED.set(tests::MOVED.get() + next.parts.len());
            self.parts.append(&mut next.parts);
            return;
        }
        std::mem::swap(&mut self.parts, &mut next.parts);
        #[cfg(test)]
        tests::MOVED.set(tests::MOVED.get() + next.parts.len());
        for part in next.parts.into_iter().rev() {
            self.parts.push_front(part);
        }
    }
}

impl Kind {
    /// RFC 9260, 6.6: the SSN of unordered fragments has no meaning. The PPID is the first fragment's.
    fn agrees(self, other: Kind) -> bool {
        self.stream == other.stream
            && self.unordered == other.unordered
            && (self.unordered || self.ssn == other.ssn)
    }
}

fn concatenated(parts: &VecDeque<Bytes>) -> Bytes {
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        whole.extend_from_slice(part);
    }
    whole.freeze()
}

/// A queue for more parts than this is not kept for the next message.
const SPARE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use usctp_chunk::{Data, DataFlags, Tsn};

    use super::*;

    thread_local! {
        /// How many parts were moved from one run to another.
        pub(super) static MOVED: Cell<usize> = const { Cell::new(0) };
    }

    impl Reassembly {
        fn take(&mut self, index: u64, data: Data, inbox: &mut Inbox) -> Result<(), Contradiction> {
            self.insert(index, data.head(), data.payload, inbox)
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
            .map(|message| String::from_utf8(message.payload.to_vec()).unwrap())
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
        reassembly.set_next(StreamId(1), Ssn::new(65_535));
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
        assert_eq!(reassembly.bytes(), 0);
        let mut unordered = data(9, 0, true, true, "unordered");
        unordered.flags.unordered = true;
        reassembly.take(9, unordered, &mut inbox).unwrap();
        reassembly.take(5, data(5, 1, true, true, "next"), &mut inbox).unwrap();
        reassembly.take(4, data(4, 0, false, true, "d"), &mut inbox).unwrap();
        reassembly.take(3, data(3, 0, false, false, "c"), &mut inbox).unwrap();
        let parts: Vec<_> = std::iter::from_fn(|| inbox.pop())
            .map(|m| (String::from_utf8(m.payload.to_vec()).unwrap(), m.more))
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
        reassembly.take(1, data(1, 0, true, false, "a"), &mut inbox).unwrap();
        assert!(reassembly.take(2, data(2, 1, false, true, "b"), &mut inbox).is_err());
        let mut reassembly = Reassembly::default();
        reassembly.take(2, data(2, 0, false, true, "b"), &mut inbox).unwrap();
        assert!(reassembly.take(3, data(3, 0, false, true, "c"), &mut inbox).is_err());
    }
}
