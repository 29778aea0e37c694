//! Messages and events in the order in which they came: of one association, and of all in turn.

use std::collections::BTreeMap;

use usctp_assoc::{AssociationId, Event};

use super::Inner;
use crate::driver::slot::{Owner, Phase, Slot};
use crate::driver::wait::Interest;
use crate::error::Error;
use crate::item::Item;

/// The associations in which something waits to be taken, for a socket whose application takes what comes to any of them.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Whether it does: else nobody would ever take one out.
    is_kept: bool,
    queue: BTreeMap<u64, AssociationId>,
    next: u64,
}

impl Turns {
    /// Has an association wait for its turn, behind the others, unless it does.
    fn enter(&mut self, id: AssociationId, slot: &mut Slot) {
        if self.is_kept && slot.owner == Owner::Handle && slot.turn.is_none() {
            slot.turn = Some(self.next);
            self.queue.insert(self.next, id);
            self.next += 1;
        }
    }

    /// Forgets an association.
    pub(super) fn leave(&mut self, slot: &Slot) {
        if let Some(turn) = slot.turn {
            self.queue.remove(&turn);
        }
    }
}

impl Inner {
    /// Takes the next of what came to an association; `None` while there is nothing.
    ///
    /// # Errors
    /// What it ended with, once the end was taken.
    pub(crate) fn next_item(&mut self, id: AssociationId) -> Result<Option<Item>, Error> {
        let open = self.check_open();
        let association = self.endpoint.association(id);
        let (Some(association), Some(slot)) = (association, self.slots.get_mut(&id)) else {
            return Err(Error::Closed);
        };
        while let Some(place) = slot.events.first_place().filter(|_| !slot.is_end_taken) {
            if association.has_message_before(place) {
                break;
            }
            match slot.events.pop() {
                Some(Event::Readable | Event::ShutdownComplete | Event::CommLost(_)) | None => {}
                Some(event) => return Ok(Some(Item::Event(event))),
            }
        }
        // What a message leads to, such as a SACK that opens the window, follows when the lock is given back.
        if let Some((message, _)) = self.endpoint.recv(id) {
            return Ok(Some(Item::Message(message)));
        }
        let Some(end) = slot.end() else { return Ok(None) };
        if std::mem::replace(&mut slot.is_end_taken, true) {
            return Err(open.err().unwrap_or(end));
        }
        let graceful = slot.phase == Phase::Closed;
        Ok(Some(Item::Ended(if graceful { Ok(()) } else { Err(end) })))
    }

    /// Takes the next of what came to any association whose handle the application holds; each has its turn after one item.
    pub(crate) fn next_of_any(&mut self) -> Option<(AssociationId, Item)> {
        if !self.turns.is_kept {
            self.turns.is_kept = true;
            // In the order in which they began.
            let mut all: Vec<_> = self.slots.iter_mut().collect();
            all.sort_unstable_by_key(|(id, _)| **id);
            all.into_iter().for_each(|(id, slot)| self.turns.enter(*id, slot));
        }
        while let Some((_, id)) = self.turns.queue.pop_first() {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.turn = None;
            }
            if let Ok(Some(item)) = self.next_item(id) {
                if let Some(slot) = self.slots.get_mut(&id) {
                    self.turns.enter(id, slot);
                }
                return Some((id, item));
            }
        }
        None
    }

    /// Something came to an association.
    pub(super) fn enter_turn(&mut self, id: AssociationId) {
        if let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.turn.is_none()) {
            self.turns.enter(id, slot);
            if slot.turn.is_some() {
                self.waiters.take(Interest::ANY, &mut self.woken);
            }
        }
    }
}
