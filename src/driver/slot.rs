//! What the stack keeps for each association beside the protocol's own state: events, waiters, and who holds it.

use std::collections::VecDeque;
use std::task::Waker;

use usctp_assoc::{Event, LostReason, Place};

use super::wait::{Interest, Waiters};
use crate::error::Error;

/// Events that a peer or the network can cause again and again are kept up to this number.
const CAPACITY: usize = 256;

/// One association's place in its endpoint.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Who holds it.
    pub(crate) owner: Owner,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Whether it has been established, whatever became of it.
    pub(crate) was_up: bool,
    /// Events that the application has not taken.
    pub(crate) events: EventQueue,
    /// Whether the application was told of its end as of the last item.
    pub(crate) is_end_taken: bool,
    /// Its place among those in which something waits to be taken.
    pub(crate) turn: Option<u64>,
    /// Who waits for something of it.
    pub(crate) waiters: Waiters,
}

/// Who holds an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The application has a handle.
    Handle,
    /// The application waits for its set-up, or looks on.
    Attempt,
    /// It waits to be accepted.
    Backlog,
    /// Nobody: it is being closed, and forgotten once it has ended.
    Nobody,
}

/// How far an association has come, as its application sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is being set up.
    Opening,
    /// It is established.
    Up,
    /// The peer has sent all it had to send, and closes.
    PeerClosed,
    /// It was closed gracefully.
    Closed,
    /// It ended otherwise.
    Lost(LostReason),
}

impl Slot {
    pub(crate) fn new(owner: Owner) -> Self {
        Self {
            owner,
            phase: Phase::Opening,
            was_up: false,
            events: EventQueue::default(),
            is_end_taken: false,
            turn: None,
            waiters: Waiters::default(),
        }
    }

    /// Whether the association has ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Lost(_))
    }

    /// The error that says how the association ended, if it has.
    pub(crate) fn end(&self) -> Option<Error> {
        match &self.phase {
            Phase::Closed => Some(Error::Closed),
            Phase::Lost(reason) => Some(Error::Lost(reason.clone())),
            Phase::Opening | Phase::Up | Phase::PeerClosed => None,
        }
    }

    /// Takes note of an event, queues it for the application, and collects those who waited for it.
    pub(crate) fn on_event(&mut self, place: Place, event: Event, woken: &mut Vec<Waker>) {
        let mut met = Interest::EVENT;
        match &event {
            Event::CommUp { .. } if self.phase == Phase::Opening => {
                self.phase = Phase::Up;
                self.was_up = true;
                met = met.and(Interest::SETTLED);
            }
            Event::PeerShutdown if !self.has_ended() => {
                self.phase = Phase::PeerClosed;
                met = Interest::ALL;
            }
            // The peer that had closed is gone, and the new one has not.
            Event::Restart if self.phase == Phase::PeerClosed => self.phase = Phase::Up,
            Event::ShutdownComplete => {
                self.phase = Phase::Closed;
                met = Interest::ALL;
            }
            Event::CommLost(reason) => {
                self.phase = Phase::Lost(reason.clone());
                met = Interest::ALL;
            }
            Event::Readable => met = met.and(Interest::READ),
            Event::Writable => met = met.and(Interest::WRITE),
            _ => {}
        }
        if self.owner != Owner::Nobody {
            self.events.push(place, event);
        }
        self.waiters.take(met, woken);
    }
}

/// A queue of events that no peer can make grow without bound.
///
/// Events that only say "look again" stand in it once, and restarts once between two messages. Of those that can come in any
/// number (changes of addresses, errors the peer reports; and of restarts, apart), the oldest give way. The ends of an
/// association and messages that could not be delivered (which the application's own send buffer bounds) are never dropped.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    queue: VecDeque<(Place, Event)>,
    /// How many of them may be dropped.
    droppable: usize,
    /// Which of those that stand in it once do.
    present: u8,
    /// How many restarts stand in it, and where the last one does.
    restarts: usize,
    restart: Option<Place>,
    lost: u64,
}

impl EventQueue {
    /// Queues an event.
    pub(crate) fn push(&mut self, place: Place, event: Event) {
        let once = once(&event);
        if self.present & once != 0 {
            return;
        }
        if event == Event::Restart {
            if self.restart.replace(place) == Some(place) {
                return;
            }
            if self.restarts == CAPACITY {
                self.drop_oldest(|event| *event == Event::Restart);
                self.restarts -= 1;
            }
            self.restarts += 1;
        }
        self.present |= once;
        if is_droppable(&event) {
            if self.droppable == CAPACITY {
                self.drop_oldest(is_droppable);
                self.droppable -= 1;
            }
            self.droppable += 1;
        }
        self.queue.push_back((place, event));
    }

