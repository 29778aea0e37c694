//! One association: what the application can do with it, and how packets and time reach its state (RFC 9260, section 4).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use usctp_chunk::{Cause, Chunk, CommonHeader, StreamId, Tsn, VerificationTag};

use crate::context::{Context, Statistics};
use crate::error::SendError;
use crate::event::{AssociationId, AssociationState, Event, LostReason, Role};
use crate::message::{Message, Received};
use crate::outbox;
use crate::path::{PathId, Paths};
use crate::recv::Place;
use crate::reply::{Reply, Way};
use crate::wire::{AddressSet, Datagram, Transmit};

mod addresses;
mod close;
mod closing;
pub(crate) mod collision;
mod control;
mod inbound;
mod mtu;
mod notice;
mod own_addresses;
mod packetize;
mod paths;
mod recovery;
mod restart;
mod schedule;
mod setup;
#[cfg(feature = "sim")]
mod stuck;
mod tcb;
mod timeouts;

pub(crate) use inbound::is_badly_bundled;
pub use schedule::{InitSchedule, init_schedule};
pub(crate) use setup::{CookieWait, Setup};
pub(crate) use tcb::abort_chunk;
use tcb::{Phase, Tcb};

/// An association, made by [`Endpoint::connectx`](crate::Endpoint::connectx) or by a peer.
///
/// After every call that takes `&mut self`, the endpoint it belongs to is to be drained: see
/// [`Endpoint`](crate::Endpoint).
#[derive(Debug)]
pub struct Association {
    pub(crate) ctx: Context,
    state: State,
}

#[derive(Debug)]
enum State {
    CookieWait(Box<CookieWait>),
    Open(Box<Tcb>),
    Closed(Closed),
}

/// It is over.
#[derive(Debug)]
struct Closed {
    /// What is left to say is said once.
    last_words: Option<Box<Reply>>,
    /// What may still be on its way from a peer that was sent SHUTDOWN COMPLETE.
    overtaken: Option<Overtaken>,
}

/// What a peer sent before its SHUTDOWN ACK, which was faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overtaken {
    /// For how long it may come: by then the peer repeats its SHUTDOWN ACK if it was not answered.
    pub(crate) within: Duration,
    /// The last TSN that had come: DATA behind it was sent by somebody else.
    pub(crate) last_tsn: Tsn,
}

/// Where a packet came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) header: CommonHeader,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) udp_port: Option<u16>,
    pub(crate) zone: u32,
    /// The path of that source, if it has one.
    pub(crate) path: Option<PathId>,
}

impl Arrival {
    /// A packet of an association with these paths.
    pub(crate) fn new(datagram: &Datagram, header: CommonHeader, paths: &Paths) -> Self {
        let &Datagram { source, destination, udp_port, zone, .. } = datagram;
        Self { header, source, destination, udp_port, zone, path: paths.find(source) }
    }

    /// The way back.
    pub(crate) fn way(&self) -> Way {
        Way {
            local: Some(self.destination),
            peer: self.source,
            udp_port: self.udp_port,
            zone: self.zone,
            sources: AddressSet::default(),
        }
    }
}

/// What a chunk leads to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The next chunk is looked at.
    Continue,
    /// The rest of the packet is not.
    Stop,
    /// A stand-alone packet with this tag goes back; the rest is not looked at, and nothing else changes.
    Answer(VerificationTag, Chunk),
    /// The set-up begins again (RFC 9260, 5.2.6).
    StaleCookie { extension_ms: u32 },
    /// The association is over.
    End(Ending),
}

/// How an association ends.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) event: Event,
    pub(crate) last_words: Option<(Way, VerificationTag, Chunk)>,
}

impl Ending {
    pub(crate) fn lost(reason: LostReason) -> Self {
        Self { event: Event::CommLost(reason), last_words: None }
    }

    pub(crate) fn with_last_words(mut self, way: Way, tag: VerificationTag, chunk: Chunk) -> Self {
        self.last_words = Some((way, tag, chunk));
        self
    }
}

