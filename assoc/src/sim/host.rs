//! A host of the simulated network: an endpoint with a simple application on top, or a wire played by hand.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use usctp_chunk::StreamId;

use super::answers::Answers;
use super::calm::Calm;
use super::invariant::Watch;
use super::ledger::Ledger;
use super::network::{Arrived, Letterbox};
use crate::{
    Association, AssociationId, AssociationState, Config, Endpoint, Event, Message, Received,
    SendError, Transmit,
};

/// Names a host of a [`Network`](super::Network).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub(super) usize);

/// An event with the time it was polled at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Virtual time.
    pub at: Duration,
    /// The association it is of.
    pub association: AssociationId,
    /// The event.
    pub event: Event,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Endpoint(Box<Member>),
    Wire(VecDeque<Arrived>),
}

/// An endpoint with what runs on top of it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Endpoint,
    pub(super) config: Config,
    pub(super) deadline: Option<Instant>,
    pub(super) events: Vec<Logged>,
    pub(super) applications: BTreeMap<AssociationId, Application>,
    /// Whether messages are received as soon as they are there.
    pub(super) eager: bool,
    pub(super) watch: Watch,
    pub(super) calm: Calm,
    /// What came and was not looked at yet.
    pub(super) letterbox: Letterbox,
    /// Until when the host is not served at all.
    pub(super) asleep: Option<Sleep>,
    /// Whether another endpoint has taken its place.
    pub(super) dead: bool,
}

/// A host that is not served: packets wait, and timers expire late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sleep {
    pub(super) until: Instant,
    /// Whether what expired meanwhile comes before what arrived meanwhile.
    pub(super) timers_first: bool,
}

/// The application of one association.
#[derive(Debug, Default)]
pub struct Application {
    /// What is still to be sent, as soon as the send buffer takes it.
    pub(super) backlog: VecDeque<Message>,
    /// Whether the association is closed once the backlog is sent.
    pub(super) closes: bool,
    /// What was sent and did not arrive yet.
    pub(super) ledger: Ledger,
    /// What has come of messages that are delivered in parts.
    parts: BTreeMap<StreamId, BytesMut>,
    /// How many messages were delivered in parts.
    joined: usize,
    /// The other side, if it is an endpoint too: one after the other, where it began anew.
    pub(super) peers: Vec<(HostId, AssociationId)>,
    /// What was received.
    pub(super) received: Vec<Received>,
    pub(super) answers: Answers,
    /// Nobody wants anything more of it.
    pub(super) forsaken: bool,
    readable: bool,
    blocked: bool,
}

/// What an application did when it was given its turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) acted: bool,
    pub(super) received: Vec<(AssociationId, Received)>,
    pub(super) came_up: Vec<AssociationId>,
    /// What an event says that must not be.
    pub(super) fault: Option<String>,
}

impl Member {
    pub(super) fn new(endpoint: Endpoint, config: Config) -> Self {
        Self {
            endpoint,
            config,
            deadline: None,
            events: Vec::new(),
            applications: BTreeMap::new(),
            eager: true,
            watch: Watch::default(),
            calm: Calm::default(),
            letterbox: Letterbox::default(),
            asleep: None,
            dead: false,
        }
    }

    /// When a packet that arrives now is looked at, if not now.
    pub(super) fn asleep(&self, now: Instant) -> Option<Instant> {
        let sleep = self.asleep?;
        let read_at = sleep.until + Duration::from_nanos(u64::from(sleep.timers_first));
        (now < read_at).then_some(read_at)
    }

    /// When the next timer expires as far as the host notices.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let deadline = self.deadline.filter(|_| !self.dead)?;
        Some(self.asleep.map_or(deadline, |sleep| deadline.max(sleep.until)))
    }

    /// Polls every packet that is ready.
    pub(super) fn packets(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
    ) -> Vec<(Transmit, Bytes)> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(now, buffer) {
            assert_eq!(transmit.len, buffer.len(), "poll_transmit appends exactly one packet");
            packets.push((transmit, buffer.split().freeze()));
            assert!(packets.len() < 100_000, "poll_transmit never ends");
        }
        packets
    }

    /// Handles events, receives, and sends from the backlog.
    pub(super) fn turn(&mut self, now: Instant, at: Duration) -> Turn {
        let mut turn = Turn::default();
        while let Some((association, event)) = self.endpoint.poll_event() {
            let application = self.applications.entry(association).or_default();
            if let Some(view) = self.endpoint.view(association) {
                turn.fault = turn.fault.or(application.answers.judge(&event, view).err());
            }
            match &event {
                Event::Readable => application.readable = true,
                Event::Writable => application.blocked = false,
                Event::CommUp { .. } => {
                    application.blocked = false;
                    turn.came_up.push(association);
                }
                Event::SendFailed { message, .. } => {
                    application.ledger.gave_back(message, is_open(&self.endpoint, association));
                }
                Event::PartialDeliveryAborted(stream) => drop(application.parts.remove(stream)),
                Event::Restart => {
                    application.ledger.restart();
                    turn.came_up.push(association);
                }
                _ => {}
            }
            self.events.push(Logged { at, association, event });
        }
        for (id, application) in &mut self.applications {
            if (self.eager || application.forsaken) && application.readable {
                application.readable = false;
                while let Some(received) =
                    self.endpoint.association(*id).and_then(|association| association.recv(now))
                {
                    turn.acted = true;
                    turn.received.push((*id, received));
                }
            }
            if !application.blocked && (!application.backlog.is_empty() || application.closes) {
                let Some(association) = self.endpoint.association(*id) else { continue };
                turn.acted |= application.push(association, now);
            }
        }
        turn
    }
}

fn is_open(endpoint: &Endpoint, id: AssociationId) -> bool {
    endpoint.view(id).is_some_and(|association| association.state() != AssociationState::Closed)
}

impl Application {
    /// What was received, in the order it was.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// How many messages came in parts, to the last one.
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// The other side is this one from now on.
    pub(super) fn meets(&mut self, peer: (HostId, AssociationId)) {
        if self.peers.last() != Some(&peer) {
            self.peers.push(peer);
        }
    }

    /// The whole message that a part completes; or a message that came whole.
    pub(super) fn join(&mut self, received: &Received) -> Option<Received> {
        if received.more {
            self.parts.entry(received.stream).or_default().extend_from_slice(&received.payload);
            return None;
        }
        let Some(mut begun) = self.parts.remove(&received.stream) else {
            return Some(received.clone());
        };
        self.joined += 1;
        begun.extend_from_slice(&received.payload);
        Some(Received { payload: begun.freeze(), ..received.clone() })
    }

    /// How many messages are still waiting to be handed to the association.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// How many messages the association took that the other side has not received.
    pub fn missing(&self) -> usize {
        self.ledger.missing()
    }

    fn push(&mut self, association: &mut Association, now: Instant) -> bool {
        let mut acted = false;
        while let Some(message) = self.backlog.pop_front() {
            match association.send(now, message.clone()) {
                Ok(()) => {
                    acted = true;
                    self.ledger.sent(message);
                }
                Err(SendError::WouldBlock) => {
                    self.backlog.push_front(message);
                    self.blocked = true;
                    return acted;
                }
                // The association ended: what was not taken is not lost by anybody.
                Err(SendError::NotOpen { .. }) => self.backlog.clear(),
                Err(error) => panic!("the simulated application sends nonsense: {error}"),
            }
        }
        if self.closes {
            self.closes = false;
            association.shutdown(now);
            acted = true;
        }
        acted
    }
}
