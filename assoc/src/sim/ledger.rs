//! What one side sent and the other has not received yet, so that every message is seen to arrive once and whole.

use std::collections::{BTreeMap, VecDeque};

use usctp_chunk::StreamId;

use crate::{Message, Received};

/// The messages of one direction of an association.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    streams: BTreeMap<StreamId, Stream>,
    missing: usize,
}

#[derive(Debug, Default)]
struct Stream {
    ordered: VecDeque<Entry>,
    unordered: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    /// It may never arrive: the sender has it back, or the peer restarted since.
    excused: bool,
}

impl Ledger {
    /// Notes a message that the sending side took.
    pub(super) fn sent(&mut self, message: Message) {
        let stream = self.streams.entry(message.stream).or_default();
        let (unordered, entry) = (message.unordered, Entry { message, excused: false });
        match unordered {
            true => stream.unordered.push(entry),
            false => stream.ordered.push_back(entry),
        }
        self.missing += 1;
    }

    /// Takes a message off the ledger; an error says what is wrong with it.
    pub(super) fn arrived(&mut self, received: &Received) -> Result<(), String> {
        let name = format!("{} bytes on stream {}", received.payload.len(), received.stream.0);
        let Some(stream) = self.streams.get_mut(&received.stream) else {
            return Err(format!("{name} arrived, where nothing was sent"));
        };
        let same = |sent: &Entry| same(&sent.message, received);
        let entry = if received.unordered {
            let Some(at) = stream.unordered.iter().position(same) else {
                return Err(format!(
                    "{name}, unordered: altered, never sent or here for the second time"
                ));
            };
            stream.unordered.swap_remove(at)
        } else {
            let Some(at) = stream.ordered.iter().position(same) else {
                return Err(format!("{name}, ordered: altered or here for the second time"));
            };
            if stream.ordered.iter().take(at).any(|sent| !sent.excused) {
                return Err(format!("{name}, ordered: out of order"));
            }
            // What was skipped never comes, and would be out of order from now on.
            stream.ordered.drain(..at);
            stream.ordered.pop_front().expect("it was found there")
        };
        self.missing -= usize::from(!entry.excused);
        Ok(())
    }

    /// The peer restarted: of what was sent to it some may never arrive, but what does is still in order.
    pub(super) fn restart(&mut self) {
        for stream in self.streams.values_mut() {
            stream.ordered.iter_mut().chain(&mut stream.unordered).for_each(Entry::excuse);
        }
        self.missing = 0;
    }

    /// The sending side was told that a message failed. It may have arrived before; while the association goes on
    /// (`open`), it never will from now on.
    pub(super) fn gave_back(&mut self, message: &Message, open: bool) {
        let Some(stream) = self.streams.get_mut(&message.stream) else { return };
        let same = |sent: &Entry| {
            sent.message.ppid == message.ppid && sent.message.payload == message.payload
        };
        let entries = stream.ordered.iter_mut().chain(&mut stream.unordered);
        let Some(entry) = entries.into_iter().find(|sent| same(sent)) else { return };
        self.missing -= usize::from(!entry.excused);
        entry.excuse();
        if open {
            stream.ordered.retain(|sent| !same(sent));
            stream.unordered.retain(|sent| !same(sent));
        }
    }

    /// How many messages were taken and did not arrive, of those that were not given back and lie behind the peer's last
    /// restart.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }
}

impl Entry {
    fn excuse(&mut self) {
        self.excused = true;
    }
}

fn same(sent: &Message, received: &Received) -> bool {
    sent.ppid == received.ppid && sent.payload == received.payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(message: &Message) -> Received {
        Received {
            stream: message.stream,
            ppid: message.ppid,
            unordered: message.unordered,
            more: false,
            payload: message.payload.clone(),
        }
    }

    #[test]
    fn a_message_arrives_once_and_in_order() {
        let (first, second) = (Message::new(1, "first"), Message::new(1, "second"));
        let mut ledger = Ledger::default();
        ledger.sent(first.clone());
        ledger.sent(second.clone());
        assert!(ledger.arrived(&received(&second)).unwrap_err().contains("out of order"));
        assert!(
            ledger.arrived(&received(&Message::new(1, "firsT"))).unwrap_err().contains("altered")
        );
        ledger.arrived(&received(&first)).unwrap();
        ledger.arrived(&received(&first)).unwrap_err();
        assert_eq!(ledger.missing(), 1);
    }

    #[test]
    fn a_restart_may_swallow_what_was_sent_before_it_and_nothing_else() {
        let sent: Vec<_> = ["a", "b", "c", "d"].map(|text| Message::new(0, text)).into();
        let mut ledger = Ledger::default();
        sent[..2].iter().for_each(|message| ledger.sent(message.clone()));
        ledger.restart();
        sent[2..].iter().for_each(|message| ledger.sent(message.clone()));
        ledger.arrived(&received(&sent[3])).unwrap_err();
        ledger.arrived(&received(&sent[1])).unwrap();
        ledger.arrived(&received(&sent[0])).unwrap_err();
        ledger.arrived(&received(&sent[2])).unwrap();
        assert_eq!(ledger.missing(), 1);
        ledger.arrived(&received(&sent[3])).unwrap();
        assert_eq!(ledger.missing(), 0);
    }

    #[test]
    fn what_was_given_back_leaves_no_hole_and_must_not_arrive() {
        let sent: Vec<_> = ["a", "b"].map(|text| Message::new(0, text)).into();
        let mut ledger = Ledger::default();
        sent.iter().for_each(|message| ledger.sent(message.clone()));
        ledger.gave_back(&sent[0], true);
        ledger.arrived(&received(&sent[1])).unwrap();
        ledger.arrived(&received(&sent[0])).unwrap_err();
        assert_eq!(ledger.missing(), 0);
    }

    #[test]
    fn what_was_given_back_in_the_end_may_still_arrive_once() {
        let sent: Vec<_> = ["a", "b"].map(|text| Message::new(0, text)).into();
        let mut ledger = Ledger::default();
        sent.iter().for_each(|message| ledger.sent(message.clone()));
        sent.iter().for_each(|message| ledger.gave_back(message, false));
        assert_eq!(ledger.missing(), 0);
        ledger.arrived(&received(&sent[1])).unwrap();
        ledger.arrived(&received(&sent[0])).unwrap_err();
        assert_eq!(ledger.missing(), 0);
    }

    #[test]
    fn unordered_messages_may_overtake_but_not_repeat() {
        let message = Message::new(0, "free").unordered();
        let mut ledger = Ledger::default();
        ledger.sent(Message::new(0, "queued"));
        ledger.sent(message.clone());
        ledger.arrived(&received(&message)).unwrap();
        ledger.arrived(&received(&message)).unwrap_err();
    }
}