impl Association {
    pub(crate) fn connecting(mut ctx: Context, setup: Setup) -> Self {
        let first = ctx.paths.primary();
        let wait = CookieWait::new(setup, first, &mut ctx);
        Self { ctx, state: State::CookieWait(Box::new(wait)) }
    }

    /// Its name within the endpoint.
    pub fn id(&self) -> AssociationId {
        self.ctx.me.id
    }

    /// Which side opened it.
    pub fn role(&self) -> Role {
        self.ctx.me.role
    }

    /// The peer's port.
    pub fn port(&self) -> u16 {
        self.ctx.me.peer_port
    }

    /// Its state (RFC 9260, section 4).
    pub fn state(&self) -> AssociationState {
        match &self.state {
            State::CookieWait(_) => AssociationState::CookieWait,
            State::Open(tcb) => tcb.state(),
            State::Closed(_) => AssociationState::Closed,
        }
    }

    /// Streams to send on; before the set-up is complete, how many were asked for.
    pub fn outbound_streams(&self) -> u16 {
        match &self.state {
            State::CookieWait(wait) => wait.setup.offer.outbound_streams,
            State::Open(tcb) => tcb.negotiated.outbound_streams,
            State::Closed(_) => 0,
        }
    }

    /// Streams to receive on; before the set-up is complete, how many are allowed.
    pub fn inbound_streams(&self) -> u16 {
        match &self.state {
            State::CookieWait(wait) => wait.setup.offer.inbound_streams,
            State::Open(tcb) => tcb.negotiated.inbound_streams,
            State::Closed(_) => 0,
        }
    }

    /// Takes a message to send, all of it or nothing (RFC 9260, section 11.1.5). During the set-up
    /// messages wait until the association is established.
    ///
    /// # Errors
    /// [`SendError::WouldBlock`] if the send buffer is full: [`Event::Writable`] follows once it has room.
    /// Else what is wrong with the message, or that the association is closing.
    pub fn send(&mut self, now: Instant, mut message: Message) -> Result<(), SendError> {
        self.judge(&message)?;
        let limit = self.ctx.config.limits.send_buffer;
        if self.send_buffered() + outbox::cost(message.payload.len()) > limit {
            self.ctx.send_refused = true;
            return Err(SendError::WouldBlock);
        }
        self.ctx.statistics.messages_sent += 1;
        self.ctx.statistics.bytes_sent += message.payload.len() as u64;
        message.taken(now);
        self.ctx.outbox.push(message);
        Ok(())
    }

    /// Whether messages wait that only an answer of the peer or a timer lets out, so that one more changes nothing: to be
    /// asked when everything to transmit was taken.
    pub fn awaits_peer(&self) -> bool {
        // With Nagle's algorithm one more message may fill a packet.
        !self.ctx.outbox.is_empty() && !self.ctx.config.nagle
    }

    /// The next message received, also after the association has ended.
    pub fn recv(&mut self, now: Instant) -> Option<Received> {
        let _ = now;
        self.take_message()
    }

    /// Whether the message that [`recv`](Self::recv) would take came in before the event that has this place.
    pub fn has_message_before(&self, place: Place) -> bool {
        self.ctx.inbox.has_message_before(place)
    }

    #[inline]
    pub(crate) fn take_message(&mut self) -> Option<Received> {
        let (message, cost) = self.ctx.inbox.pop()?;
        self.ctx.statistics.messages_received += 1;
        self.ctx.statistics.bytes_received += message.payload.len() as u64;
        self.ctx.account.give_back(cost);
        if let State::Open(tcb) = &mut self.state {
            tcb.receiver.on_taken(message.payload.len());
        }
        Some(message)
    }

    /// Whether a SACK is to be sent.
    pub(crate) fn owes_sack(&self) -> bool {
        matches!(&self.state, State::Open(tcb) if tcb.receiver.sack_is_due())
    }

    /// Closes gracefully: no more messages are taken, and those taken are delivered (RFC 9260, section 9.2).
    /// During the set-up there is nothing to close gracefully, and the attempt is given up.
    pub fn shutdown(&mut self, now: Instant) {
        match &mut self.state {
            State::Open(tcb) if !matches!(tcb.phase, Phase::CookieEchoed(_)) => {
                tcb.shutdown(now, &self.ctx);
            }
            State::Closed(_) => {}
            _ => self.abort(now, Bytes::new()),
        }
    }

