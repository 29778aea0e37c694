//! The application's handle of an association: messages, events, paths, and the close.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use usctp_assoc::{
    AssociationId, AssociationState, Event, Message, PathSettings, PathStatus, Received,
    RecoveryOptions, Role, SendError, Statistics,
};

use crate::driver::endpoint::SharedEndpoint;
use crate::driver::slot::Phase;
use crate::driver::wait::{Attempt, Interest, Queue, Wait};
use crate::error::Error;
use crate::item::Item;

/// An association with a peer (RFC 9260, section 1.3): messages both ways, over all paths that the two hosts have.
///
/// It can be used from several threads at once. Of every call that may have to wait there are four: `recv` waits,
/// `recv_timeout` waits so long, `try_recv` does not wait, and `recv_async` is a future for any executor. A call that
/// gave up, and a future that was dropped, has taken nothing: the message is still there for the next one.
///
/// Dropping it closes gracefully in the background: what was sent is still delivered, within
/// [`Options::shutdown_guard`](crate::Options::shutdown_guard), after which the association is aborted; messages not
/// taken are lost, and a set-up is given up. To know how it ended, call [`shutdown`](Self::shutdown) before.
#[derive(Debug)]
pub struct Association {
    endpoint: Arc<SharedEndpoint>,
    id: AssociationId,
}

impl Association {
    pub(crate) fn new(endpoint: Arc<SharedEndpoint>, id: AssociationId) -> Self {
        Self { endpoint, id }
    }

    pub(crate) fn endpoint(&self) -> &Arc<SharedEndpoint> {
        &self.endpoint
    }

    /// Its name, unique among the associations of its socket for ever.
    pub fn id(&self) -> AssociationId {
        self.id
    }

    /// Its state (RFC 9260, section 4).
    pub fn state(&self) -> AssociationState {
        self.look(AssociationState::Closed, usctp_assoc::Association::state)
    }

    /// Who opened it.
    pub fn role(&self) -> Role {
        self.look(Role::Passive, usctp_assoc::Association::role)
    }

    /// The port of this side.
    pub fn local_port(&self) -> u16 {
        self.endpoint.port()
    }

    /// The peer's port.
    pub fn peer_port(&self) -> u16 {
        self.look(0, usctp_assoc::Association::port)
    }

    /// Its local addresses: those that the socket was bound to when it began; none once it is forgotten.
    pub fn local_addresses(&self) -> Vec<IpAddr> {
        self.endpoint.look(Vec::new(), |inner| inner.addresses_of(self.id).to_vec())
    }

    /// How many streams there are to send on.
    pub fn outbound_streams(&self) -> u16 {
        self.look(0, usctp_assoc::Association::outbound_streams)
    }

    /// How many streams there are to receive on.
    pub fn inbound_streams(&self) -> u16 {
        self.look(0, usctp_assoc::Association::inbound_streams)
    }

    /// Bytes that were sent and that the peer has not acknowledged.
    pub fn send_buffered(&self) -> usize {
        self.look(0, usctp_assoc::Association::send_buffered)
    }

    /// The peer's addresses, each with its state, its round-trip time and its windows.
    pub fn paths(&self) -> Vec<PathStatus> {
        self.look(Vec::new(), |association| association.paths().collect())
    }

    /// What was counted so far.
    pub fn statistics(&self) -> Statistics {
        self.look(Statistics::default(), usctp_assoc::Association::statistics)
    }

    /// Sends a message; waits while the send buffer is full. It may be called as soon as the association is being
    /// set up: the message leaves with the handshake or after it.
    ///
    /// When it returns, the message is in the hands of the protocol. What had not been acknowledged when an
    /// association is lost comes back as [`Event::SendFailed`].
    ///
    /// # Errors
    /// [`Error::Send`] if the message cannot be sent as it is or the association is closing; [`Error::Closed`] or
    /// [`Error::Lost`] if it has ended; [`Error::StackClosed`].
    pub fn send(&self, message: Message) -> Result<(), Error> {
        self.sending(message).block(None)
    }

