//! Messages that have no TSN yet, and the stream sequence numbers they will get.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use usctp_chunk::{Data, DataFlags, Sequence, Ssn, StreamId, Tsn};

use crate::message::Message;
use crate::ssns::NextSsns;

/// Messages in the order they were sent: first come, first served, whatever the stream.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Message>,
    /// The SSN of the message whose first fragment is gone and whose rest is at the front.
    begun: Option<Ssn>,
    next_ssns: NextSsns,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += cost(message.payload.len());
        self.queue.push_back(message);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes held, with the cost of holding them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of payload held.
    pub(crate) fn payload(&self) -> usize {
        self.bytes - self.queue.len() * ENTRY
    }

    /// The payload of the next DATA chunk, in bytes, where at most `limit` fit; `None` if nothing is left.
    pub(crate) fn next_len(&self, limit: usize) -> Option<usize> {
        self.queue.front().map(|message| message.payload.len().min(limit))
    }

    /// The payload of the next DATA chunk, in bytes, if a packet has room for `room` of them where at most `limit` fit; `None`
    /// if it is to begin another packet. What has to be cut anyway is cut so that it fills the packet, unless the piece
    /// would be small.
    pub(crate) fn next_cut(&self, limit: usize, room: usize) -> Option<usize> {
        let left = self.queue.front()?.payload.len();
        if left.min(limit) <= room {
            return Some(left.min(limit));
        }
        // RFC 9260, 6.2: there is no DATA without user data.
        (left > limit && room >= (limit / LEAST_PIECE).max(1)).then_some(room)
    }

    /// Whether the next DATA chunk would be a whole message, where at most `limit` bytes fit.
    pub(crate) fn next_is_whole(&self, limit: usize) -> bool {
        let fits = self.queue.front().is_some_and(|message| message.payload.len() <= limit);
        fits && self.begun.is_none()
    }

    /// The address that the next DATA chunk is to go to, if the application wants one.
    pub(crate) fn wanted(&self) -> Option<IpAddr> {
        self.queue.front()?.options.as_ref()?.destination
    }

    /// Whether the next DATA chunk may follow one that was wanted at this address: it goes there, too, and is not stale.
    pub(crate) fn next_goes_along(&self, wanted: Option<IpAddr>, now: Instant) -> bool {
        match self.queue.front().map(|message| &message.options) {
            // Nearly all messages ask for nothing.
            Some(None) => wanted.is_none(),
            _ => self.wanted() == wanted && !self.is_stale(now),
        }
    }

    /// Whether the next message must not wait for others.
    pub(crate) fn is_urgent(&self) -> bool {
        let options = self.queue.front().and_then(|message| message.options.as_ref());
        options.is_some_and(|options| options.unbundled)
    }

    /// Whether the lifetime of the next message is over and none of it was sent (RFC 9260, section 11.1.5).
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        let options = self.queue.front().and_then(|message| message.options.as_ref());
        let expires = options.and_then(|options| options.expires);
        expires.is_some_and(|expires| expires <= now) && self.begun.is_none()
    }

    /// Takes the next message out if it is stale.
    pub(crate) fn take_stale(&mut self, now: Instant) -> Option<Message> {
        if !self.is_stale(now) {
            return None;
        }
        let message = self.queue.pop_front()?;
        self.bytes -= cost(message.payload.len());
        Some(message)
    }

    /// The next message, whole, if the next DATA chunk is the first piece of it and not all of it.
    pub(crate) fn next_to_be_cut(&self, limit: usize) -> Option<Message> {
        let next = self.queue.front().filter(|message| message.payload.len() > limit)?;
        self.begun.is_none().then(|| next.clone())
    }

    /// Takes the next DATA chunk out, with at most `limit` bytes of payload (RFC 9260, section 6.9), and the context of its
    /// message. With `urgent` it asks to be acknowledged at once, whatever the message does.
    #[inline]
    pub(crate) fn next_chunk(
        &mut self,
        tsn: Tsn,
        limit: usize,
        urgent: bool,
    ) -> Option<(Data, u32)> {
        let message = self.queue.front_mut()?;
        if message.payload.len() > limit {
            return self.next_fragment(tsn, limit, urgent);
        }
        let message = self.queue.pop_front()?;
        let context = message.mark();
        let Message { stream, ppid, unordered, immediate, payload, .. } = message;
        self.bytes -= cost(payload.len());
        let begun = self.begun.take();
        let beginning = begun.is_none();
        let ssn = begun.unwrap_or_else(|| self.ssn(stream, unordered));
        let immediate = immediate || urgent;
        let flags = DataFlags { immediate, unordered, beginning, ending: true };
        Some((Data { tsn, stream, sequence: Sequence::Ssn(ssn), ppid, flags, payload }, context))
    }

    /// The same for a message of which more is left than fits.
    fn next_fragment(&mut self, tsn: Tsn, limit: usize, urgent: bool) -> Option<(Data, u32)> {
        let message = self.queue.front_mut()?;
        let context = message.mark();
        let payload = message.payload.split_to(limit);
        let (stream, ppid, unordered) = (message.stream, message.ppid, message.unordered);
        self.bytes -= payload.len();
        let beginning = self.begun.is_none();
        let ssn = self.begun.unwrap_or_else(|| self.ssn(stream, unordered));
        self.begun = Some(ssn);
        let flags = DataFlags { immediate: urgent, unordered, beginning, ending: false };
        Some((Data { tsn, stream, sequence: Sequence::Ssn(ssn), ppid, flags, payload }, context))
    }

    /// Everything left, for the application to be told that it was not sent.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Message> + '_ {
        self.bytes = 0;
        // What is left of a message that was begun is no message of the application's, which gets all of it back as one
        // that was sent.
        let skip = usize::from(self.begun.take().is_some());
        self.queue.drain(..).skip(skip)
    }

    /// Starts all streams anew, as a restart of the peer does; what is left of a begun message goes.
    pub(crate) fn restart(&mut self) {
        self.next_ssns.clear();
        if self.begun.take().is_some()
            && let Some(rest) = self.queue.pop_front()
        {
            self.bytes -= cost(rest.payload.len());
        }
    }

    /// Takes whole messages back that went before all others, as if none had ever had a number.
    pub(crate) fn take_back(&mut self, messages: Vec<Message>) {
        self.next_ssns.clear();
        self.bytes += messages.iter().map(|message| cost(message.payload.len())).sum::<usize>();
        for message in messages.into_iter().rev() {
            self.queue.push_front(message);
        }
    }

    /// Takes out the messages for streams that were not agreed on.
    pub(crate) fn take_beyond(&mut self, streams: u16) -> Vec<Message> {
        #[cfg(test)]
        SEARCHED.set(SEARCHED.get() + 1);
        let (kept, beyond): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|m| m.stream.0 < streams);
        self.queue = kept;
        self.bytes -= beyond.iter().map(|message| cost(message.payload.len())).sum::<usize>();
        beyond.into()
    }

    /// RFC 9260, 6.5: one number for each ordered message, the same for all its fragments; none is used
    /// up by unordered messages.
    fn ssn(&mut self, stream: StreamId, unordered: bool) -> Ssn {
        if unordered { Ssn::default() } else { self.next_ssns.take(stream) }
    }
}

