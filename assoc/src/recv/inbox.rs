//! Whole messages that the application has not taken yet.

use std::collections::VecDeque;

use usctp_chunk::StreamId;

use crate::message::Received;

/// Messages in the order they may be taken, and what they cost.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    messages: VecDeque<Waiting>,
    bytes: usize,
    /// Whether something came in since the application was last told.
    news: bool,
    /// The number of the next message that comes in.
    next: u32,
}

/// Where an event stands among the messages of its association: behind those that came in before it was told.
///
/// [`Association::has_message_before`](crate::Association::has_message_before) compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place(u32);

#[derive(Debug)]
struct Waiting {
    message: Received,
    /// Bytes of memory that it alone keeps from being used again.
    cost: u32,
    /// Its number among all that came in; numbers of those that were cut out are missing.
    number: u32,
}

impl Inbox {
    /// Puts a message in whose payload takes up so much memory.
    #[inline]
    pub(crate) fn push(&mut self, message: Received, memory: usize) {
        let cost = memory + ENTRY;
        self.bytes += cost;
        // A message is smaller than the receive buffer, which is at most 2^30 bytes.
        self.messages.push_back(Waiting { message, cost: cost as u32, number: self.next });
        self.next = self.next.wrapping_add(1);
        self.news = true;
    }

    /// The place behind all messages that have come in.
    pub(crate) fn place(&self) -> Place {
        Place(self.next)
    }

    /// Whether the next message came in before what has this place.
    pub(crate) fn has_message_before(&self, place: Place) -> bool {
        // Numbers begin anew after 2^32 messages, far more than can wait.
        let before = |first: &Waiting| (first.number.wrapping_sub(place.0) as i32) < 0;
        self.messages.front().is_some_and(before)
    }

    /// The next message, and how many bytes less are held without it: the queue keeps its place.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Received, usize)> {
        let Waiting { message, cost, .. } = self.messages.pop_front()?;
        self.bytes -= cost as usize;
        let shrunk = if self.messages.is_empty() { self.shrink() } else { 0 };
        Some((message, cost as usize - ENTRY + shrunk))
    }

    /// A long queue is not kept for a time that may not come again. How many bytes less are held without it.
    #[cold]
    fn shrink(&mut self) -> usize {
        if self.messages.capacity() <= KEPT {
            return 0;
        }
        let idle = self.idle();
        self.messages = VecDeque::new();
        idle
    }

    /// Takes out the parts of a message whose rest will not come: nobody can use them.
    pub(crate) fn cut(&mut self, stream: StreamId) {
        let whole = |Waiting { message, .. }: &Waiting| message.stream == stream && !message.more;
        let behind = self.messages.iter().rposition(whole).map_or(0, |at| at + 1);
        let mut at = 0;
        self.messages.retain(|Waiting { message, cost, .. }| {
            at += 1;
            let part = at > behind && message.stream == stream;
            self.bytes -= if part { *cost as usize } else { 0 };
            !part
        });
    }

    /// Bytes held, with the cost of holding them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the queue that are in no use.
    pub(crate) fn idle(&self) -> usize {
        (self.messages.capacity() - self.messages.len()) * ENTRY
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the application is to be told of messages, once.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }
}

/// What it costs that a message waits, beside the memory of its payload.
pub(crate) const ENTRY: usize = size_of::<Waiting>();
/// A queue with room for more than this is given back when it is empty.
const KEPT: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(stream: u16, more: bool, payload: &'static str) -> Received {
        let payload = payload.into();
        Received {
            stream: StreamId(stream),
            ppid: Default::default(),
            unordered: false,
            more,
            payload,
        }
    }

    #[test]
    fn a_cut_takes_out_the_parts_of_the_unfinished_message_and_nothing_else() {
        let mut inbox = Inbox::default();
        let kept =
            [part(1, true, "a"), part(1, false, "b"), part(2, true, "c"), part(1, false, "d")];
        kept.iter().for_each(|message| inbox.push(message.clone(), 10));
        inbox.push(part(1, true, "cut"), 10);
        inbox.push(part(1, true, "cut"), 10);
        inbox.cut(StreamId(1));
        let bytes = inbox.bytes();
        let left: Vec<_> = std::iter::from_fn(|| inbox.pop()).map(|(message, _)| message).collect();
        assert_eq!(left, kept);
        assert_eq!((bytes, inbox.bytes()), (4 * (10 + ENTRY), 0));
    }

    #[test]
    fn each_message_gives_back_what_it_costs_and_a_long_queue_is_given_back_with_the_last() {
        for (count, kept) in [(KEPT, true), (KEPT + 1, false)] {
            let mut inbox = Inbox { messages: VecDeque::with_capacity(count), ..Inbox::default() };
            (0..count).for_each(|_| inbox.push(part(1, false, "x"), 10));
            let room = inbox.messages.capacity();
            for left in (0..count).rev() {
                let before = inbox.bytes() + inbox.idle();
                let (_, less) = inbox.pop().expect("it was put in");
                assert_eq!(inbox.bytes(), left * (10 + ENTRY));
                let room = if kept || left > 0 { room } else { 0 };
                assert_eq!(inbox.idle(), (room - left) * ENTRY);
                assert_eq!(inbox.bytes() + inbox.idle(), before - less);
            }
        }
    }
}
