//! How associations end, and the endpoint with them: closed by their owner, left by him, or out of time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use usctp_assoc::AssociationId;

use super::{Inner, Stage};
use crate::driver::slot::{Owner, Slot};
use crate::driver::wait::Interest;

impl Inner {
    /// Ends an association at once and forgets it.
    pub(in crate::driver) fn cancel(&mut self, now: Instant, id: AssociationId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.owner = Owner::Nobody;
        }
        self.abort(now, id, Bytes::new());
        self.drain(now);
        self.release(now, id);
    }

    /// The socket was dropped: what nobody holds is closed within `linger`.
    pub(in crate::driver) fn abandon(&mut self, now: Instant, linger: Duration) {
        if self.stage == Stage::Open {
            self.stage = Stage::Dropped;
        }
        self.listen(None);
        for id in self.ids() {
            let is_held = |slot: &Slot| matches!(slot.owner, Owner::Handle | Owner::Attempt);
            if !self.slots.get(&id).is_some_and(is_held) {
                self.forsake(now, id, linger);
            }
        }
        self.backlog.clear();
    }

    /// The socket was closed: everything is, within `linger`.
    pub(in crate::driver) fn close_all(&mut self, now: Instant, linger: Duration) {
        self.abandon(now, linger);
        if self.stage != Stage::Dead {
            self.stage = Stage::Closed;
        }
        for id in self.ids() {
            self.close(now, id, linger);
        }
    }

    /// Ends whatever is left, at once.
    pub(in crate::driver) fn end(&mut self, now: Instant) {
        self.listen(None);
        for id in self.ids() {
            self.abort(now, id, Bytes::from_static(b"the socket was closed"));
        }
        self.drain(now);
        self.die();
    }

    /// From now on nothing happens any more; whoever waits is to be told.
    pub(in crate::driver) fn die(&mut self) {
        self.stage = Stage::Dead;
        for slot in self.slots.values_mut() {
            slot.waiters.take(Interest::ALL, &mut self.woken);
        }
        self.waiters.take(Interest::ALL, &mut self.woken);
    }

    /// Ends an association at once.
    pub(crate) fn abort(&mut self, now: Instant, id: AssociationId, reason: Bytes) {
        let Some(slot) = self.slots.get(&id) else { return };
        if slot.has_ended() {
            return;
        }
        if let Some(association) = self.endpoint.association(id) {
            association.abort(now, reason);
        }
    }

    /// Begins to close an association gracefully. Whoever waits to send is told: nothing more can be sent.
    pub(crate) fn shutdown(&mut self, now: Instant, id: AssociationId) {
        if let Some(association) = self.endpoint.association(id) {
            association.shutdown(now);
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.waiters.take(Interest::WRITE, &mut self.woken);
        }
    }

    /// Nobody holds the association any more: it is closed, then forgotten.
    pub(in crate::driver) fn forsake(&mut self, now: Instant, id: AssociationId, bound: Duration) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.owner = Owner::Nobody;
        slot.events = Default::default();
        self.turns.leave(slot);
        slot.turn = None;
        if slot.has_ended() {
            self.release(now, id);
            return;
        }
        self.close(now, id, bound);
        self.discard(now, id);
    }

    /// Closes an association gracefully, and aborts it if that takes longer than `bound`.
    fn close(&mut self, now: Instant, id: AssociationId, bound: Duration) {
        if self.slots.get(&id).is_none_or(Slot::has_ended) {
            return;
        }
        self.shutdown(now, id);
        if let Some(by) = now.checked_add(bound) {
            self.closing.insert((by, id));
        }
    }

    /// Throws away messages that nobody will take: kept, they would close the receive window,
    /// and the peer's SHUTDOWN ACK would never come.
    pub(super) fn discard(&mut self, now: Instant, id: AssociationId) {
        if let Some(association) = self.endpoint.association(id) {
            while association.recv(now).is_some() {}
        }
    }

    /// Aborts associations whose graceful close took too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(by, id)) = self.closing.first()
            && by <= now
        {
            self.closing.pop_first();
            self.abort(now, id, Bytes::from_static(b"the graceful close took too long"));
        }
    }

    /// When the next close takes too long; those that have ended are forgotten on the way.
    pub(super) fn next_close(&mut self) -> Option<Instant> {
        while let Some(&(by, id)) = self.closing.first() {
            if self.slots.get(&id).is_some_and(|slot| !slot.has_ended()) {
                return Some(by);
            }
            self.closing.pop_first();
        }
        None
    }
}