/// What `len` bytes of payload cost to hold, here and while outstanding.
pub(crate) fn cost(len: usize) -> usize {
    len + ENTRY
}

/// The part of a full chunk that is worth a chunk of its own.
const LEAST_PIECE: usize = 8;

pub(crate) const ENTRY: usize = std::mem::size_of::<Message>();

#[cfg(test)]
thread_local! {
    /// How often all messages were looked at for the streams that they are for.
    pub(crate) static SEARCHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(outbox: &mut Outbox, limit: usize) -> Vec<(u16, u16, bool, bool, usize)> {
        std::iter::from_fn(|| outbox.next_chunk(Tsn::default(), limit, false))
            .map(|(data, _)| {
                let Sequence::Ssn(ssn) = data.sequence else { panic!("DATA was asked for") };
                let DataFlags { beginning, ending, .. } = data.flags;
                (data.stream.0, ssn.value(), beginning, ending, data.payload.len())
            })
            .collect()
    }

    #[test]
    fn a_large_message_becomes_fragments_of_one_ssn_with_begin_and_end() {
        let mut outbox = Outbox::default();
        outbox.push(Message::new(3, vec![0; 2500]));
        outbox.push(Message::new(3, vec![0; 10]));
        outbox.push(Message::new(4, vec![0; 1000]));
        assert_eq!(
            chunks(&mut outbox, 1000),
            [
                (3, 0, true, false, 1000),
                (3, 0, false, false, 1000),
                (3, 0, false, true, 500),
                (3, 1, true, true, 10),
                (4, 0, true, true, 1000),
            ]
        );
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn only_a_message_that_has_to_be_cut_is_cut_to_fill_a_packet_and_into_no_small_piece() {
        let mut outbox = Outbox::default();
        outbox.push(Message::new(0, vec![0; 1000]));
        assert_eq!(outbox.next_cut(1000, 999), None, "it fits a packet as it is");
        assert_eq!(outbox.next_cut(1000, 1000), Some(1000));
        assert_eq!(outbox.next_cut(800, 500), Some(500));
        assert_eq!(outbox.next_cut(800, 99), None);
        assert_eq!(outbox.next_cut(800, 1200), Some(800));
        for limit in 1..10 {
            assert_eq!(outbox.next_cut(limit, 0), None, "there is no chunk without a byte");
        }
        outbox.next_chunk(Tsn::default(), 500, false);
        assert_eq!(outbox.next_cut(800, 499), None, "the rest fits a packet");
    }

    #[test]
    fn unordered_messages_use_up_no_ssn() {
        let mut outbox = Outbox::default();
        outbox.push(Message::new(1, "a"));
        outbox.push(Message::new(1, "b").unordered());
        outbox.push(Message::new(1, "c"));
        let ssns: Vec<_> = chunks(&mut outbox, 100).into_iter().map(|chunk| chunk.1).collect();
        assert_eq!(ssns, [0, 0, 1]);
    }

    #[test]
    fn what_is_left_of_a_begun_message_is_not_given_back() {
        let mut outbox = Outbox::default();
        outbox.push(Message::new(0, vec![1; 20]));
        outbox.push(Message::new(0, "whole"));
        outbox.next_chunk(Tsn::default(), 8, false);
        let left: Vec<_> = outbox.drain().collect();
        assert_eq!(left, [Message::new(0, "whole")]);
    }
}