    /// Ends the association at once; the peer is told why (RFC 9260, section 9.1).
    pub fn abort(&mut self, now: Instant, reason: Bytes) {
        let _ = now;
        let ending = Ending::lost(LostReason::LocalAbort);
        let ending = match &self.state {
            State::Closed(_) => return,
            State::CookieWait(_) => ending,
            State::Open(tcb) => {
                let path = self.ctx.paths.for_data().and_then(|id| self.ctx.paths.path(id));
                match path {
                    Some(path) => {
                        // It is written when the path is no longer at hand.
                        let most = (path.packet_limit()).min(last_limit(&self.ctx));
                        let most = most.saturating_sub(ABORT_OVERHEAD);
                        let reason = reason.slice(..reason.len().min(most));
                        let way = path.way(&self.ctx.me);
                        let abort = abort_chunk(Some(Cause::UserInitiatedAbort(reason)));
                        ending.with_last_words(way, tcb.peer_tag, abort)
                    }
                    None => ending,
                }
            }
        };
        self.end(ending);
    }

    /// Counts since the association began.
    pub fn statistics(&self) -> Statistics {
        let receive_buffered = match &self.state {
            State::Open(tcb) => tcb.receiver.buffered(&self.ctx.inbox),
            _ => self.ctx.inbox.bytes(),
        };
        let send_buffered = self.send_buffered();
        Statistics { receive_buffered, send_buffered, ..self.ctx.statistics }
    }

    /// Bytes of the send buffer in use: taken and not yet acknowledged, with the cost of holding them.
    pub fn send_buffered(&self) -> usize {
        let outstanding = match &self.state {
            State::Open(tcb) => tcb.sender.cost(),
            _ => 0,
        };
        self.ctx.outbox.bytes() + outstanding
    }

    /// For tests: counts chunk by chunk what is kept as a sum: what is in flight on each path and of the peer's window, what
    /// is to be sent again, and the send buffer. How many chunks it counted.
    ///
    /// # Errors
    /// What differs, in words.
    #[cfg(feature = "sim")]
    pub fn audit(&self) -> Result<usize, String> {
        match &self.state {
            State::Open(tcb) => tcb.sender.audit(&self.ctx.paths),
            _ => Ok(0),
        }
    }

    /// Notes how much memory the peer makes this side hold.
    pub(crate) fn note_memory(&mut self) {
        let Context { paths, inbox, .. } = &self.ctx;
        let state = match &self.state {
            State::CookieWait(_) => size_of::<CookieWait>(),
            State::Open(tcb) => {
                size_of::<Tcb>() + tcb.receiver.lasting() + tcb.receiver.buffered(inbox)
            }
            State::Closed(_) => inbox.bytes(),
        };
        self.ctx.account.note(size_of::<Self>() + ENTRY + paths.memory() + inbox.idle() + state);
    }

    /// Bytes that [`renege`](Self::renege) may give back.
    pub(crate) fn spare(&self) -> usize {
        match &self.state {
            State::Open(tcb) => tcb.receiver.spare(),
            _ => 0,
        }
    }

    /// Throws away what was received behind gaps, because memory is short.
    pub(crate) fn renege(&mut self) {
        if let State::Open(tcb) = &mut self.state {
            tcb.receiver.renege();
        }
        self.note_memory();
    }

    /// When the association wants [`handle_timeout`](crate::Endpoint::handle_timeout) to be called.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::CookieWait(wait) => wait.next_timeout(),
            State::Open(tcb) => tcb.next_timeout(&self.ctx),
            State::Closed(_) => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let ending = match &mut self.state {
            State::CookieWait(wait) => wait.on_timeout(now, &mut self.ctx),
            State::Open(tcb) => tcb.on_timeout(now, &mut self.ctx),
            State::Closed(_) => None,
        };
        if let Some(ending) = ending {
            self.end(ending);
        }
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> Option<Transmit> {
        match &mut self.state {
            State::CookieWait(wait) => wait.poll_transmit(now, out, &mut self.ctx),
            State::Open(tcb) => tcb.poll_transmit(now, out, &mut self.ctx),
            State::Closed(Closed { last_words, .. }) => {
                let limit = last_limit(&self.ctx);
                let transmit = last_words.take()?.write(out, limit)?;
                self.ctx.statistics.packets_sent += 1;
                Some(transmit)
            }
        }
    }

