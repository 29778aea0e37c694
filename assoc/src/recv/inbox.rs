//! Whole messages that the application has not taken yet.

use std::collections::VecDeque;

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
