//! Whole messages that the application has not taken yet.

use std::collections::VecDeque;

use usctp_chunk::StreamId;

use crate::message::Received;

/// Messages in the order they may be taken, and what they cost.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    messages: VecDeque<Received>,
    bytes: usize,
    /// Whether something came in since the application was last told.
    news: bool,
}

impl Inbox {
    #[inline]
    pub(crate) fn push(&mut self, message: Received) {
        self.bytes += cost(message.payload.len());
        self.messages.push_back(message);
        self.news = true;
    }

    pub(crate) fn pop(&mut self) -> Option<Received> {
        let message = self.messages.pop_front()?;
        self.bytes -= cost(message.payload.len());
        Some(message)
    }

    /// Takes out the parts of a message whose rest will not come: nobody can use them.
    pub(crate) fn cut(&mut self, stream: StreamId) {
        let whole = |message: &Received| message.stream == stream && !message.more;
        let behind = self.messages.iter().rposition(whole).map_or(0, |at| at + 1);
        let mut at = 0;
        self.messages.retain(|message| {
            at += 1;
            let part = at > behind && message.stream == stream;
            self.bytes -= if part { cost(message.payload.len()) } else { 0 };
            !part
        });
    }

    /// Bytes held, with the cost of holding them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the application is to be told of messages, once.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }
}

/// What `len` bytes of payload cost to hold: many tiny messages must not hold much memory for nothing.
pub(crate) fn cost(len: usize) -> usize {
    len + ENTRY
}

const ENTRY: usize = std::mem::size_of::<Received>();

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
        kept.iter().for_each(|message| inbox.push(message.clone()));
        inbox.push(part(1, true, "cut"));
        inbox.push(part(1, true, "cut"));
        inbox.cut(StreamId(1));
        let bytes = inbox.bytes();
        let left: Vec<_> = std::iter::from_fn(|| inbox.pop()).collect();
        assert_eq!(left, kept);
        assert_eq!((bytes, inbox.bytes()), (4 * cost(1), 0));
    }
}