    /// Whether nothing is left of it but messages to be read.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// What may still be on its way from the peer, which is not to be told yet that there is no association.
    pub(crate) fn overtaken(&self) -> Option<Overtaken> {
        match &self.state {
            State::Closed(closed) => closed.overtaken,
            _ => None,
        }
    }

    /// That is so where this side sends SHUTDOWN COMPLETE. The peer that sends it has forgotten the association before.
    fn overtaken_by(&self, ending: &Ending) -> Option<Overtaken> {
        let State::Open(tcb) = &self.state else { return None };
        if ending.event != Event::ShutdownComplete || ending.last_words.is_none() {
            return None;
        }
        let within = self.ctx.paths.iter().map(|path| path.rto.current()).max()?;
        Some(Overtaken { within, last_tsn: tcb.receiver.cumulative_tsn() })
    }

    fn end(&mut self, ending: Ending) {
        self.return_unsent();
        let overtaken = self.overtaken_by(&ending);
        let last_words = ending.last_words.and_then(|(way, verification_tag, chunk)| {
            let (me, way) = (self.ctx.me, self.ctx.confirmed_way(way)?);
            let header = CommonHeader {
                source_port: me.local_port,
                destination_port: me.peer_port,
                verification_tag,
            };
            Some(Box::new(Reply { way, header, chunk }))
        });
        self.state = State::Closed(Closed { last_words, overtaken });
        self.ctx.addresses_changed = true;
        if self.ctx.inbox.take_news() {
            self.ctx.tell(Event::Readable);
        }
        tracing::debug!(association = %self.ctx.me.id, event = ?ending.event, "association ended");
        self.ctx.tell(ending.event);
    }

    /// Gives messages back that were not acknowledged whole (RFC 9260, sections 8.1 and 11.2.2), and tells of those that
    /// were not received whole.
    fn return_unsent(&mut self) {
        if let State::Open(tcb) = &mut self.state {
            tcb.cut_partial_deliveries(&mut self.ctx);
            let lost = tcb.sender.give_back();
            let failed = |message| Event::SendFailed { message, sent: true };
            self.ctx.tell_all(lost.into_iter().map(failed));
        }
        let place = self.ctx.inbox.place();
        let Context { outbox, events, .. } = &mut self.ctx;
        let failed = |message| (place, Event::SendFailed { message, sent: false });
        events.extend(outbox.drain().map(failed));
    }

    fn judge(&self, message: &Message) -> Result<(), SendError> {
        let streams = match &self.state {
            State::CookieWait(wait) => wait.setup.offer.outbound_streams,
            State::Open(tcb) if tcb.takes_messages() => tcb.negotiated.outbound_streams,
            _ => return Err(SendError::NotOpen { state: self.state() }),
        };
        if message.payload.is_empty() {
            return Err(SendError::Empty);
        }
        let StreamId(stream) = message.stream;
        if stream >= streams {
            return Err(SendError::NoSuchStream { stream, streams });
        }
        let max = self.ctx.config.limits.send_buffer - outbox::ENTRY;
        let len = message.payload.len();
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        Ok(())
    }
}

/// The greatest SCTP packet in bytes for what is left to say.
fn last_limit(ctx: &Context) -> usize {
    usize::from(ctx.config.path_mtu).saturating_sub(LARGEST_HEADERS)
}

/// What the endpoint keeps of an association beside it, in bytes: its place in tables, its deadline, its queues.
const ENTRY: usize = 512;
// The common header, and those of the ABORT chunk and its cause.
const ABORT_OVERHEAD: usize = 12 + 4 + 4 + 4;
// IPv6 and UDP.
const LARGEST_HEADERS: usize = 48;