    /// As [`send`](Self::send), waiting at most `timeout`.
    ///
    /// # Errors
    /// As for `send`, and [`Error::TimedOut`]: the message was not taken.
    pub fn send_timeout(&self, message: Message, timeout: Duration) -> Result<(), Error> {
        self.sending(message).block(Some(timeout))
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// # Errors
    /// As for `send`, and [`Error::WouldBlock`]: the message was not taken.
    pub fn try_send(&self, message: Message) -> Result<(), Error> {
        self.sending(message).now()
    }

    /// As [`send`](Self::send), as a future. Once dropped before it is ready, the message is not sent.
    pub fn send_async(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        self.sending(message)
    }

    /// Takes the next message; waits for one. `Ok(None)` says that the peer has closed and all its messages were taken.
    ///
    /// The receive window closes as far as messages are not taken, and so the peer waits.
    ///
    /// # Errors
    /// [`Error::Lost`] if the association ended without a graceful close and all messages received were taken;
    /// [`Error::StackClosed`].
    pub fn recv(&self) -> Result<Option<Received>, Error> {
        self.received_or(|| self.receiving().block(None))
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    /// As for `recv`, and [`Error::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Received>, Error> {
        self.received_or(|| self.receiving().block(Some(timeout)))
    }

    /// As [`recv`](Self::recv), without waiting.
    ///
    /// # Errors
    /// As for `recv`, and [`Error::WouldBlock`].
    pub fn try_recv(&self) -> Result<Option<Received>, Error> {
        self.received_or(|| self.receiving().now())
    }

    /// As [`recv`](Self::recv), as a future. Dropping it loses no message.
    pub fn recv_async(&self) -> impl Future<Output = Result<Option<Received>, Error>> + Send + '_ {
        self.receiving()
    }

    /// Takes the next of what came, message or event, in the order in which they came; waits for one.
    ///
    /// So a restart of the peer stands between the messages that it separates. What [`recv`](Self::recv) or
    /// [`next_event`](Self::next_event) took before does not come again: they are for those who want one kind.
    ///
    /// # Errors
    /// After [`Item::Ended`]: [`Error::Closed`] or [`Error::Lost`]. [`Error::StackClosed`].
    pub fn next(&self) -> Result<Item, Error> {
        self.taking().block(None)
    }

    /// As [`next`](Self::next), waiting at most `timeout`.
    ///
    /// # Errors
    /// As for `next`, and [`Error::TimedOut`].
    pub fn next_timeout(&self, timeout: Duration) -> Result<Item, Error> {
        self.taking().block(Some(timeout))
    }

    /// As [`next`](Self::next), without waiting.
    ///
    /// # Errors
    /// As for `next`, and [`Error::WouldBlock`].
    pub fn try_next(&self) -> Result<Item, Error> {
        self.taking().now()
    }