    /// Takes the oldest event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let (_, event) = self.queue.pop_front()?;
        self.present &= !once(&event);
        if event == Event::Restart {
            self.restarts -= 1;
            self.restart = self.restart.filter(|_| self.restarts > 0);
        }
        if is_droppable(&event) {
            self.droppable -= 1;
        }
        Some(event)
    }

    /// Where the oldest event stands among the messages.
    pub(crate) fn first_place(&self) -> Option<Place> {
        self.queue.front().map(|(place, _)| *place)
    }

    /// How many events were dropped.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn drop_oldest(&mut self, fits: impl Fn(&Event) -> bool) {
        if let Some(oldest) = self.queue.iter().position(|(_, event)| fits(event)) {
            self.queue.remove(oldest);
            self.lost += 1;
        }
    }
}

/// The bit of an event that stands in the queue once, however often it happens before it is taken.
fn once(event: &Event) -> u8 {
    match event {
        Event::Readable => 1,
        Event::Writable => 2,
        Event::SenderDry => 4,
        _ => 0,
    }
}

fn is_droppable(event: &Event) -> bool {
    match event {
        Event::CommUp { .. }
        | Event::CommLost(_)
        | Event::PeerShutdown
        | Event::ShutdownComplete
        | Event::Restart
        | Event::SendFailed { .. } => false,
        other => once(other) == 0,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use usctp_assoc::{ActiveReason, AddressChange, Message, Role};

    use super::*;

    fn up() -> Event {
        let primary = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Event::CommUp { role: Role::Passive, primary, outbound_streams: 1, inbound_streams: 1 }
    }

    fn change(n: u32) -> Event {
        let peer = IpAddr::V4(Ipv4Addr::from(n));
        Event::PeerAddressChange { peer, change: AddressChange::Active(ActiveReason::Confirmed) }
    }

    #[test]
    fn events_that_only_say_look_again_stand_in_the_queue_once_until_they_are_taken() {
        let mut queue = EventQueue::default();
        for _ in 0..3 {
            queue.push(Place::default(), Event::Readable);
            queue.push(Place::default(), Event::Writable);
        }
        assert_eq!(queue.pop(), Some(Event::Readable));
        queue.push(Place::default(), Event::Readable);
        assert_eq!(queue.pop(), Some(Event::Writable));
        assert_eq!(queue.pop(), Some(Event::Readable));
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn a_flood_of_changes_drops_the_oldest_changes_and_nothing_else() {
        let mut queue = EventQueue::default();
        let failed = Event::SendFailed { message: Message::new(0, "undelivered"), sent: false };
        queue.push(Place::default(), failed.clone());
        for n in 0..1000 {
            queue.push(Place::default(), change(n));
        }
        queue.push(Place::default(), Event::CommLost(LostReason::LocalAbort));
        assert_eq!(queue.lost(), 1000 - CAPACITY as u64);
        assert_eq!(queue.pop(), Some(failed));
        for n in 1000 - CAPACITY as u32..1000 {
            assert_eq!(queue.pop(), Some(change(n)));
        }
        assert_eq!(queue.pop(), Some(Event::CommLost(LostReason::LocalAbort)));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_restart_undoes_the_close_of_the_peer_and_nothing_else() {
        let mut slot = Slot::new(Owner::Handle);
        slot.on_event(Place::default(), up(), &mut Vec::new());
        slot.on_event(Place::default(), Event::PeerShutdown, &mut Vec::new());
        assert_eq!(slot.phase, Phase::PeerClosed);
        slot.on_event(Place::default(), Event::Restart, &mut Vec::new());
        assert_eq!(slot.phase, Phase::Up, "there is a peer again to receive from");
        slot.on_event(Place::default(), Event::ShutdownComplete, &mut Vec::new());
        slot.on_event(Place::default(), Event::Restart, &mut Vec::new());
        assert_eq!(slot.phase, Phase::Closed);
    }

    #[test]
    fn events_of_an_association_nobody_holds_are_not_kept() {
        let mut slot = Slot::new(Owner::Nobody);
        slot.on_event(Place::default(), change(1), &mut Vec::new());
        slot.on_event(Place::default(), Event::CommLost(LostReason::SetupTimeout), &mut Vec::new());
        assert_eq!(slot.events.pop(), None);
        assert!(slot.has_ended());
    }
}