    /// As [`next`](Self::next), as a future. Dropping it loses nothing.
    pub fn next_async(&self) -> impl Future<Output = Result<Item, Error>> + Send + '_ {
        self.taking()
    }

    /// Takes the next event; waits for one.
    ///
    /// Events need not be taken: [`Event::Readable`], [`Event::Writable`] and [`Event::SenderDry`]
    /// stand in the queue once, [`Event::Restart`] once between two messages, 256 times at most, and of the kinds that can come in any number the oldest give way
    /// (see [`events_lost`](Self::events_lost)).
    ///
    /// # Errors
    /// After the last event of an association that ended: [`Error::Closed`] or [`Error::Lost`]. [`Error::StackClosed`].
    pub fn next_event(&self) -> Result<Event, Error> {
        self.watching().block(None)
    }

    /// As [`next_event`](Self::next_event), waiting at most `timeout`.
    ///
    /// # Errors
    /// As for `next_event`, and [`Error::TimedOut`].
    pub fn event_timeout(&self, timeout: Duration) -> Result<Event, Error> {
        self.watching().block(Some(timeout))
    }

    /// As [`next_event`](Self::next_event), without waiting.
    ///
    /// # Errors
    /// As for `next_event`, and [`Error::WouldBlock`].
    pub fn try_event(&self) -> Result<Event, Error> {
        self.watching().now()
    }

    /// As [`next_event`](Self::next_event), as a future. Dropping it loses no event.
    pub fn event_async(&self) -> impl Future<Output = Result<Event, Error>> + Send + '_ {
        self.watching()
    }

    /// How many events were dropped because they were not taken.
    pub fn events_lost(&self) -> u64 {
        self.endpoint.look(0, |inner| inner.slot(self.id).map_or(0, |slot| slot.events.lost()))
    }

    /// Closes gracefully (RFC 9260, section 9.2) and waits until everything sent was delivered and the peer has agreed.
    ///
    /// The peer may have messages on the way: they can be received meanwhile and afterwards, and if they fill the
    /// receive buffer the close waits until they are taken. An association that is still being set up is given up.
    ///
    /// # Errors
    /// [`Error::Lost`] if it ended otherwise, as it does if it is not over within
    /// [`Options::shutdown_guard`](crate::Options::shutdown_guard), whatever the peer does meanwhile: then it is aborted.
    /// [`Error::StackClosed`].
    pub fn shutdown(&self) -> Result<(), Error> {
        // The association's own verdict comes first: this bound is for a stack whose thread has ended.
        let bound = self.endpoint.shutdown_guard().saturating_add(Duration::from_secs(1));
        self.closing().block(Some(bound))
    }

    /// As [`shutdown`](Self::shutdown), waiting at most `timeout`; the close goes on if that is not enough.
    ///
    /// # Errors
    /// As for `shutdown`, and [`Error::TimedOut`].
    pub fn shutdown_timeout(&self, timeout: Duration) -> Result<(), Error> {
        self.closing().block(Some(timeout))
    }

    /// As [`shutdown`](Self::shutdown), as a future; the close begins when it is first polled and goes on if it is dropped.
    pub fn shutdown_async(&self) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        self.closing()
    }

    /// Begins the graceful close and does not wait for its end, which [`Event::ShutdownComplete`] tells.
    ///
    /// # Errors
    /// [`Error::Lost`] if it has ended otherwise; [`Error::StackClosed`].
    pub fn start_shutdown(&self) -> Result<(), Error> {
        match self.closing().now() {
            Err(Error::WouldBlock) => Ok(()),
            done => done,
        }
    }

    /// Ends it at once: messages on the way both ways are lost, and the peer is told `reason`.
    pub fn abort(&self, reason: impl Into<Bytes>) {
        let reason = reason.into();
        // In a forked child it does nothing.
        let _ = self.endpoint.with(|inner, now| {
            inner.abort(now, self.id, reason);
            Ok(())
        });
    }

    /// Makes an address of the peer the one that messages are sent to.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] if it is no confirmed address of the peer; [`Error::Closed`] if the association is forgotten.
    pub fn set_primary(&self, peer: IpAddr) -> Result<(), Error> {
        self.endpoint.with(|inner, _| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.set_primary(peer)?)
        })
    }

    /// Sends a HEARTBEAT to an address of the peer at once, confirmed or not (RFC 9260, section 11.1.10);
    /// [`Event::HeartbeatResult`] tells what came of it.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] if it is no address of the peer; [`Error::Closed`] if the association is forgotten.
    pub fn request_heartbeat(&self, peer: IpAddr) -> Result<(), Error> {
        self.endpoint.with(|inner, now| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.request_heartbeat(now, peer)?)
        })
    }

    /// Sets how often an idle address of the peer is sent a HEARTBEAT, `None` for never (RFC 9260, section 11.1.9).
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] if it is no address of the peer; [`Error::Closed`] if the association is forgotten.
    pub fn change_heartbeat(&self, peer: IpAddr, interval: Option<Duration>) -> Result<(), Error> {
        self.endpoint.with(|inner, now| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.change_heartbeat(now, peer, interval)?)
        })
    }

    /// Sets how many failures in a row make an address of the peer inactive (RFC 9260, section 11.1.12).
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] if it is no address of the peer; [`Error::Closed`] if the association is forgotten.
    pub fn set_failure_threshold(&self, peer: IpAddr, failures: u16) -> Result<(), Error> {
        self.endpoint.with(|inner, _| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.set_failure_threshold(peer, failures)?)
        })
    }

    /// Sets the greatest IP packet in bytes for an address of the peer and ends the discovery of it; `None` lets it be
    /// discovered again (RFC 6458, section 8.1.12).
    ///
    /// # Errors
    /// [`Error::PathMtu`] if it is no address of the peer or the size is out of its range; [`Error::Closed`] if the
    /// association is forgotten.
    pub fn set_path_mtu(&self, peer: IpAddr, mtu: Option<u16>) -> Result<(), Error> {
        self.endpoint.with(|inner, now| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.set_path_mtu(now, peer, mtu)?)
        })
    }

    /// The parameters of an address of the peer.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`] if it is no address of the peer; [`Error::Closed`] if the association is forgotten.
    pub fn path_settings(&self, peer: IpAddr) -> Result<PathSettings, Error> {
        self.endpoint.with(|inner, _| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.path_settings(peer)?)
        })
    }

    /// Sets the parameters of an address of the peer: HEARTBEATs, thresholds of failures, bounds of the retransmission
    /// time-out (`SCTP_PEER_ADDR_PARAMS` of RFC 6458, `SCTP_PEER_ADDR_THLDS` of RFC 7829).
    ///
    /// # Errors
    /// [`Error::Config`] if a value is out of its range; [`Error::NoSuchPath`] if it is no address of the peer;
    /// [`Error::Closed`] if the association is forgotten.
    pub fn set_path_settings(&self, peer: IpAddr, settings: PathSettings) -> Result<(), Error> {
        self.endpoint.with(|inner, now| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.set_path_settings(now, peer, settings)?)
        })
    }

    /// Sets the parameters of all addresses of the peer, and of those to come.
    ///
    /// # Errors
    /// [`Error::Config`] if a value is out of its range; [`Error::Closed`] if the association is forgotten.
    pub fn set_all_path_settings(&self, settings: PathSettings) -> Result<(), Error> {
        self.endpoint.with(|inner, now| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            Ok(association.set_all_path_settings(now, settings)?)
        })
    }

    /// How it finds losses and how fast it sends; the default of [`RecoveryOptions`] once it is forgotten.
    pub fn recovery(&self) -> RecoveryOptions {
        self.look(RecoveryOptions::default(), usctp_assoc::Association::recovery)
    }

    /// Sets how it finds losses (RFC 9260, section 7.2.4; RFC 8985) and how fast it sends (RFC 9260, section 7.2; RFC 9438),
    /// in the place of [`Options::recovery`](crate::Options::recovery): at any time, and thus also for an association that was
    /// accepted. One that is opened takes it with [`ConnectOptions::recovery`](crate::ConnectOptions::recovery).
    ///
    /// Windows, and what is on the way, stay as they are. The peer need not know of it.
    ///
    /// # Errors
    /// [`Error::Closed`] if the association is forgotten.
    pub fn set_recovery(&self, recovery: RecoveryOptions) -> Result<(), Error> {
        self.endpoint.with(|inner, now| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            association.set_recovery(now, recovery);
            Ok(())
        })
    }

    /// Sets whether [`paths`](Self::paths) and events show which addresses are potentially failed; else these count as
    /// active (RFC 7829, section 7.3).
    ///
    /// # Errors
    /// [`Error::Closed`] if the association is forgotten.
    pub fn expose_potentially_failed(&self, expose: bool) -> Result<(), Error> {
        self.endpoint.with(|inner, _| {
            let (association, _) = inner.association(self.id).ok_or(Error::Closed)?;
            association.expose_potentially_failed(expose);
            Ok(())
        })
    }

    fn look<T>(&self, gone: T, look: impl FnOnce(&usctp_assoc::Association) -> T) -> T {
        let found = self.endpoint.look(None, |inner| inner.view(self.id).map(look));
        found.unwrap_or(gone)
    }

    fn sending(&self, message: Message) -> Wait<'_, impl Attempt<()>> {
        let id = self.id;
        self.wait(Interest::WRITE, move |inner, now| {
            let open = inner.check_open();
            let Some(slot) = inner.slot(id) else {
                return Poll::Ready(Err(Error::Closed));
            };
            if let Some(end) = slot.end() {
                return Poll::Ready(open.and(Err(end)));
            }
            // A clone of the message shares its bytes; the original stays for the next attempt.
            match inner.send(now, id, message.clone()) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(SendError::WouldBlock) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error.into())),
            }
        })
    }

    /// The next message, if one waits; what else can be found out takes more.
    fn received_or(
        &self,
        otherwise: impl FnOnce() -> Result<Option<Received>, Error>,
    ) -> Result<Option<Received>, Error> {
        match self.endpoint.recv(self.id) {
            None => otherwise(),
            message => Ok(message),
        }
    }

    fn receiving(&self) -> Wait<'_, impl Attempt<Option<Received>>> {
        let id = self.id;
        self.wait(Interest::READ, move |inner, now| {
            let open = inner.check_open();
            let Some((association, slot)) = inner.association(id) else {
                return Poll::Ready(Ok(None));
            };
            if let Some(message) = association.recv(now) {
                return Poll::Ready(Ok(Some(message)));
            }
            match &slot.phase {
                Phase::PeerClosed | Phase::Closed => Poll::Ready(Ok(None)),
                Phase::Lost(reason) => Poll::Ready(open.and(Err(Error::Lost(reason.clone())))),
                Phase::Opening | Phase::Up => Poll::Pending,
            }
        })
    }

    fn taking(&self) -> Wait<'_, impl Attempt<Item>> {
        let id = self.id;
        self.wait(Interest::READ.and(Interest::EVENT), move |inner, _| match inner.next_item(id) {
            Ok(Some(item)) => Poll::Ready(Ok(item)),
            Ok(None) => Poll::Pending,
            Err(end) => Poll::Ready(Err(end)),
        })
    }

    fn watching(&self) -> Wait<'_, impl Attempt<Event>> {
        let id = self.id;
        self.wait(Interest::EVENT, move |inner, _| {
            let open = inner.check_open();
            let Some(slot) = inner.slot_mut(id) else {
                return Poll::Ready(Err(Error::Closed));
            };
            match (slot.events.pop(), slot.end()) {
                (Some(event), _) => Poll::Ready(Ok(event)),
                (None, Some(end)) => Poll::Ready(open.and(Err(end))),
                (None, None) => Poll::Pending,
            }
        })
    }

    fn closing(&self) -> Wait<'_, impl Attempt<()>> {
        let id = self.id;
        let mut has_begun = false;
        // Nothing less than the end of the association wakes it.
        self.wait(Interest::END, move |inner, now| {
            let open = inner.check_open();
            let Some(slot) = inner.slot(id) else {
                return Poll::Ready(Ok(()));
            };
            match slot.end() {
                None => {}
                Some(Error::Closed) => return Poll::Ready(Ok(())),
                Some(end) => return Poll::Ready(open.and(Err(end))),
            }
            if !has_begun {
                has_begun = true;
                inner.shutdown(now, id);
            }
            Poll::Pending
        })
    }

    fn wait<T, F: Attempt<T>>(&self, interest: Interest, attempt: F) -> Wait<'_, F> {
        Wait::new(&self.endpoint, Queue::Association(self.id), interest, attempt)
    }
}

impl Drop for Association {
    fn drop(&mut self) {
        self.endpoint.forsake(self.id);
    }
}
